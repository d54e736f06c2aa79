"""Faults of what a broker was set up with: queues full or purged, bindings deleted."""

from __future__ import annotations

import json
import time

import pika

from infra.local.process import wait_until
from messages import topology
from tests.faults.archive_door import Wrong, is_download
from tests.faults.clicks import computing
from tests.faults.outbox import started_again, waiting_replies
from tests.faults.rows import row
from tests.faults.undisturbed import site_said
from tests.faults.world import PATIENCE, World

#: The work queue of the lab's pool.
QUEUE = topology.requests_queue("lab")


def _put_back(world: World) -> None:
    """What infra/rabbitmq/README.md tells an operator to do."""
    node = world.stack.rabbitmq
    node.ctl("-q", "import_definitions", str(node.root / "definitions.json"))


def _unbind(world: World, queue: str) -> None:
    """Take every binding of the topology away from the queue, as the administrator."""
    (declared,) = (one for one in topology.queues() if one.name == queue)
    url = world.stack.rabbitmq.url("admin", world.stack.passwords["admin"])
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for exchange, key in declared.bindings:
            channel.queue_unbind(queue, exchange, key)


@row(
    "broker",
    "the queue of requests is full",
    injected="policy with max-length 1 while a bundle computes; five clicks; kept until the end",
    measures="bundle released, and so room in the queue, to the last of five completed",
)
def queue_full(world: World) -> float:
    node = world.stack.rabbitmq
    (policy,) = (one for one in topology.POLICIES if one.name == "mri-requests")
    narrow = json.dumps({**policy.definition, "max-length": 1})
    try:
        node.ctl(
            *("-q", "-p", topology.VHOST, "set_policy", "--apply-to", "queues"),
            *(policy.name, policy.pattern, narrow),
        )
        computing(world)
        refused, held = (site_said(world, word) for word in ("publish_refused", "publish_held"))
        clicks = [world.click() for _ in range(5)]

        def waiting() -> int:
            return sum(world.state(click).get("state") == "queued" for click in clicks)

        # A quorum queue refuses a little late: some more than one may have come in.
        wait_until(lambda: site_said(world, "publish_refused") > refused, "refuse", PATIENCE)
        assert waiting() >= 2, "the queue took nearly everything"
        assert site_said(world, "publish_held") > held
        # Each try is made on another channel; nothing may come of that.
        tried = site_said(world, "publish_refused")
        wait_until(lambda: site_said(world, "publish_refused") > tried, "try anew", PATIENCE)
        released = time.monotonic()
        world.bundle.release()
        for click in clicks:
            world.wait_state(click, "completed")
        return time.monotonic() - released
    finally:
        _put_back(world)


@row(
    "broker",
    "the binding of the work queue is deleted",
    injected="queue_unbind mri.requests.lab; a click; the definitions imported again",
    measures="binding back to accepted",
)
def requests_unbound(world: World) -> float:
    try:
        _unbind(world, QUEUE)
        click = world.click()
        wait_until(
            lambda: site_said(world, "publish_refused", click.request_id) > 0,
            "say that the request goes nowhere",
            PATIENCE,
        )
        assert world.state(click).get("state") == "queued"
    finally:
        _put_back(world)
    back = time.monotonic()
    world.wait_logged("job.accepted", click.request_id)
    return time.monotonic() - back


@row(
    "broker",
    "the bindings of the replies are deleted in the inference",
    injected="queue_unbind mri.replies.lab while a bundle computes; the definitions imported again",
    measures="bindings back to completed on the page",
)
def replies_unbound(world: World) -> float:
    click = computing(world)
    refused = world.logged("publish.refused", "")
    try:
        _unbind(world, topology.replies_queue("lab"))
        world.bundle.release()
        wait_until(lambda: world.logged("publish.refused", "") > refused, "say so", PATIENCE)
        assert world.state(click).get("state") != "completed"
    finally:
        _put_back(world)
    back = time.monotonic()
    return world.wait_state(click, "completed") - back


@row(
    "broker",
    "the way back from a retry tier is deleted while a request waits there",
    injected="the work queue unbound while its copy waits out mri.retry.lab.30s; then imported "
    "again",
    measures="binding back to accepted (RabbitMQ tries the way again each 180 s)",
)
def way_back_unbound(world: World) -> float:
    tier = topology.retry_queue("lab", "30s")
    world.door.go_wrong(Wrong.BUSY, is_download, times=1000)
    click = world.click()
    world.wait_state(click, "waiting")
    world.door.mend()
    try:
        _unbind(world, QUEUE)
        # Neither ready nor unacknowledged: due, and held back until there is a way.
        wait_until(lambda: _held_back(world, tier) == 1, "keep what has no way", PATIENCE)
    finally:
        _put_back(world)
    back = time.monotonic()
    world.wait_logged("job.accepted", click.request_id, 2)
    return time.monotonic() - back


def _held_back(world: World, queue: str) -> int:
    columns = ("messages", "messages_ready", "messages_unacknowledged")
    messages, ready, unacknowledged = map(int, world.listed(*columns)[queue])
    return messages - ready - unacknowledged


@row(
    "broker",
    "the queue of requests is purged",
    injected="rabbitmqctl purge_queue while one bundle computes and one request waits",
    measures="purged to accepted, of which about 150 s are the site's quiet time",
)
def queue_purged(world: World) -> float:
    first = computing(world)
    lost = world.click()
    world.wait_state(lost, "published")
    _purge(world, QUEUE)
    purged = time.monotonic()
    world.bundle.release()
    wait_until(
        lambda: world.logged("job.accepted", lost.request_id) > 0, "publish it again", 2 * PATIENCE
    )
    recovery = time.monotonic() - purged
    world.wait_state(lost, "completed")
    assert world.state(lost)["attempt"] == 2, "it was not purged"
    assert world.state(first)["attempt"] == 1, "what a lab held was taken for lost"
    return recovery


@row(
    "broker",
    "the queue of replies is purged while an outcome lies there",
    injected="SIGKILL to the site in the inference; the lab tells its outcome; rabbitmqctl "
    "purge_queue mri.replies.lab; the site started",
    measures="site answers to completed, of which about 150 s are its quiet time",
)
def replies_purged(world: World) -> float:
    click = computing(world)
    world.wait_state(click, "inferring")
    world.stack.web.kill()
    world.bundle.release()
    world.wait_logged("job.completed", click.request_id)
    wait_until(lambda: waiting_replies(world) > 0, "have the outcome in the queue", PATIENCE)
    _purge(world, topology.replies_queue("lab"))
    wait_until(
        lambda: world.queues()[topology.replies_queue("lab")] == (0, 0),
        "lose the outcome",
        PATIENCE,
    )
    answered = started_again(world)
    # The hints of its last stages have a queue of their own.
    assert world.state(click).get("state") != "completed", "the outcome was not lost"
    recovery = world.wait_state(click, "completed", timeout=2 * PATIENCE) - answered
    # From what the archive holds, and not by a second run.
    assert site_said(world, "completed_told_from_archive", click.request_id) == 1
    assert (world.state(click)["attempt"], world.inferences) == (1, 1), "it was computed again"
    return recovery


def _purge(world: World, queue: str) -> None:
    world.stack.rabbitmq.ctl("-q", "-p", topology.VHOST, "purge_queue", queue)
