"""Three private RabbitMQ nodes on loopback that form one cluster; `make cluster` starts them."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.ports import free_ports
from infra.local.private_files import private_directory, write_private
from infra.local.process import POLL_SECONDS, Service, ServiceFailed
from infra.local.rabbitmq import RabbitNode

#: A quorum of three bears the loss of one.
NODES = 3

#: A node that says nothing for so many seconds, a quarter more or less, is down for the others. By
#: default a minute, for which queues with their leader there neither take nor give anything.
TICK_SECONDS = 20

#: Seconds until all nodes have found each other: about 20 alone, a minute on a busy machine.
FORM_SECONDS = 180.0


@dataclass(frozen=True)
class NodePorts:
    """Where one node listens, on loopback, and where it asks for the others."""

    amqp: int
    dist: int
    epmd: int

    @classmethod
    def free(cls) -> tuple[NodePorts, ...]:
        """Any free ports for a cluster, with one port mapper."""
        epmd, *others = free_ports(1 + 2 * NODES)
        return tuple(
            cls(amqp, dist, epmd) for amqp, dist in zip(others[::2], others[1::2], strict=True)
        )


#: Classic queues lie on all nodes. Before 3.12 no policy says so, and newer versions do not know
#: the word in rabbitmq.conf: here it is passed over.
_SPREAD = '[{rabbit, [{queue_master_locator, <<"min-masters">>}]}].'


class RabbitCluster:
    """The nodes under `root`; the same `root` gives the same cluster, queues and messages again.

    A node can be killed and started again by itself, by way of `nodes`.
    """

    def __init__(
        self,
        root: Path,
        ports: Sequence[NodePorts],
        *,
        definitions: Mapping[str, Any],
        port_mapper: Service | None = None,
    ) -> None:
        """`definitions` is topology with users; imported by `wait_ready`, at each start.

        All nodes use one port mapper: `port_mapper`, whose owner stops it, or their own.
        """
        self.root = private_directory(root.resolve())
        self.definitions = definitions
        names = self._names(len(ports))
        nodes: list[RabbitNode] = []
        for directory, one in zip(node_directories(self.root, len(ports)), ports, strict=True):
            node = RabbitNode(
                directory,
                amqp_port=one.amqp,
                dist_port=one.dist,
                epmd_port=one.epmd,
                # Queues that one node made while it was alone would have that one member only.
                definitions={},
                settings=self._settings(names),
                advanced=_SPREAD,
                port_mapper=nodes[0].epmd if nodes else port_mapper,
            )
            nodes.append(node)
        self.nodes = tuple(nodes)

    def url(self, user: str, password: str) -> str:
        """Return what RABBITMQ_URL is for a user: every node's URL, comma-separated."""
        return ",".join(node.url(user, password) for node in self.nodes)

    def start(self) -> None:
        """Start the nodes that do not run; `wait_ready` says when they are a cluster."""
        for node in self.nodes:
            if not node.broker.alive:
                node.start()

    def wait_ready(self, timeout: float = FORM_SECONDS) -> None:
        """Wait for the cluster, import the definitions and see three members in every queue.

        Raises `ServiceFailed`, also when a quorum queue has fewer members than there are nodes.
        """
        until = time.monotonic() + timeout
        for node in self.nodes:
            node.wait_answering(max(1.0, until - time.monotonic()))
        while len(self.running()) < len(self.nodes):
            if time.monotonic() > until:
                raise ServiceFailed(f"RabbitMQ did not form a cluster within {timeout:.0f} s")
            time.sleep(POLL_SECONDS)
        file = self.root / "definitions.json"
        write_private(file, json.dumps(self.definitions, indent=2) + "\n")
        self.ctl("-q", "import_definitions", str(file))
        self._require_members()

    def running(self) -> set[str]:
        """Names of the nodes that see each other, as the first that answers has it."""
        status = json.loads(self.ctl("-q", "cluster_status", "--formatter", "json"))
        return set(status["running_nodes"])

    def members(self, vhost: str = "mri") -> dict[str, tuple[str, set[str]]]:
        """Leader and members of each quorum queue, by queue; the leader is "" while there is none.

        What `rabbitmq-queues quorum_status` prints for one queue, for all at once.
        """
        columns = ("name", "leader", "members")
        listed = self.ctl("-q", "-p", vhost, "list_queues", *columns, "--formatter", "json")
        return {
            row["name"]: (row["leader"], set(row["members"]))
            for row in json.loads(listed)
            # A classic queue has neither.
            if row["members"]
        }

    def node(self, name: str) -> RabbitNode:
        """The node of that name; `StopIteration` when there is none."""
        return next(node for node in self.nodes if node.nodename == name)

    def ctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against the first node that runs; or `ServiceFailed`."""
        for node in self.nodes:
            if node.broker.alive:
                return node.ctl(*arguments)
        raise ServiceFailed("no node of the cluster runs")

    def stop(self) -> None:
        """Stop the nodes and their port mapper."""
        # All at once: nodes stopped one by one hand their leaderships to the next ones.
        for node in self.nodes:
            node.broker.terminate()
        for node in reversed(self.nodes):
            # The first node, which owns the port mapper, comes last.
            node.stop()

    def _names(self, count: int) -> list[str]:
        """Give each node a name and all the same cookie; made once, as the data belong to them."""
        mark, cookie = secrets.token_hex(4), secrets.token_hex(32)
        names = []
        for number, directory in enumerate(node_directories(self.root, count), 1):
            private_directory(directory)
            if not (directory / "nodename").exists():
                write_private(directory / "nodename", f"rabbit{number}-{mark}@localhost\n")
                write_private(directory / ".erlang.cookie", cookie, mode=0o400)
            names.append((directory / "nodename").read_text("utf-8").strip())
        return names

    def _settings(self, names: Sequence[str]) -> tuple[str, ...]:
        discovery = "cluster_formation"
        return (
            f"{discovery}.peer_discovery_backend = classic_config",
            *(
                f"{discovery}.classic_config.nodes.{number} = {name}"
                for number, name in enumerate(names, 1)
            ),
            # A node that cannot see the other two serves nobody rather than its own truth.
            "cluster_partition_handling = pause_minority",
            f"net_ticktime = {TICK_SECONDS}",
            # In place of guest; the import gives it the password of this installation.
            "default_vhost = mri",
            "default_user = admin",
            f"default_pass = {secrets.token_hex(24)}",
        )

    def _require_members(self) -> None:
        every = {node.nodename for node in self.nodes}
        found = self.members()
        wanted = {
            queue["name"]
            for queue in self.definitions["queues"]
            if queue["arguments"].get("x-queue-type") == "quorum"
        }
        if poor := sorted(name for name in wanted if found.get(name, ("", set()))[1] != every):
            raise ServiceFailed(
                f"these queues are not on all {len(every)} nodes: {', '.join(poor)}; "
                "rabbitmq-queues grow NODE all puts them there"
            )


def node_directories(root: Path, count: int = NODES) -> list[Path]:
    """Where each node of a cluster under `root` keeps its data."""
    return [root / f"rabbit{number}" for number in range(1, count + 1)]
