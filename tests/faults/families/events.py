"""Faults of events that can be read: too many, out of order, or about nobody."""

from __future__ import annotations

import itertools
import random
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from uuid import UUID, uuid4

from infra.demo.stack import LAB
from infra.local.process import wait_until
from messages.events import (
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceProgressed,
    InferenceRetryScheduled,
    RunEvent,
)
from tests.faults.archive_door import Wrong, is_download
from tests.faults.audience import Audience
from tests.faults.invented import one_of_each
from tests.faults.post import Tap, channel_of, tell
from tests.faults.rows import row
from tests.faults.tiers import short_tiers
from tests.faults.undisturbed import Undisturbed, site_said
from tests.faults.world import PATIENCE, Click, World
from tests.integration.lab import store_small_study, stored_objects


@row(
    "messages",
    "each event is delivered six times",
    injected="a program as the lab's user publishes each event of a request five times more, with "
    "and without user_id: of one that waits in a tier and completes, one cancelled, one failed",
    allowed=("completed", "cancelled", "failed"),
)
def each_five_times(world: World) -> None:
    with Tap(world, copies=5) as tap, short_tiers(world):
        world.door.go_wrong(Wrong.BUSY, is_download, times=3)
        retried = world.click()
        world.wait_state(retried, "completed")
        world.bundle.hold()
        unwanted = world.click()
        world.wait_inferring(2)
        world.reader.post(f"/api/v1/requests/{unwanted.request_id}/cancel", {})
        world.wait_state(unwanted, "cancelled")
        world.bundle.release()
        world.door.go_wrong(Wrong.BUSY, is_download, times=1000)
        hopeless = world.click()
        world.wait_state(hopeless, "failed")
    wait_until(world.idle, "take all copies", PATIENCE)
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
    "the events of a request come in every order",
    injected="accepted, retry_scheduled, accepted and completed of one request, told in all 24 "
    "orders for 24 others whose lab is stopped, its hints in between at random (seed 5)",
)
def every_order(world: World) -> None:
    with Tap(world) as tap, short_tiers(world):
        world.door.go_wrong(Wrong.BUSY, is_download, times=3)
        first = world.click()
        world.wait_state(first, "completed")
    hints = [e for e in tap.heard if isinstance(e, InferenceProgressed)]
    outcomes = [e for e in tap.heard if not isinstance(e, InferenceProgressed)]
    assert len(outcomes) == 4, outcomes
    assert hints
    world.lab.stop()
    orders = list(itertools.permutations(outcomes))
    dice = random.Random(5)
    with_hints = [_mixed(order, hints, dice) for order in orders]
    audience = Audience(world.reader)
    clicks = _silent_clicks(world, audience, len(orders))
    with channel_of(world, LAB) as channel:
        for click, order in zip(clicks, with_hints, strict=True):
            for event in order:
                about = {"request_id": UUID(click.request_id)}
                tell(channel, event.model_copy(update=about))
    result = world.state(first)["result"]
    for click, order in zip(clicks, orders, strict=True):
        world.wait_state(click, "completed")
        shown = world.state(click)
        names = [type(e).__name__ for e in order]
        assert shown["result"] == result, f"another result after {names}"
        assert (shown["attempt"], shown["failure"]) == (2, None), f"not at the end after {names}"
    # The requests are still in the queue: the lab stores what was told, and tells it again.
    world.lab.start()


def _mixed(
    order: Sequence[RunEvent], hints: Sequence[RunEvent], dice: random.Random
) -> list[RunEvent]:
    mixed = list(order)
    for hint in hints:
        mixed.insert(dice.randrange(len(mixed) + 1), hint)
    return mixed


def _silent_clicks(world: World, audience: Audience, count: int) -> list[Click]:
    """So many requests in the queue, six to a study, all followed by one page."""
    studies = [store_small_study(world.stack.orthanc) for _ in range(-(-count // 6))]
    clicks = []
    for number in range(count):
        study = studies[number // 6]
        series = {item.role: item.series_id for item in study.inputs}
        asked = world.reader.ask(study.study_id, series, threshold=0.1 + number % 6 / 10)
        audience.follow(asked["request_id"])
        clicks.append(Click(asked["request_id"], study, audience.seat(asked["request_id"])))
    world.clicks += clicks
    for click in clicks:
        world.wait_state(click, "published")
    return clicks


@row(
    "messages",
    "events of a request that the site does not know",
    injected="each kind of event for a random request id",
)
def unknown_request(world: World) -> None:
    undisturbed = Undisturbed(world)
    name = uuid4()
    events = one_of_each(name)
    with channel_of(world, LAB) as channel:
        for event in events:
            tell(channel, event)
    wait_until(
        lambda: site_said(world, "event_of_unknown_request", str(name)) == len(events),
        "say so for each",
        PATIENCE,
    )
    world.wait_state(world.click(), "completed")
    assert world.reader.get(f"/api/v1/requests/{name}").status_code == 404
    undisturbed.check()


@row(
    "messages",
    "the row of a request is gone while it runs",
    injected="its rows deleted from the database while the bundle computes, as by a restored copy. "
    "The lab cannot know: it stores a whole result, which stays, and its events are acknowledged "
    "with a line in the log. Nothing is deleted from an archive because of a message about nobody",
)
def row_gone(world: World) -> None:
    undisturbed = Undisturbed(world)
    world.bundle.hold()
    gone = world.click()
    world.wait_inferring()
    wait_until(lambda: world.state(gone).get("state") == "inferring", "be told so", PATIENCE)
    _delete_row(world, gone.request_id)
    world.clicks.remove(gone)
    world.bundle.release()
    world.wait_logged("job.completed", gone.request_id)
    wait_until(
        lambda: site_said(world, "event_of_unknown_request", gone.request_id) > 0,
        "say so",
        PATIENCE,
    )
    gone.witness.stop()
    assert world.reader.get(f"/api/v1/requests/{gone.request_id}").status_code == 404
    assert stored_objects(world.stack.orthanc, gone.study) == {"SEG": 1, "SR": 1}
    # Whoever asks again for the same gets a request and a result of their own.
    again = world.click(gone.study)
    assert again.request_id != gone.request_id
    world.wait_state(again, "completed")
    undisturbed.check()


def _delete_row(world: World, request_id: str) -> None:
    path = world.stack.root / "web" / "web.sqlite3"
    key = UUID(request_id).hex
    with closing(sqlite3.connect(path, timeout=60)) as database, database:
        for table, column in (
            ("requestevent", "request_id"),
            ("outbox", "request_id"),
            ("idempotencykey", "request_id"),
            ("inferencerequest", "id"),
        ):
            database.execute(
                f"DELETE FROM labrelay_inference_{table} WHERE {column} = ?",  # noqa: S608
                (key,),
            )
