"""`make cluster`: three brokers that are one, and that outlive the loss of any of them."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pika
import pytest
from pika.exceptions import AMQPError

from infra.local.cluster import NODES, node_directories
from infra.local.ports import TEST_PORTS, PortTaken, free_ports, require_free
from infra.local.process import Service
from infra.local.rabbitmq import is_running, run_ctl
from infra.local.settings import REPOSITORY, child_environment
from messages import topology
from tests.integration.test_private_nodes import processes_of

#: Seconds for three nodes to start on a busy machine.
START_SECONDS = 240.0


def free_row(length: int) -> int:
    """The first of so many free ports in a row."""

    def is_free(port: int) -> bool:
        try:
            require_free(port, "")
        except PortTaken:
            return False
        return port in TEST_PORTS

    candidates = (free_ports(1)[0] for _ in range(1000))
    return next(p for p in candidates if all(is_free(p + further) for further in range(length)))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Service]:
    """The command, ready, with its data under ``cluster``."""
    first = free_row(2 * NODES + 1)
    ports = {
        "AMQP_PORT": first,
        "RABBIT_DIST_PORT": first + NODES,
        "EPMD_PORT": first + 2 * NODES,
    }
    command = Service(
        "make cluster",
        (sys.executable, "-m", "infra.demo.cluster", str(tmp_path / "cluster")),
        log=tmp_path / "cluster.log",
        env=child_environment({name: str(port) for name, port in ports.items()}),
        cwd=REPOSITORY,
    )
    command.start()
    try:
        command.wait_until(lambda: "is ready" in text(command), "start", START_SECONDS)
        yield command
    finally:
        command.stop(grace=60.0)


def text(command: Service) -> str:
    return command.log.read_text(encoding="utf-8")


def urls_of(command: Service, side: str) -> list[str]:
    (found,) = re.findall(rf"for the {side}: RABBITMQ_URL=(\S+)", text(command))
    return str(found).split(",")


def one_message(url: str) -> list[bytes]:
    """A request, as a lab would take it; nothing while the queue has no leader."""
    try:
        with pika.BlockingConnection(pika.URLParameters(url)) as lab:
            body = lab.channel().basic_get(topology.requests_queue("lab"), auto_ack=True)[2]
    except AMQPError:
        return []
    return [] if body is None else [body]


def test_a_cluster_bears_the_loss_of_a_node_and_leaves_nothing_behind(
    cluster: Service, tmp_path: Path
) -> None:
    roots = node_directories(tmp_path / "cluster")
    with pika.BlockingConnection(pika.URLParameters(urls_of(cluster, "site")[0])) as site:
        channel = site.channel()
        channel.confirm_delivery()
        channel.basic_publish(
            topology.REQUESTS, "lab.model", b"kept", pika.BasicProperties(delivery_mode=2)
        )
    name, pid = re.findall(r"(rabbit1\S+)  pid (\d+)  leads", text(cluster))[0]

    os.kill(int(pid), signal.SIGKILL)
    found: list[bytes] = []
    cluster.wait_until(
        lambda: found.extend(one_message(urls_of(cluster, "lab")[1])) or bool(found),
        "have the message on another node",
        60.0,
    )
    cluster.wait_until(lambda: f"{name} starts again" in text(cluster), "start it again", 60.0)
    cluster.wait_until(lambda: is_running(roots[0]), "run again", START_SECONDS)
    status = run_ctl(roots[1], ("-q", "cluster_status"), capture=True).stdout
    cluster.stop(grace=120.0)

    assert found == [b"kept"]
    assert name in status
    assert text(cluster).endswith("stopped; the data is kept\n")
    assert not [pid for root in roots for pid in processes_of(root)]
