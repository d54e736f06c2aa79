"""Faults of a broker of one node: gone, in alarm, full, or not as it was set up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pika

from infra.local.process import wait_until
from messages import topology
from tests.faults.archive_door import Wrong, is_download
from tests.faults.rows import row
from tests.faults.world import PATIENCE, World

#: The work queue of the lab's pool.
QUEUE = topology.requests_queue("lab")

#: Seconds that a broker or its memory is away: longer than two heartbeats of a lab (12 s), and long
#: enough for both sides' pauses between tries to have grown to their longest, 30 s.
LONG = 45.0

#: Milliseconds, and how often the broker looks: as short against a held inference as the real two
#: hours are against one that hangs.
SHORT_TIMEOUT = "[{rabbit, [{consumer_timeout, 4000}, {channel_tick_interval, 1000}]}]."


def _consuming(world: World) -> int:
    """How often the lab has begun to take requests."""
    return world.logged("broker.consuming", "")


def _since_it_answered(world: World, consumed: int) -> float:
    """Seconds from a broker that takes connections again to the lab that takes requests."""
    world.stack.rabbitmq.wait_answering()
    answered = time.monotonic()
    wait_until(lambda: _consuming(world) > consumed, "consume again", PATIENCE)
    return time.monotonic() - answered


def _site_said(world: World, event: str, request_id: str = "") -> int:
    """How often the site's log has a line with both."""
    lines = world.stack.web.log.read_text(encoding="utf-8", errors="replace").splitlines()
    return sum(event in line and request_id in line for line in lines)


def _put_back(world: World) -> None:
    """What infra/rabbitmq/README.md tells an operator to do."""
    node = world.stack.rabbitmq
    node.ctl("-q", "import_definitions", str(node.root / "definitions.json"))


def _unbind(world: World, queue: str) -> None:
    """Take every binding of the topology away from the queue, as the administrator."""
    (declared,) = (one for one in topology.QUEUES if one.name == queue)
    url = world.stack.rabbitmq.url("admin", world.stack.passwords["admin"])
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for exchange, key in declared.bindings:
            channel.queue_unbind(queue, exchange, key)


@contextmanager
def _alarm(world: World, *on: str, off: tuple[str, ...]) -> Iterator[None]:
    """A resource alarm, in force inside the block."""
    node = world.stack.rabbitmq

    def rings() -> bool:
        return node.ctl("-q", "eval", "rabbit_alarm:get_alarms().").strip() != "[]"

    try:
        node.ctl("-q", *on)
        wait_until(rings, "be in alarm", PATIENCE)
        yield
    finally:
        node.ctl("-q", *off)
    wait_until(lambda: not rings(), "be out of the alarm", PATIENCE)


@row(
    "broker",
    "the broker is restarted in the inference",
    injected="SIGTERM to RabbitMQ while a bundle computes and a request waits; started again",
    measures="broker answers to lab consumes",
)
def restarted(world: World) -> float:
    world.bundle.hold()
    world.click()
    world.wait_inferring()
    waiting = world.click()
    world.wait_state(waiting, "published")
    consumed, node = _consuming(world), world.stack.rabbitmq
    node.broker.stop()
    node.start()
    recovery = _since_it_answered(world, consumed)
    world.bundle.release()
    return recovery


@row(
    "broker",
    "the broker is killed in the inference",
    injected="SIGKILL to RabbitMQ while a bundle computes; a click while it is away; started again",
    measures="broker answers to lab consumes",
    in_suite=True,
)
def killed(world: World) -> float:
    world.bundle.hold()
    world.click()
    world.wait_inferring()
    consumed, node = _consuming(world), world.stack.rabbitmq
    node.kill()
    waiting = world.click()
    assert world.state(waiting).get("state") == "queued"
    world.bundle.release()
    node.start()
    return _since_it_answered(world, consumed)


@row(
    "broker",
    "the broker is away for longer than any pause between tries",
    injected=f"SIGKILL to RabbitMQ while a bundle computes; started again after {LONG:.0f} s",
    measures="broker answers to lab consumes",
)
def away_for_long(world: World) -> float:
    world.bundle.hold()
    world.click()
    world.wait_inferring()
    consumed, node = _consuming(world), world.stack.rabbitmq
    node.kill()
    world.click()
    # The result is stored, and its lab cannot tell.
    world.bundle.release()
    time.sleep(LONG)
    node.start()
    return _since_it_answered(world, consumed)


@row(
    "broker",
    "the broker is short of disk",
    injected="set_disk_free_limit above what the disk has, while a bundle computes; then back",
    measures="limit put back to the next request accepted",
)
def disk_alarm(world: World) -> float:
    return _through_an_alarm(
        world,
        "set_disk_free_limit",
        str(10**17),
        off=("set_disk_free_limit", str(50 * 10**6)),
        seconds=0.0,
    )


