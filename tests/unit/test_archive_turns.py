"""Requests at which the archive fails keep no other pool's from being ended or sent again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import pytest
from asgiref.sync import sync_to_async

from messages.identity import primary_instance_uid
from tests.unit.test_confirming_objects import archive_that
from tests.unit.test_reconcile_rules import ago, row
from web.broker.queue_depth import QueueDepth
from web.database import DatabaseThread
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.orthanc.errors import ArchiveUnavailable
from web.orthanc.time_budget import MOST_UNANSWERED
from web.reconciler.archive_turns import POOL_SECONDS, ArchiveTurns
from web.reconciler.pace import Pace
from web.reconciler.reconcile import Reconciler

#: Everything that was ever said of a lab is known, and nothing is waited for.
HEARD = Pace(heard_s=0.0, grace_s=0.0)


class Here:
    """Does at once what a thread of its own would do."""

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return await sync_to_async(function)(*args)


class FailingArchive:
    """Fails at the results of some requests, and perhaps at all images."""

    def __init__(self) -> None:
        self.fails_at: set[str] = set()
        self.images_come = True
        self.silent = False
        self.asked = 0

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.silent or request.content.decode() in self.fails_at:
            return httpx.Response(500)
        if request.url.path.startswith("/tools/"):
            return httpx.Response(200, json=[])
        if not self.images_come:
            return httpx.Response(500)
        if request.url.path.startswith("/series/"):
            return httpx.Response(200, json={"Instances": ["-".join(["4567cdef"] * 5)]})
        return httpx.Response(200, content=b"pixels")


def overdue(pool: str, over_s: float) -> UUID:
    one = row(State.ACCEPTED, age=9000, accepted_at=ago(3600 + over_s))
    InferenceRequest.objects.filter(pk=one.pk).update(pool=pool)
    return one.pk


def overdue_of_two_pools(archive: FailingArchive) -> UUID:
    """Of the first the archive fails at the results; the one of the other pool comes last."""
    first = [overdue("first", 200 - n) for n in range(3 * MOST_UNANSWERED)]
    archive.fails_at = {primary_instance_uid(pk) for pk in first}
    return overdue("second", 10)


def state_of(pk: UUID) -> str:
    return InferenceRequest.objects.values_list("state", flat=True).get(pk=pk)


def reconciler() -> Reconciler:
    here = cast("DatabaseThread", Here())
    return Reconciler(here, here, QueueDepth(), HEARD)


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_results_at_which_the_archive_fails_keep_no_other_pool_from_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = FailingArchive()
    second = await sync_to_async(overdue_of_two_pools)(archive)
    with archive_that(archive.answer, monkeypatch):
        await reconciler()._turn()
    assert await sync_to_async(state_of)(second) == State.FAILED


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_images_at_which_the_archive_fails_as_well_cost_another_pool_one_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = FailingArchive()
    archive.images_come = False
    second = await sync_to_async(overdue_of_two_pools)(archive)
    turns = reconciler()
    with archive_that(archive.answer, monkeypatch):
        for _ in range(2):
            await turns._turn()
    assert await sync_to_async(state_of)(second) == State.FAILED


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_an_archive_that_is_away_is_asked_three_questions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = FailingArchive()
    archive.silent = True
    await sync_to_async(overdue_of_two_pools)(archive)
    with archive_that(archive.answer, monkeypatch):
        await reconciler()._turn()
    assert archive.asked == MOST_UNANSWERED


class Clock:
    """Seconds that pass when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_pool_whose_results_take_long_has_a_bounded_time_in_a_turn_and_is_last_in_the_next() -> (
    None
):
    clock = Clock()
    turns = ArchiveTurns(clock)
    slow, other = [uuid4() for _ in range(3)], uuid4()
    pools = {**dict.fromkeys(slow, "slow"), other: "other"}

    def turn() -> list[UUID]:
        turns.begin()
        asked = []
        for pk in turns.in_turn(pools, pools):
            asked.append(pk)
            with suppress(ArchiveUnavailable), turns.looking(pk):
                clock.now += POOL_SECONDS if pk in slow else 1
                if pk in slow:
                    raise ArchiveUnavailable("it took too long")
        return asked

    assert turn() == [slow[0], other]
    # Also where the other pool has a new one, which comes after them in the list.
    assert turn() == [other, slow[1]]
    assert turn() == [other, slow[2]]
    assert turn() == [other, slow[0]]


def test_what_takes_long_without_failing_is_bounded_as_well() -> None:
    clock = Clock()
    turns = ArchiveTurns(clock)
    slow, other = [uuid4() for _ in range(3)], uuid4()
    asked = []
    for pk in turns.in_turn([*slow, other], {**dict.fromkeys(slow, "slow"), other: "other"}):
        asked.append(pk)
        with turns.looking(pk):
            clock.now += POOL_SECONDS * 0.6
    assert asked == [*slow[:2], other]
