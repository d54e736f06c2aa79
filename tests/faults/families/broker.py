"""Faults of a broker of one node: gone, in alarm, or impatient."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from infra.local.process import wait_until
from tests.faults.clicks import computing
from tests.faults.rows import row
from tests.faults.undisturbed import site_said
from tests.faults.world import PATIENCE, World

#: Seconds that a broker or its memory is away: longer than two heartbeats of a lab (12 s), and long
#: enough for both sides' pauses between tries to have grown to their longest, 30 s.
LONG = 45.0

#: Milliseconds, and how often the broker looks: as short against a held inference as the real two
#: hours are against one that hangs.
SHORT_TIMEOUT = "[{rabbit, [{consumer_timeout, 4000}, {channel_tick_interval, 1000}]}]."

#: Seconds in which a lab is to consume again once its broker is back.
BACK = 30


def _consuming(world: World) -> int:
    """How often the lab has begun to take requests."""
    return world.logged("broker.consuming", "")


def _since_it_answered(world: World, consumed: int) -> float:
    """Seconds from a broker that takes connections again to the lab that takes requests."""
    world.stack.rabbitmq.wait_answering()
    answered = time.monotonic()
    wait_until(lambda: _consuming(world) > consumed, "consume again", PATIENCE)
    return time.monotonic() - answered


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
    goal=BACK,
)
def restarted(world: World) -> float:
    computing(world)
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
    goal=BACK,
    in_suite=True,
)
def killed(world: World) -> float:
    computing(world)
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
    goal=BACK,
)
def away_for_long(world: World) -> float:
    computing(world)
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
    measures="rabbitmqctl begins to put the limit back to the next request accepted",
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
    measures="rabbitmqctl begins to put the watermark back to the next request accepted",
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
    computing(world)
    blocked, told = world.logged("broker.blocked", ""), site_said(world, "broker_blocked")
    with _alarm(world, *on, off=off):
        waiting = world.click()
        # The result of the first is stored meanwhile, and nobody can be told.
        world.bundle.release()
        wait_until(lambda: world.logged("broker.blocked", "") > blocked, "tell the lab", PATIENCE)
        wait_until(lambda: site_said(world, "broker_blocked") > told, "tell the site", PATIENCE)
        time.sleep(seconds)
        assert world.state(waiting).get("state") == "queued"
        over = time.monotonic()
    world.wait_logged("job.accepted", waiting.request_id)
    return time.monotonic() - over


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
        click = computing(world)
        world.wait_logged("delivery.adopt", click.request_id, 2)
        assert world.inferences == 1, "its own work was begun again"
        world.bundle.release()
        world.wait_state(click, "completed")
    finally:
        node.advanced = "[]."
        node.restart()
