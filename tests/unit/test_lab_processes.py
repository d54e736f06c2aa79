"""Several processes under one lab's name: what each of them holds counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from messages.control import CancelRequested
from messages.lab import MAX_CURRENT, MAX_PROCESSES, LabHeartbeat
from tests.unit.test_reconcile_rules import ago, row
from web.broker.inbox import Item
from web.broker.progress import Hints, write
from web.inference.models import Outbox
from web.inference.states import State
from web.labs import registry
from web.labs.models import Lab
from web.reconciler.unclaimed import held

pytestmark = pytest.mark.django_db(transaction=True)

ITEM = cast("Item", SimpleNamespace(old=False))

FIRST, SECOND = uuid4(), uuid4()


@pytest.fixture(autouse=True)
def known_lab() -> None:
    registry.confirm("lab1", "lab")


def beat(process: UUID | None, *current: UUID, pool: str = "lab") -> LabHeartbeat:
    return LabHeartbeat(
        lab="lab1", pool=pool, process=process, device="cpu", current=current, at=timezone.now()
    )


def heard(*beats: LabHeartbeat, silent: float = 0) -> None:
    """All of them gather, and are written in one turn."""
    hints = Hints()
    for one in beats:
        assert hints.take(one, ITEM, "lab1", ago(silent)) == ""
    write(hints)


def in_hand() -> set[UUID]:
    return {request for pool, request in held() if pool == "lab"}


def test_what_each_of_two_processes_holds_is_held_in_whatever_turns_they_are_written() -> None:
    one, other = uuid4(), uuid4()
    heard(beat(FIRST, one), beat(SECOND, other))
    assert in_hand() == {one, other}
    heard(beat(FIRST, one))
    assert in_hand() == {one, other}
    heard(beat(SECOND), beat(FIRST, one))
    assert in_hand() == {one}


def test_what_a_process_lets_go_of_is_free_at_once_and_of_one_that_died_once_it_is_offline() -> (
    None
):
    one, other = uuid4(), uuid4()
    heard(beat(SECOND, other), silent=20)
    heard(beat(FIRST, one))
    assert in_hand() == {one, other}
    heard(beat(FIRST))
    assert in_hand() == {other}
    heard(beat(SECOND, other), silent=40)
    heard(beat(FIRST, one))
    assert in_hand() == {one}


def test_a_lab_of_before_names_no_process_and_its_newest_word_counts() -> None:
    one, other = uuid4(), uuid4()
    heard(beat(None, one))
    heard(beat(None, other))
    assert in_hand() == {other}


def test_a_lab_holds_no_more_than_a_lab_can_however_many_processes_it_names() -> None:
    for _ in range(3):
        heard(*(beat(uuid4(), *(uuid4() for _ in range(100))) for _ in range(MAX_PROCESSES + 5)))
    lab = Lab.objects.get()
    assert lab.processes is not None
    assert len(lab.processes) <= MAX_PROCESSES
    assert sum(len(one["current"]) for one in lab.processes) == len(lab.current) == MAX_CURRENT
    # The newest word counts first.
    mine = uuid4()
    heard(beat(FIRST, mine))
    assert mine in in_hand()


def stops() -> list[Any]:
    rows = Outbox.objects.filter(type=CancelRequested.wire_type())
    return sorted(rows.values_list("request", flat=True))


def test_what_nobody_wants_is_stopped_once_for_whichever_process_holds_it() -> None:
    one, other = (row(State.CANCELLING, cancel_asked_at=timezone.now()) for _ in range(2))
    heard(beat(FIRST, one.pk), beat(SECOND, other.pk))
    assert stops() == sorted((one.pk, other.pk))


def test_what_a_lab_says_it_holds_in_another_pool_is_not_stopped() -> None:
    one = row(State.CANCELLING, cancel_asked_at=timezone.now())
    heard(beat(FIRST, one.pk, pool="server"))
    assert (stops(), in_hand()) == ([], set())
