"""Faults of events that come in any order: every order of what can be told of one request."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from infra.demo.stack import LAB
from infra.local.process import wait_until
from messages import topology
from messages.events import (
    InferenceAccepted,
    InferenceCancelled,
    InferenceFailed,
    InferenceProgressed,
    InferenceRetryScheduled,
    RunEvent,
)
from messages.failures import FailureCode
from tests.faults.archive_door import Wrong, is_download
from tests.faults.audience import Audience
from tests.faults.invented import a_completed
from tests.faults.post import Tap, channel_of, tell
from tests.faults.press import Click
from tests.faults.rows import row
from tests.faults.tiers import short_tiers
from tests.faults.world import PATIENCE, World
from tests.integration.lab import store_small_study

#: Requests of one study: its images are stored once, and each asks with a threshold of its own.
TO_A_STUDY = 6

Order = tuple[RunEvent, ...]


@row(
    "messages",
    "the events of a request that completes in its second attempt come in every order",
    injected="accepted, retry_scheduled, accepted and completed of one request, told in all 24 "
    "orders for 24 others whose lab is stopped, its hints in between at random (seed 5); the "
    "archive holds none of these results. The queue of requests purged before the lab starts again",
    allowed=("completed", "failed"),
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
    clicks = _silent_clicks(world, len(orders))
    for click, order in zip(clicks, orders, strict=True):
        _tell_all(world, click, _mixed(order, hints, dice))
    for click, order in zip(clicks, orders, strict=True):
        # What was told is not stored: the archive answers three times without it.
        world.wait_state(click, "failed", timeout=2 * PATIENCE)
        _wait_told(world, click, order)
        shown = world.state(click)
        assert shown["result"] is None, f"a result after {_named(order)}"
        end = (shown["attempt"], shown["failure"]["code"])
        assert end == (2, "result_not_found"), f"not at the end after {_named(order)}"
    _purge_requests(world)
    world.lab.start()


def _purge_requests(world: World) -> None:
    """The lab has no part in what was invented."""
    queue = topology.requests_queue("lab")
    world.stack.rabbitmq.ctl("-q", "-p", topology.VHOST, "purge_queue", queue)


def _mixed(
    order: Sequence[RunEvent], hints: Sequence[RunEvent], dice: random.Random
) -> list[RunEvent]:
    mixed = list(order)
    for hint in hints:
        mixed.insert(dice.randrange(len(mixed) + 1), hint)
    return mixed


@dataclass(frozen=True)
class Story:
    """What can be told of one request, and how that ends."""

    events: Order
    #: State and attempt at the end; None: whichever attempt.
    end: Callable[[Order], tuple[str, int | None]]
    #: Whether the reader asks to stop before anything is told.
    unwanted: bool = False


def _stories() -> list[Story]:
    now = datetime.now(UTC)
    code = FailureCode.OUT_OF_MEMORY

    def at(attempt: int, sequence: int) -> dict[str, Any]:
        place = {"attempt": attempt, "delivery": 0, "sequence": sequence}
        return {"request_id": uuid4(), "lab": LAB, "at": now, **place}

    retried = (
        InferenceAccepted(**at(1, 0)),
        InferenceRetryScheduled(**at(1, 1), code=code, next_at=now),
        InferenceAccepted(**at(2, 0)),
    )
    failed = InferenceFailed(**at(2, 1), code=code, detail="", stage_seconds={})
    cancelled = InferenceCancelled(**at(2, 1))
    early = InferenceFailed(**at(1, 1), code=code, detail="", stage_seconds={})
    completed = a_completed(uuid4())
    return [
        Story((*retried, failed), lambda _: ("failed", 2)),
        # Published again when it was taken for lost: its first run failed all the same.
        Story(
            # What it has reported is not stored.
            (early, retried[2], completed.model_copy(update={"attempt": 2})),
            lambda _: ("failed", None),
        ),
        Story((*retried, cancelled), lambda _: ("cancelled", None), unwanted=True),
        # The run of one lab was stopped; that of another has reported what is not stored.
        Story(
            (InferenceAccepted(**at(1, 0)), InferenceCancelled(**at(1, 2)), completed),
            lambda _: ("cancelled", None),
            unwanted=True,
        ),
    ]


@row(
    "messages",
    "the events of requests that fail, are cancelled, or fail and complete come in every order",
    injected="for 60 requests whose lab is stopped, in every order: accepted, retry_scheduled, "
    "accepted, failed; failed, accepted and completed of the next attempt; of one whose cancel was "
    "asked accepted, retry_scheduled, accepted, cancelled, and accepted, cancelled, completed. The "
    "queue of requests purged before the lab starts again: it has no part in what was invented",
    allowed=("failed", "cancelled"),
)
def every_order_of_other_ends(world: World) -> None:
    world.lab.stop()
    told = [(s, order) for s in _stories() for order in itertools.permutations(s.events)]
    clicks = _silent_clicks(world, len(told))
    for click, (story, order) in zip(clicks, told, strict=True):
        if story.unwanted:
            # Told at once: after some seconds the site takes it that no lab will answer.
            world.reader.post(f"/api/v1/requests/{click.request_id}/cancel", {}).raise_for_status()
        _tell_all(world, click, order)
    for click, (story, order) in zip(clicks, told, strict=True):
        state, attempt = story.end(order)
        world.wait_state(click, "failed", "cancelled", timeout=2 * PATIENCE)
        _wait_told(world, click, order)
        shown = world.state(click)
        assert shown["state"] == state, f"{shown['state']} after {_named(order)}"
        assert attempt in (None, shown["attempt"]), f"{shown['attempt']} after {_named(order)}"
    _purge_requests(world)
    world.lab.start()


def _wait_told(world: World, click: Click, order: Order) -> None:
    """Wait until the site has taken up every event of the order."""
    ids = {e.model_copy(update={"request_id": UUID(click.request_id)}).event_id.hex for e in order}
    marks = ", ".join("?" * len(ids))
    query = f"SELECT COUNT(*) FROM labrelay_inference_seenevent WHERE event_id IN ({marks})"  # noqa: S608
    wait_until(
        lambda: world.ask_database(query, *ids) == [(len(ids),)], "take up every event", PATIENCE
    )


def _named(order: Sequence[RunEvent]) -> list[str]:
    return [f"{type(event).__name__} {event.attempt}" for event in order]


def _tell_all(world: World, click: Click, events: Sequence[RunEvent]) -> None:
    about = {"request_id": UUID(click.request_id)}
    with channel_of(world, LAB) as channel:
        for event in events:
            tell(channel, event.model_copy(update=about))


def _silent_clicks(world: World, count: int) -> list[Click]:
    """So many requests in the queue, all followed by one page."""
    studies = [store_small_study(world.stack.orthanc) for _ in range(-(-count // TO_A_STUDY))]
    clicks = []
    with ExitStack() as open_:
        audience = Audience(world.reader)
        open_.callback(audience.stop)
        for number in range(count):
            study = studies[number // TO_A_STUDY]
            series = {item.role: item.series_id for item in study.inputs}
            asked = world.reader.ask(
                study.study_id, series, threshold=0.1 + number % TO_A_STUDY / 10
            )["request_id"]
            audience.follow(asked)
            clicks.append(Click(asked, study, audience.seat(asked), invented=True))
        # From here on it ends with its clicks.
        open_.pop_all()
    world.clicks += clicks
    for click in clicks:
        world.wait_state(click, "published")
    return clicks
