"""What a lab, or a caller, repeats without end: each costs the site a bounded part."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import pytest
from django.db import transaction
from django.utils import timezone

from messages.control import CancelRequested
from messages.events import InferenceAccepted, InferenceProgressed, Stage
from messages.lab import MAX_MODELS, LabHeartbeat, LabModel, ModelDescriptor
from tests.unit.test_reconcile_rules import row
from web.broker.inbox import Item
from web.broker.progress import AT_ONCE, TURN_SECONDS, Hints, ProgressFeed, Turns
from web.broker.queue_depth import QueueDepth
from web.connections import longest_of_most
from web.database import DatabaseThread
from web.inference.models import InferenceRequest, Outbox, SeenEvent
from web.inference.outbox import MOST_STOPS, STOP_SECONDS
from web.inference.record import MOST_REMEMBERED, record_event
from web.inference.states import State
from web.reconciler.pace import Pace
from web.reconciler.reconcile import Reconciler

ITEM = cast("Item", SimpleNamespace(old=False))


def model(number: int) -> ModelDescriptor:
    return ModelDescriptor(
        name="m", version=str(number), sha256="0" * 64, roles=("image",), labels=("l",), notice=""
    )


def described(lab: str, number: int) -> LabModel:
    return LabModel(lab=lab, pool="lab", model=model(number), at=timezone.now())


def beat(lab: str, device: str = "cpu") -> LabHeartbeat:
    return LabHeartbeat(lab=lab, pool="lab", device=device, at=timezone.now())


def test_a_lab_has_a_few_turns_at_once_and_then_one_in_so_many_seconds() -> None:
    turns, now = Turns(), 100.0
    assert [turns.take(["a"], now) == {"a"} for _ in range(AT_ONCE + 2)] == [
        *[True] * AT_ONCE,
        False,
        False,
    ]
    assert turns.take(["a", "b"], now) == {"b"}
    taken = sum(bool(turns.take(["a"], now + step / 5)) for step in range(1, 301))
    assert taken <= 60 / TURN_SECONDS + 1
    assert turns.take(["a"], now + 1_000) == {"a"}


def test_the_turns_of_labs_that_are_silent_are_forgotten() -> None:
    turns = Turns()
    for number in range(1_000):
        turns.take([f"lab{number}"], number * 2 * TURN_SECONDS)
    assert len(turns._used) <= 2


class Written:
    """The database thread, which only counts what it is to write."""

    def __init__(self) -> None:
        self.hints: list[Hints] = []

    async def run(self, _function: object, hints: Hints) -> list[object]:
        self.hints.append(hints)
        return []


@pytest.mark.asyncio
async def test_what_a_lab_tells_before_its_turn_waits_and_the_newest_is_written() -> None:
    database = Written()
    feed, turns = ProgressFeed(cast("DatabaseThread", database)), Turns()
    hints = Hints()
    for number in range(20):
        hints.take(beat("a", f"gpu{number}"), ITEM, "a", timezone.now())
        hints.take(described("a", number), ITEM, "a", timezone.now())
        hints = await feed._write("mri.progress.lab", hints, turns)
    assert len(database.hints) == AT_ONCE
    hints.take(beat("b"), ITEM, "b", timezone.now())
    hints = await feed._write("mri.progress.lab", hints, turns)
    assert [lab for lab, _ in database.hints[-1].beats] == ["b"]
    # Its turn comes, and nothing more was said.
    turns._used.clear()
    assert not await feed._write("mri.progress.lab", hints, turns)
    assert database.hints[-1].beats["a", None].beat.device == "gpu19"
    assert ("a", model(19).fingerprint) in database.hints[-1].models


def test_of_more_models_than_a_lab_can_serve_the_newest_wait() -> None:
    hints = Hints()
    for number in range(MAX_MODELS + 5):
        assert not hints.take(described("a", number), ITEM, "a", timezone.now())
    assert len(hints.models) == MAX_MODELS
    assert ("a", model(MAX_MODELS + 4).fingerprint) in hints.models


def accepted(one: InferenceRequest, sequence: int) -> InferenceAccepted:
    return InferenceAccepted(
        request_id=one.pk,
        attempt=1,
        delivery=0,
        sequence=sequence,
        lab="lab1",
        at=timezone.now(),
    )


@pytest.mark.django_db
def test_events_that_change_nothing_are_not_remembered() -> None:
    one = row(State.CANCELLED)
    with transaction.atomic():
        for sequence in range(50):
            record_event(accepted(one, sequence))
    assert not SeenEvent.objects.exists()


@pytest.mark.django_db
def test_events_of_one_request_are_remembered_up_to_a_number_and_a_copy_changes_nothing() -> None:
    one = row(State.PUBLISHED)
    InferenceRequest.objects.filter(pk=one.pk).update(version=MOST_REMEMBERED - 10)
    with transaction.atomic():
        for sequence in range(30):
            step = accepted(one, sequence).model_dump()
            told = InferenceProgressed(**step, stage=Stage.INFERRING, done=sequence, total=99)
            assert record_event(told)
            assert not record_event(told)
    assert SeenEvent.objects.count() == 10


def stops(one: InferenceRequest) -> list[Outbox]:
    kind = CancelRequested.wire_type()
    return list(Outbox.objects.filter(request=one, type=kind).order_by("pk"))


@pytest.mark.django_db
def test_a_lab_that_takes_a_cancelled_request_again_and_again_leaves_few_rows() -> None:
    one = row(State.CANCELLED)
    for sequence in range(40):
        with transaction.atomic():
            record_event(accepted(one, sequence))
        # A relay sends what is not for later.
        now = timezone.now()
        Outbox.objects.filter(sent_at=None, leased_until=None).update(sent_at=now, attempted=True)
    *sent, last = stops(one)
    assert len(sent) == MOST_STOPS
    # The last word is not lost: it is sent when that is due.
    assert last.sent_at is None
    assert last.leased_until is not None
    assert last.leased_until <= timezone.now() + timedelta(seconds=STOP_SECONDS)
    long_ago = timezone.now() - timedelta(seconds=2 * STOP_SECONDS)
    Outbox.objects.filter(request=one).update(sent_at=long_ago, attempted=True)
    with transaction.atomic():
        record_event(accepted(one, 99))
    assert [one.leased_until for one in stops(one)] == [None]


@pytest.mark.asyncio
async def test_what_is_told_of_cancelled_requests_begins_a_turn_at_once_and_then_gathers() -> None:
    nobody = cast("DatabaseThread", None)
    reconciler = Reconciler(nobody, nobody, QueueDepth(), Pace(wake_s=0.3))
    loop = asyncio.get_running_loop()
    began = loop.time()
    rung: list[float] = []
    while len(rung) < 3:
        reconciler._wake()
        if reconciler._turn_due.is_set():
            reconciler._turn_due.clear()
            rung.append(loop.time() - began)
        await asyncio.sleep(0.001)
    assert rung[0] < 0.3
    assert rung[2] >= 0.59
    # Told just after a turn, and then nothing more: it is not lost.
    reconciler._wake()
    async with asyncio.timeout(10):
        await reconciler._turn_due.wait()


class Line:
    """A connection that has sent no request."""

    def __init__(self, address: str) -> None:
        self.address, self.name = address, uuid4()


def test_one_caller_with_many_connections_closes_none_of_another() -> None:
    reader, many = Line("192.0.2.1"), [Line("192.0.2.9") for _ in range(9)]
    assert longest_of_most([reader, *many]) is many[0]
