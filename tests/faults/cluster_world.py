"""The running system on three brokers, each of which can be cut off from all others."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from infra.demo.stack import LAB, Ports, Stack
from infra.local.cluster import NODES, NodePorts, RabbitCluster
from infra.local.passwords import stored_passwords
from infra.local.ports import free_ports
from infra.local.process import Service
from infra.local.rabbitmq import RabbitNode
from infra.local.settings import child_environment
from messages import topology
from tests.asks_at_once import ASKS_AT_ONCE
from tests.faults.archive_door import ArchiveDoor
from tests.faults.epmd_door import EpmdDoor
from tests.faults.link import Link
from tests.faults.running import WEB_SECONDS, stopped_at_the_end, temporary_directory
from tests.faults.world import OTHER_LAB, World
from tests.integration.lab import HeldBundle


class LinkedCluster(RabbitCluster):
    """A cluster whose nodes speak to each other over links."""

    def __init__(self, root: Path, *, definitions: Mapping[str, Any]) -> None:
        self._mapper_port, *free = free_ports(1 + 2 * NODES)
        #: Ports by the short name of a node, for each node that asks.
        self._asked: list[dict[str, int]] = [{} for _ in range(NODES)]
        self._doors = [EpmdDoor(self._mapper_port, elsewhere) for elsewhere in self._asked]
        ports = [
            NodePorts(amqp, dist, door.port)
            for amqp, dist, door in zip(free[::2], free[1::2], self._doors, strict=True)
        ]
        root.mkdir(parents=True, exist_ok=True)
        self._mapper = Service(
            "the port mapper of the cluster",
            ("epmd", "-address", "127.0.0.1", "-port", str(self._mapper_port)),
            log=root / "epmd.log",
            env=child_environment({"HOME": str(root)}),
        )
        super().__init__(root, ports, definitions=definitions, port_mapper=self._mapper)
        #: By the nodes that a link is between: who connects, and to whom.
        self.between = {
            (one.nodename, other.nodename): Link(other.dist_port)
            for one in self.nodes
            for other in self.nodes
            if one is not other
        }
        self._open = ExitStack()

    def start(self) -> None:
        """Start what does not run."""
        if not self._mapper.alive:
            for one in (*self._doors, *self.between.values()):
                self._open.enter_context(one)
            for node, elsewhere in zip(self.nodes, self._asked, strict=True):
                for (one, other), link in self.between.items():
                    if one == node.nodename:
                        elsewhere[other.partition("@")[0]] = link.port
            self._mapper.start()
            # Its doors are open already: a broker that found nobody behind would start one more.
            self._mapper.wait_until(self._mapper_answers, "open its port", 10.0)
        super().start()

    def stop(self) -> None:
        """Stop everything."""
        super().stop()
        self._mapper.stop()
        self._open.close()

    def services(self) -> list[Service]:
        """What runs beside the nodes."""
        return [self._mapper]

    def _mapper_answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._mapper_port)) == 0


class ClusterWorld(World):
    """A world with three brokers; the lab's first one is the second, the site's the first."""

    def __init__(
        self,
        stack: Stack,
        bundle: HeldBundle,
        links: dict[str, Link],
        door: ArchiveDoor,
        *,
        cluster: LinkedCluster,
        clients: Mapping[str, Sequence[Link]],
    ) -> None:
        """`clients`: by a node's name, its links to the site and to the lab."""
        super().__init__(stack, bundle, links, door)
        self.cluster = cluster
        self._clients = clients

    def leader(self, queue: str) -> RabbitNode:
        """The node that leads the queue."""
        return self.cluster.node(self.cluster.members()[queue][0])

    def cut_off(self, node: RabbitNode) -> None:
        """Pass nothing on between the node and anybody, and close nothing: a pulled cable."""
        for link in self._links_of(node):
            link.freeze()

    def broker_services(self) -> list[Service]:
        """The three nodes and what maps their ports."""
        return [*self.cluster.services(), *(node.broker for node in self.cluster.nodes)]

    def heal_broker(self) -> None:
        """Have all three run again, in one cluster."""
        for node in self.cluster.nodes:
            for link in self._links_of(node):
                link.mend()
            if node.broker.alive:
                self.resume(node.broker)
        self.cluster.start()
        self.cluster.wait_ready()

    def _links_of(self, node: RabbitNode) -> list[Link]:
        name = node.nodename
        between = [link for pair, link in self.cluster.between.items() if name in pair]
        return [*between, *self._clients[name]]


@contextmanager
def running_cluster_world(
    root: Path, say: Callable[[str], None], *, lab_module: str = "consumer"
) -> Iterator[ClusterWorld]:
    """Start everything on three brokers; stop everything at the end."""
    temporary = temporary_directory(root)
    with ExitStack() as open_:
        secrets = root / "var" / "secrets.json"
        passwords = stored_passwords(secrets, ["admin", "web", LAB, OTHER_LAB])
        cluster = LinkedCluster(
            root / "var" / "cluster",
            definitions=topology.with_users(passwords, {LAB: "lab", OTHER_LAB: "lab"}),
        )
        nodes = cluster.nodes
        taken = {port for node in nodes for port in (node.amqp_port, node.dist_port)}
        web, orthanc = [port for port in free_ports(20) if port not in taken][:2]
        door = open_.enter_context(ArchiveDoor(orthanc))
        site, lab = ([open_.enter_context(Link(one.amqp_port)) for one in nodes] for _ in range(2))
        archive = open_.enter_context(Link(door.port))
        bundle = HeldBundle(root)
        # Not the same node first: what one of the two loses, the other keeps.
        stack = Stack(
            root / "var",
            Ports(web=web, amqp=0, dist=0, epmd=0, orthanc=orthanc),
            model_path=bundle.path,
            further_labs={OTHER_LAB: "lab"},
            lab_module=lab_module,
            web_settings={"RABBITMQ_URL": _urls("web", passwords, site), **ASKS_AT_ONCE},
            lab_settings={
                "RABBITMQ_URL": _urls(LAB, passwords, lab[1:] + lab[:1]),
                "ORTHANC_URL": f"http://127.0.0.1:{archive.port}",
                "TMPDIR": str(temporary),
            },
            web_seconds=WEB_SECONDS,
        )
        # All that a stack asks of its broker, the cluster answers too.
        stack.rabbitmq = cluster
        clients = {
            node.nodename: (to_site, to_lab)
            for node, to_site, to_lab in zip(cluster.nodes, site, lab, strict=True)
        }
        links = {"site": site[0], "lab": lab[1], "archive": archive}
        with stopped_at_the_end(stack, root):
            stack.start(say)
            world = ClusterWorld(stack, bundle, links, door, cluster=cluster, clients=clients)
            try:
                yield world
            finally:
                world.close()


def _urls(user: str, passwords: Mapping[str, str], links: Sequence[Link]) -> str:
    return ",".join(
        f"amqp://{user}:{passwords[user]}@127.0.0.1:{link.port}/{topology.VHOST}" for link in links
    )
