"""Faults of one of three brokers: what a quorum of two must bear without anybody's help."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from threading import Event
from typing import cast

from infra.local.process import ServiceFailed
from messages import topology
from tests.faults.clicks import computing
from tests.faults.cluster_world import ClusterWorld
from tests.faults.leaders import lead, node_of_consumer
from tests.faults.press import Click
from tests.faults.rows import row
from tests.faults.world import World

#: The work queue of the lab's pool, from which the lab takes, and that from which the site does.
QUEUE, REPLIES = topology.requests_queue("lab"), topology.replies_queue("lab")

#: Seconds that a node is cut off or stopped.
AWAY = 60.0

#: Seconds between two clicks of a site in service.
PAUSE = 4.0

#: Seconds that one node of a rolling restart stays down: longer than any pause of a lab, so that
#: site and lab have gone on with another one.
DOWN = 5.0

#: Seconds in which what was on a node that fell silent is to go on.
SILENT = 40


def _computing(world: World) -> tuple[ClusterWorld, Click]:
    """A world of three brokers, and a request whose bundle computes until it is released."""
    return cast("ClusterWorld", world), computing(world)


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
    cluster, _ = _computing(world)
    leader = cluster.leader(QUEUE)
    killed = time.monotonic()
    leader.kill()
    return _until_accepted(world, killed)


@row(
    "cluster",
    "the node that the lab is connected to is killed in the inference",
    injected="SIGKILL to the node on which the broker has the lab's consumer, while a bundle "
    "computes",
    measures="killed to the next click accepted",
)
def labs_node_killed(world: World) -> float:
    cluster, _ = _computing(world)
    node = node_of_consumer(cluster, QUEUE)
    killed = time.monotonic()
    node.kill()
    return _until_accepted(world, killed)


@row(
    "cluster",
    "a node is cut off for 60 s: the leader of the work queue, to which the lab is connected",
    injected="the lab's node made the leader of mri.requests.lab; its links to the other nodes, to "
    "the site and to the lab pass nothing on and close nothing for 60 s, while a bundle computes",
    measures="cut off to the next click accepted by the other two",
    goal=SILENT,
)
def leader_cut_off(world: World) -> float:
    cluster, _ = _computing(world)
    node = node_of_consumer(cluster, QUEUE)
    lead(cluster, QUEUE, node)
    cut = time.monotonic()
    cluster.cut_off(node)
    recovery = _until_accepted(world, cut)
    _wait_out(cut)
    return recovery


@row(
    "cluster",
    "a node is cut off for 60 s: the leader of the replies, to which the site is connected",
    injected="the site's node made the leader of mri.replies.lab and cut off in the same way while "
    "a bundle computes; the outcome comes, and a reader clicks",
    measures="cut off to the outcome shown",
    goal=SILENT,
)
def sites_node_cut_off(world: World) -> float:
    cluster, click = _computing(world)
    node = node_of_consumer(cluster, REPLIES)
    lead(cluster, REPLIES, node)
    cut = time.monotonic()
    cluster.cut_off(node)
    world.bundle.release()
    recovery = world.wait_state(click, "completed") - cut
    world.wait_state(world.click(), "completed")
    _wait_out(cut)
    return recovery


@row(
    "cluster",
    "the node of the lab is frozen for 60 s, goes on, and is restarted by its operator",
    injected="SIGSTOP to the node on which the broker has the lab's consumer while a bundle "
    "computes, SIGCONT after 60 s; a click; then SIGTERM and start",
    measures="frozen to the next click accepted by the other two",
    goal=SILENT,
)
def labs_node_frozen(world: World) -> float:
    cluster, _ = _computing(world)
    node = node_of_consumer(cluster, QUEUE)
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
    cluster, _ = _computing(world)
    labs_node = node_of_consumer(cluster, QUEUE)
    lost = [node for node in cluster.cluster.nodes if node is not labs_node]
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
    over = Event()
    clicks: list[Future[Click]] = []

    def keep_clicking() -> None:
        while not over.wait(PAUSE):
            clicks.append(clicking.submit(world.click))

    with ThreadPoolExecutor(1) as pacing, ThreadPoolExecutor(1) as clicking:
        paced = pacing.submit(keep_clicking)
        try:
            for node in cluster.nodes:
                before = len(clicks)
                node.broker.stop(grace=60.0)
                time.sleep(DOWN)
                node.start()
                cluster.wait_ready()
                assert len(clicks) > before, f"no click in the restart of {node.nodename}"
        finally:
            over.set()
            paced.result()
    refused = [error for error in (one.exception() for one in clicks) if error is not None]
    if refused:
        sentences = "; ".join(f"{type(error).__name__}: {error}" for error in refused)
        raise ServiceFailed(f"{len(refused)} of {len(clicks)} clicks failed: {sentences}")
    made = [one.result() for one in clicks]
    assert {c.request_id for c in made} == {c.request_id for c in world.clicks}
    return max(_took(world, click) for click in made)


def _took(world: World, click: Click) -> float:
    """Seconds from the click to its result, by the clocks of site and lab: one machine's."""
    world.wait_state(click, "completed")
    shown = world.state(click)
    began, ended = (datetime.fromisoformat(shown[key]) for key in ("created_at", "finished_at"))
    return (ended - began).total_seconds()