@row(
    "broker",
    "the broker is short of memory, for longer than two heartbeats",
    injected=f"set_vm_memory_high_watermark 0.00001 in the inference; back after {LONG:.0f} s",
    measures="watermark put back to the next request accepted",
)
def memory_alarm(world: World) -> float:
    return _through_an_alarm(
        world,
        "set_vm_memory_high_watermark",
        "0.00001",
        off=("set_vm_memory_high_watermark", "0.4"),
        seconds=LONG,
    )


def _through_an_alarm(world: World, *on: str, off: tuple[str, ...], seconds: float) -> float:
    world.bundle.hold()
    world.click()
    world.wait_inferring()
    blocked, told = world.logged("broker.blocked", ""), _site_said(world, "broker_blocked")
    with _alarm(world, *on, off=off):
        waiting = world.click()
        # The result of the first is stored meanwhile, and nobody can be told.
        world.bundle.release()
        wait_until(lambda: world.logged("broker.blocked", "") > blocked, "tell the lab", PATIENCE)
        wait_until(lambda: _site_said(world, "broker_blocked") > told, "tell the site", PATIENCE)
        time.sleep(seconds)
        assert world.state(waiting).get("state") == "queued"
        over = time.monotonic()
    world.wait_logged("job.accepted", waiting.request_id)
    return time.monotonic() - over


@row(
    "broker",
    "the queue of requests is full",
    injected="policy with max-length 1 while a bundle computes; five clicks; kept until the end",
    measures="room in the queue to the last of five completed",
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
        world.bundle.hold()
        world.click()
        world.wait_inferring()
        refused, stuck = (_site_said(world, word) for word in ("publish_refused", "publish_stuck"))
        clicks = [world.click() for _ in range(5)]

        def waiting() -> int:
            return sum(world.state(click).get("state") == "queued" for click in clicks)

        # A quorum queue refuses a little late: some more than one may have come in.
        wait_until(lambda: _site_said(world, "publish_refused") > refused, "refuse", PATIENCE)
        assert waiting() >= 2, "the queue took nearly everything"
        # For so long that the site tries another connection; nothing may come of that.
        wait_until(lambda: _site_said(world, "publish_stuck") > stuck, "try anew", PATIENCE)
        room = time.monotonic()
        world.bundle.release()
        for click in clicks:
            world.wait_state(click, "completed")
        return time.monotonic() - room
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
            lambda: _site_said(world, "publish_refused", click.request_id) > 0,
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
    injected="queue_unbind mri.replies while a bundle computes; the definitions imported again",
    measures="bindings back to completed on the page",
)
def replies_unbound(world: World) -> float:
    world.bundle.hold()
    click = world.click()
    world.wait_inferring()
    refused = world.logged("publish.refused", "")
    try:
        _unbind(world, topology.REPLIES_QUEUE)
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
    injected="the work queue unbound while its copy waits out mri.retry.30s; then imported again",
    measures="binding back to accepted (RabbitMQ tries the way again each 180 s)",
)
def way_back_unbound(world: World) -> float:
    tier = topology.retry_queue("30s", "lab")
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
    columns = ("name", "messages", "messages_ready", "messages_unacknowledged")
    listed = world.stack.rabbitmq.ctl("-q", "-p", topology.VHOST, "list_queues", *columns)
    (cells,) = (line.split() for line in listed.splitlines() if line.split()[:1] == [queue])
    messages, ready, unacknowledged = map(int, cells[1:])
    return messages - ready - unacknowledged


@row(
    "broker",
    "the queue of requests is purged",
    injected="rabbitmqctl purge_queue while one bundle computes and one request waits",
    measures="purged to accepted, of which about 140 s are the site's quiet time",
)
def queue_purged(world: World) -> float:
    world.bundle.hold()
    world.click()
    world.wait_inferring()
    lost = world.click()
    world.wait_state(lost, "published")
    world.stack.rabbitmq.ctl("-q", "-p", topology.VHOST, "purge_queue", QUEUE)
    purged = time.monotonic()
    world.bundle.release()
    wait_until(
        lambda: world.logged("job.accepted", lost.request_id) > 0, "publish it again", 2 * PATIENCE
    )
    return time.monotonic() - purged


@row(
    "broker",
    "consumer_timeout is shorter than the inference",
    injected="consumer_timeout 4 s looked at each second (advanced.config), the bundle held over 2",
)
def consumer_timeout(world: World) -> None:
    node = world.stack.rabbitmq
    try:
        node.advanced = SHORT_TIMEOUT
        node.restart()
        world.bundle.hold()
        click = world.click()
        world.wait_inferring()
        world.wait_logged("delivery.adopt", click.request_id, 2)
        assert world.inferences == 1, "its own work was begun again"
        world.bundle.release()
        world.wait_state(click, "completed")
    finally:
        node.advanced = "[]."
        node.restart()
