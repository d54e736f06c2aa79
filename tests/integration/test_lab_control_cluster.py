"""The control queues of a lab in a cluster: each lies on one node, and a lab bears its loss."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from consumer.amqp import link
from consumer.amqp.control import ControlQueue
from consumer.amqp.errors import BrokerUnavailable
from infra.local.cluster import NODES, NodePorts, RabbitCluster
from infra.local.passwords import stored_passwords
from infra.local.process import wait_until
from messages import topology

LAB = "lab1"


@pytest.fixture
def cluster(tmp_path: Path) -> RabbitCluster:
    passwords = stored_passwords(tmp_path / "secrets.json", ["admin", "web", LAB])
    return RabbitCluster(
        tmp_path / "cluster",
        NodePorts.free(),
        definitions=topology.with_users(passwords, {LAB: "lab"}),
    )


def test_a_lab_takes_a_control_queue_of_a_node_that_is_there(
    cluster: RabbitCluster, tmp_path: Path
) -> None:
    password = stored_passwords(tmp_path / "secrets.json", [LAB])[LAB]

    def hear(node: int) -> str:
        url = cluster.nodes[node].url(LAB, password)
        connection = link.connect([url], heartbeat=30, name="test")
        try:
            control = ControlQueue(
                connection, lab=LAB, pool="lab", cancel=lambda _: False, first=True
            )
            return control.queue
        finally:
            connection.close()

    cluster.start()
    try:
        cluster.wait_ready()
        listed = cluster.ctl("-q", "-p", topology.VHOST, "list_queues", "name", "pid")
        homes = dict(re.findall(r"(mri\.control\.\S+)\s+<([^.]+@[^.]+)\.", listed))
        assert len(homes) == topology.CONTROL_QUEUES
        assert len(set(homes.values())) == NODES, homes
        first = topology.control_queue(LAB, 1)
        assert hear(0) == first
        (away,) = (n for n, node in enumerate(cluster.nodes) if node.nodename == homes[first])
        cluster.nodes[away].kill()
        other = (away + 1) % NODES

        def takes_another() -> bool:
            # For a moment the others do not know that the node is gone.
            try:
                return homes[hear(other)] != homes[first]
            except BrokerUnavailable:
                return False

        wait_until(takes_another, "take another", 60)
    finally:
        cluster.stop()
