"""Held requests are looked at in turn, and what is absent for a moment is waited for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone
from structlog.testing import capture_logs

from tests.site import site_with
from web.broker.queue_depth import QueueDepth
from web.database import DatabaseThread
from web.inference.models import InferenceRequest
from web.inference.presentation import RequestView
from web.inference.states import State
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveUnavailable
from web.reconciler import arriving
from web.reconciler.reconcile import MOST_UNANSWERED, Reconciler
from web.reconciler.releases import ABSENT_SECONDS, LOOKS, LOOKS_SECONDS, Releases

SERIES = "-".join(["0123abcd"] * 5)


class Archive:
    """Knows no study; of some it does not even say that."""

    def __init__(self) -> None:
        #: Studies of which it says nothing.
        self.broken: set[str] = set()
        #: Whether the series of all requests is there and grows.
        self.grows = False
        #: Studies that were asked for.
        self.asked: list[str] = []
        self.client = Orthanc(
            "http://a.invalid", "u", "p", transport=httpx.MockTransport(self._answer)
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/tools/"):
            known = [{"ID": SERIES, "IsStable": False}] if self.grows else []
            return httpx.Response(200, json=known)
        study = request.url.path.split("/")[2]
        self.asked.append(study)
        return httpx.Response(503 if study in self.broken else 404)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Here:
    """Does at once what a thread of its own would do."""

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return await sync_to_async(function)(*args)


def study(number: int) -> str:
    return "-".join([f"{number:08x}"] * 5)


def held(number: int) -> UUID:
    """The higher the number, the younger."""
    row = InferenceRequest.objects.create(
        pool="lab",
        model="m",
        study_id=study(number),
        study_uid="1.2.3",
        inputs=[{"role": "image", "series_id": SERIES, "series_uid": "1.2", "instance_count": 3}],
        deadline_s=3600,
        state=State.QUEUED,
        held_for="series_arriving",
    )
    made = timezone.now() - timedelta(seconds=1000 - number)
    InferenceRequest.objects.filter(pk=row.pk).update(created_at=made)
    return row.pk


@pytest.fixture
def archive(settings: Any) -> Archive:
    site_with(settings, wait_for_whole_series=True)
    return Archive()


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_what_the_archive_cannot_answer_keeps_no_younger_request_waiting_and_is_logged_once(
    archive: Archive,
) -> None:
    count = MOST_UNANSWERED + 2
    await sync_to_async(lambda: [held(number) for number in range(count)])()
    # The last question is for an image, and nobody answers that.
    broken = [study(number) for number in range(MOST_UNANSWERED - 1)]
    archive.broken = set(broken)
    here = cast("DatabaseThread", Here())
    reconciler = Reconciler(here, here, QueueDepth())
    reconciler._releases = Releases(archive.client)
    with capture_logs() as logs:
        await reconciler._turn()
        assert archive.asked == broken
        archive.asked.clear()
        await reconciler._turn()
        assert archive.asked[:3] == [study(number) for number in range(len(broken), count)]
        for _ in range(3):
            await reconciler._turn()
    assert set(archive.asked) == {study(number) for number in range(count)}
    assert [one["event"] for one in logs].count("archive_waited_for") == 1


@pytest.mark.django_db
def test_those_that_were_looked_at_last_come_last(archive: Archive) -> None:
    clock = Clock()
    releases = Releases(archive.client, clock=clock)
    oldest, middle, youngest = (held(number) for number in range(3))
    archive.broken = {study(1)}
    assert list(releases.due()) == [oldest, middle, youngest]
    with pytest.raises(ArchiveUnavailable):
        releases.look(middle)
    clock.now += 1
    releases.look(oldest)
    assert list(releases.due()) == [youngest, middle, oldest]


@pytest.mark.django_db
def test_a_turn_has_a_bounded_number_of_looks_and_a_bounded_time(archive: Archive) -> None:
    clock = Clock()
    releases = Releases(archive.client, clock=clock)
    for number in range(LOOKS + 1):
        held(number)
    assert len(list(releases.due())) == LOOKS
    due = releases.due()
    next(due)
    clock.now += LOOKS_SECONDS
    assert list(due) == []


@pytest.mark.django_db
def test_what_is_absent_for_a_moment_is_waited_for_and_what_is_gone_ends(archive: Archive) -> None:
    clock = Clock()
    releases = Releases(archive.client, clock=clock)
    pk = held(0)
    assert releases.look(pk) is None
    clock.now += ABSENT_SECONDS - 1
    assert releases.look(pk) is None
    clock.now += 1
    finding = releases.look(pk)
    assert finding is not None
    assert finding.code == "series_not_found"
    assert arriving.release(pk, finding)


@pytest.mark.django_db
def test_an_absence_that_was_over_in_between_counts_anew(archive: Archive) -> None:
    clock = Clock()
    releases = Releases(archive.client, clock=clock)
    pk = held(0)
    assert releases.look(pk) is None
    archive.grows = True
    assert list(releases.due()) == []
    clock.now += ABSENT_SECONDS
    assert releases.look(pk) is None


@pytest.mark.django_db
def test_what_ended_at_its_release_may_be_asked_for_again(archive: Archive) -> None:
    row = InferenceRequest.objects.get(pk=held(0))
    finding = arriving.look(row.pk, archive.client)
    assert finding is not None
    assert arriving.release(row.pk, finding)
    row.refresh_from_db()
    shown = RequestView.of(row, "en").failure
    assert shown is not None
    assert (shown.code, shown.final) == ("series_not_found", False)
    # The same of a lab, which has seen it whole.
    row.lab = "lab1"
    told = RequestView.of(row, "en").failure
    assert told is not None
    assert told.final


@pytest.mark.django_db
def test_where_none_waits_any_more_all_that_is_held_is_due(archive: Archive, settings: Any) -> None:
    pk = held(0)
    archive.grows = True
    assert list(Releases(archive.client).due()) == []
    site_with(settings, wait_for_whole_series=False)
    assert list(Releases(archive.client).due()) == [pk]
