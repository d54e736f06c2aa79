"""Faults of one of three brokers: what a quorum of two must bear without anybody's help."""

from __future__ import annotations

import threading
import time
from datetime import datetime
from typing import cast

import httpx

from infra.demo.reader import PageRefused
from infra.local.process import ServiceFailed
from messages import topology
from tests.faults.cluster_world import ClusterWorld
from tests.faults.rows import row
from tests.faults.world import World

#: The work queue of the lab's pool.
QUEUE = topology.requests_queue("lab")

#: Seconds that a node is cut off or stopped.
AWAY = 60.0

#: Seconds between two clicks of a site in service.
PAUSE = 4.0

#: Seconds that one node of a rolling restart stays down: longer than any pause of a lab, so that
#: site and lab have gone on with another one.
DOWN = 5.0


def _held(world: World) -> ClusterWorld:
    """A request whose bundle computes until it is released."""
    world.bundle.hold()
    world.click()
    world.wait_inferring()
    return cast("ClusterWorld", world)


def _until_accepted(world: World, began: float) -> float:
    """Click, let the inference end, and wait until the lab has taken the click up."""
    click = world.click()
    world.bundle.release()
    world.wait_logged("job.accepted", click.request_id)
    return time.monotonic() - began


@row(
    "cluster",
    "the leader of the work queue is killed in the inference",
    injected="SIGKILL to the node that leads mri.requests.lab, while a bundle computes",
    measures="killed to the next click accepted",
    in_suite=True,
)
def leader_killed(world: World) -> float:
    cluster = _held(world)
    leader = cluster.leader(QUEUE)
    killed = time.monotonic()
    leader.kill()
    return _until_accepted(world, killed)


@row(
    "cluster",
    "the node that the lab is connected to is killed in the inference",
    injected="SIGKILL to the first node of the lab's RABBITMQ_URL, while a bundle computes",
    measures="killed to the next click accepted",
)
def labs_node_killed(world: World) -> float:
    cluster = _held(world)
    killed = time.monotonic()
    cluster.cluster.nodes[1].kill()
    return _until_accepted(world, killed)


@row(
    "cluster",
    "a node is cut off for 60 s: the leader of the work queue",
    injected="its links to the other nodes, to the site and to the lab pass nothing on and close "
    "nothing for 60 s, while a bundle computes",
    measures="cut off to the next click accepted by the other two",
)
def leader_cut_off(world: World) -> float:
    cluster = _held(world)
    leader = cluster.leader(QUEUE)
    cut = time.monotonic()
    cluster.cut_off(leader)
    recovery = _until_accepted(world, cut)
    _wait_out(cut)
    return recovery


@row(
    "cluster",
    "the node of the lab is frozen for 60 s, goes on, and is restarted by its operator",
    injected="SIGSTOP to the first node of the lab's RABBITMQ_URL while a bundle computes, SIGCONT "
    "after 60 s; a click; then SIGTERM and start",
    measures="frozen to the next click accepted by the other two",
)
def labs_node_frozen(world: World) -> float:
    cluster = _held(world)
    node = cluster.cluster.nodes[1]
    frozen = time.monotonic()
    world.pause(node.broker)
    recovery = _until_accepted(world, frozen)
    _wait_out(frozen)
    world.resume(node.broker)
    # The others gave it up meanwhile. It does not join them again by itself: RabbitMQ 3.10 logs
    # running_partitioned_network and goes on like that. Nobody must notice but its operator.
    world.wait_state(world.click(), "completed")
    node.broker.stop(grace=60.0)
    node.start()
    return recovery


def _wait_out(since: float) -> None:
    time.sleep(max(0.0, since + AWAY - time.monotonic()))


@row(
    "cluster",
    "two of three nodes are killed in the inference",
    injected="SIGKILL to the two that the lab is not connected to; both started after 20 s",
    measures="both answer to the click of meanwhile accepted",
)
def quorum_lost(world: World) -> float:
    cluster = _held(world)
    lost = (cluster.cluster.nodes[0], cluster.cluster.nodes[2])
    for node in lost:
        node.kill()
    waiting = world.click()
    world.bundle.release()
    time.sleep(20.0)
    assert world.state(waiting).get("state") == "queued", "confirmed without a quorum"
    cluster.cluster.start()
    for node in lost:
        node.wait_answering()
    back = time.monotonic()
    world.wait_logged("job.accepted", waiting.request_id)
    return time.monotonic() - back


@row(
    "cluster",
    "all nodes are restarted one after the other, under running clicks",
    injected=f"SIGTERM, down for {DOWN:.0f} s, start, cluster complete; a click each {PAUSE:.0f} s",
    measures="the longest time from a click to its result",
)
def rolling_restart(world: World) -> float:
    cluster = cast("ClusterWorld", world).cluster
    over = threading.Event()
    failed: list[Exception] = []

    def keep_clicking() -> None:
        try:
            while not over.wait(PAUSE):
                world.click()
        except (PageRefused, httpx.HTTPError) as exc:
            failed.append(exc)

    clicking = threading.Thread(target=keep_clicking, name="clicks")
    clicking.start()
    try:
        for node in cluster.nodes:
            node.broker.stop(grace=60.0)
            time.sleep(DOWN)
            node.start()
            cluster.wait_ready()
    finally:
        over.set()
        clicking.join()
    if failed:
        raise ServiceFailed(f"a click was refused: {failed[0]}")
    longest = 0.0
    for click in list(world.clicks):
        world.wait_state(click, "completed")
        shown = world.state(click)
        began, ended = (datetime.fromisoformat(shown[key]) for key in ("created_at", "finished_at"))
        longest = max(longest, (ended - began).total_seconds())
    return longest
