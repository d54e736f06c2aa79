"""Which node of a cluster leads a queue, and which one its consumer is connected to."""

from __future__ import annotations

from infra.local.process import wait_until
from infra.local.rabbitmq import RabbitNode
from messages import topology
from tests.faults.cluster_world import ClusterWorld
from tests.faults.world import PATIENCE


def node_of_consumer(world: ClusterWorld, queue: str) -> RabbitNode:
    """The node whose client takes from the queue: the lab's from requests, the site's from replies.

    Clients go on to the next broker of their list with each loss: where they are now, only the
    cluster knows. Waits for the one consumer, which may be on its way.
    """
    found: list[str] = []

    def has_one() -> bool:
        found[:] = _nodes_of_consumers(world, queue)
        return len(found) == 1

    wait_until(has_one, f"consume {queue}", PATIENCE)
    return world.cluster.node(found[0])


def lead(world: ClusterWorld, queue: str, node: RabbitNode) -> None:
    """Have the node lead the queue, as `rabbitmq-queues rebalance` has a node do."""
    if world.leader(queue) is node:
        return
    name = f'rabbit_misc:r(<<"{topology.VHOST}">>, queue, <<"{queue}">>)'
    lookup = f"{{ok, Queue}} = rabbit_amqqueue:lookup({name})"
    move = f"rabbit_quorum_queue:transfer_leadership(Queue, '{node.nodename}')"
    world.cluster.ctl("-q", "eval", f"{lookup}, {move}.")
    wait_until(lambda: world.leader(queue) is node, f"lead {queue}", PATIENCE)


def _nodes_of_consumers(world: ClusterWorld, queue: str) -> list[str]:
    columns = ("queue_name", "channel_pid")
    listed = world.cluster.ctl("-q", "-p", topology.VHOST, "list_consumers", *columns)
    rows = (line.split() for line in listed.splitlines())
    # A process is named <node.number.number.number>.
    return [cells[1].strip("<>").rsplit(".", 3)[0] for cells in rows if cells[:1] == [queue]]
