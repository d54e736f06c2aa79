"""Faults of messages that come more than once: at the same time, one after the other, or late."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infra.local.process import wait_until
from messages import topology
from messages.events import (
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRetryScheduled,
)
from tests.faults.archive_door import Wrong, is_download
from tests.faults.clicks import computing
from tests.faults.labs import beside, logged, wait_logged
from tests.faults.post import Overheard, Tap, overhear, publish_again
from tests.faults.press import Click
from tests.faults.rows import row
from tests.faults.tiers import short_tiers
from tests.faults.undisturbed import Undisturbed
from tests.faults.world import PATIENCE, World

#: Times that a message is published in all.
TIMES = 5


def _three_ends(world: World) -> None:
    """One request that waits in a tier and completes, one that is cancelled, one that fails."""
    with short_tiers(world):
        world.door.go_wrong(Wrong.BUSY, is_download, times=3)
        retried = world.click()
        world.wait_state(retried, "completed")
        _cancel(world, computing(world))
        world.bundle.release()
        world.door.go_wrong(Wrong.BUSY, is_download, times=1000)
        hopeless = world.click()
        world.wait_state(hopeless, "failed")
        world.door.mend()


def _cancel(world: World, click: Click) -> None:
    answer = world.reader.post(f"/api/v1/requests/{click.request_id}/cancel", {})
    answer.raise_for_status()
    world.wait_state(click, "cancelled")


@contextmanager
def _nothing_changes(world: World) -> Iterator[None]:
    """Over the block, and until all that it published is taken, no request changes at all."""
    before = [(click, world.state(click)["version"]) for click in world.clicks]
    began = world.inferences
    yield
    # Counts of the broker lag; what comes through the same queues afterwards does not.
    world.wait_state(world.click(), "completed")
    for click, version in before:
        now = world.state(click)
        assert now["version"] == version, f"a late copy made it {now['state']}"
    assert world.inferences == began + 1, "a late copy was computed"


def _of(heard: Callable[[], list[Overheard]], click: Click) -> Overheard:
    """The one message about the request."""
    wait_until(lambda: any(m.about == click.request_id for m in heard()), "hear it", PATIENCE)
    return next(message for message in heard() if message.about == click.request_id)


@row(
    "messages",
    "each event is delivered six times",
    injected="a program as the lab's user publishes each event of a request five times more, with "
    "and without user_id: of one that waits in a tier and completes, one cancelled, one failed",
    allowed=("completed", "cancelled", "failed"),
)
def each_five_times(world: World) -> None:
    with Tap(world, copies=5) as tap:
        _three_ends(world)
    # Through the same queue, behind all copies.
    world.wait_state(world.click(), "completed")
    assert tap.copied == 5 * len(tap.heard)
    told = {type(event) for event in tap.heard}
    ends = {InferenceCompleted, InferenceCancelled, InferenceFailed, InferenceRetryScheduled}
    assert ends < told, f"not every kind was copied: {told}"
    for click in world.clicks:
        _history_without_repeats(world, click)


def _history_without_repeats(world: World, click: Click) -> None:
    shown = world.reader.get(f"/api/v1/requests/{click.request_id}/events").json()["events"]
    steps = [(e["state"], e["attempt"], e["delivery"]) for e in shown]
    assert len(set(steps)) == len(steps), f"a change came twice: {steps}"


@row(
    "messages",
    "each event is delivered five times more after the end, in any order",
    injected="all events of three requests (completed in the second attempt, cancelled, failed) "
    "kept, shuffled (seed 5) and published again as the lab's user once nothing is under way",
    allowed=("completed", "cancelled", "failed"),
)
def events_again_after_the_end(world: World) -> None:
    undisturbed = Undisturbed(world)
    with overhear(world, topology.events_exchange("lab"), "request.*") as heard:
        _three_ends(world)
        kept = list(heard())
    kinds = {message.properties.type for message in kept}
    ends = (InferenceCompleted, InferenceCancelled, InferenceFailed, InferenceRetryScheduled)
    assert {kind.wire_type() for kind in ends} < kinds, f"not every kind was kept: {kinds}"
    wait_until(world.idle, "be at rest", PATIENCE)
    late = kept * TIMES
    random.Random(5).shuffle(late)
    with _nothing_changes(world):
        publish_again(world, late)
    for click in world.clicks:
        _history_without_repeats(world, click)
    undisturbed.check()


@row(
    "messages",
    "a request is delivered five times to two labs at once, and five times more after its end",
    injected="its message (the same request, attempt and message_id) published four times more as "
    "the site's user while one lab computes it; a second lab takes three, begins one and keeps the "
    "others beside it; one waits; all five again after the end",
)
def request_five_times(world: World) -> None:
    undisturbed = Undisturbed(world)
    with overhear(world, topology.REQUESTS) as published:
        click = computing(world)
        message = _of(published, click)
    labs = (world.lab, beside(world, PREFETCH="3"))

    def count(*actions: str) -> int:
        return sum(logged(lab, action, click.request_id) for lab in labs for action in actions)

    publish_again(world, [message] * (TIMES - 1))
    wait_logged(labs[1], "job.accepted", click)
    wait_logged(labs[1], "delivery.adopt", click, 2)
    world.wait_inferring(2)
    world.bundle.release()
    world.wait_state(click, "completed")
    wait_until(lambda: count("job.completed") == 3, "end all runs", PATIENCE)
    assert world.inferences == 2, f"{world.inferences} inferences by two labs"
    with _nothing_changes(world):
        publish_again(world, [message] * TIMES)
        wait_until(
            lambda: count("job.accepted", "delivery.adopt") == 2 * TIMES,
            "take all copies",
            PATIENCE,
        )
    _history_without_repeats(world, click)
    undisturbed.check()


@row(
    "messages",
    "a cancel is delivered five times, the cancelled request five times more, and all five "
    "cancels again while the same is asked for anew",
    injected="the cancel's message published four times more as the site's user, as soon as it was "
    "published; the request's message five times once it is cancelled; then a click for the same "
    "images, and the five cancels of the first request in its inference",
    allowed=("completed", "cancelled"),
)
def cancel_five_times(world: World) -> None:
    undisturbed = Undisturbed(world)
    with (
        overhear(world, topology.REQUESTS) as published,
        overhear(world, topology.control_exchange("lab")) as told,
    ):
        unwanted = computing(world)
        asked = _of(published, unwanted)
        answer = world.reader.post(f"/api/v1/requests/{unwanted.request_id}/cancel", {})
        answer.raise_for_status()
        cancel = _of(told, unwanted)
        publish_again(world, [cancel] * (TIMES - 1))
        world.wait_state(unwanted, "cancelled")
        world.bundle.release()
    version = world.state(unwanted)["version"]
    publish_again(world, [asked] * TIMES)
    runs = 1 + TIMES
    world.wait_logged("job.accepted", unwanted.request_id, runs)
    wait_until(
        lambda: (
            sum(
                world.logged(end, unwanted.request_id) for end in ("job.cancelled", "job.completed")
            )
            == runs
        ),
        "end all runs",
        PATIENCE,
    )
    begun = world.inferences
    world.bundle.hold()
    wanted = world.click(unwanted.study)
    assert wanted.request_id != unwanted.request_id, "asked for anew, and it is the cancelled one"
    world.wait_inferring(begun + 1)
    publish_again(world, [cancel] * TIMES)
    world.bundle.release()
    # The lab hears all that it was told before it stores anything.
    world.wait_state(wanted, "completed")
    assert world.state(unwanted)["version"] == version, "a late copy changed what was cancelled"
    undisturbed.check()
