"""A result that a later one replaces: who says so, and how an open page learns of it."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.test import Client
from django.utils import timezone

from messages.codec import decode
from messages.request import InferenceRequested
from tests.integration.test_api_requests import OTHER_ID, logged_in, written
from tests.integration.test_web_api import REQUESTS
from tests.integration.test_web_live import page as open_page
from tests.integration.web_requests import ORTHANC_ID, a_run, take_in
from tests.site import reader_of
from web import notify
from web.inference.models import InferenceRequest, Outbox
from web.inference.outbox import enqueue_request
from web.inference.presentation import RequestView
from web.inference.superseded import number_in_study, superseded_by, with_superseded
from web.live import reading

INPUTS = [{"role": "image", "series_id": ORTHANC_ID, "series_uid": "1.2.3.4", "instance_count": 3}]

pytestmark = pytest.mark.django_db(transaction=True)


def asked(minutes: int, **values: Any) -> InferenceRequest:
    """A request that was made so many minutes ago."""
    row = written(**values)
    InferenceRequest.objects.filter(pk=row.pk).update(
        created_at=timezone.now() - timedelta(minutes=minutes)
    )
    row.refresh_from_db()
    return row


def complete(row: InferenceRequest) -> list[Any]:
    with transaction.atomic():
        for event in a_run(row.pk):
            take_in(event)
        return with_superseded([row.pk])


def view(row: InferenceRequest) -> RequestView:
    return RequestView.of(InferenceRequest.objects.get(pk=row.pk))


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_latest_wish_holds_in_whichever_order_the_results_come(order: tuple[int, ...]) -> None:
    rows = [asked(30), asked(20), asked(10)]
    for place in order:
        complete(rows[place])
    newest = rows[2].pk
    assert [view(row).superseded_by for row in rows] == [newest, newest, None]


def test_only_a_result_replaces_and_only_of_the_same_study_and_model() -> None:
    row = asked(30)
    complete(row)
    for other in (
        asked(20, study_id=OTHER_ID),
        asked(20, model="other"),
        asked(40),
    ):
        complete(other)
    asked(20)
    asked(10, state="failed", failure_code="expired")
    assert view(row).superseded_by is None


def test_the_version_that_is_told_rises_with_each_later_result() -> None:
    row = asked(30)
    complete(row)
    own = InferenceRequest.objects.get(pk=row.pk).version
    for number, minutes in enumerate((20, 10), start=1):
        complete(asked(minutes))
        assert view(row).version == own + number
        assert reading.versions([row.pk]) == {str(row.pk): own + number}
        assert reading.worklist_versions()[str(row.pk)] == own + number
    row.refresh_from_db()
    assert row.version == own, "the older row is not written"


def test_a_page_of_many_results_costs_one_query(django_assert_num_queries: Any) -> None:
    for minutes in range(10):
        complete(asked(minutes))
    with django_assert_num_queries(1):
        views = reading.worklist("en")
    assert sum(one.superseded_by is not None for one in views) == 9
    with django_assert_num_queries(1):
        reading.worklist_versions()


def test_the_request_names_the_result_that_its_own_will_replace() -> None:
    first, second = asked(30), asked(20)
    complete(first)
    complete(second)
    asked(15, state="failed")
    new = asked(10, inputs=INPUTS)
    later = asked(5)
    complete(later)
    assert superseded_by(new) == second.pk
    with transaction.atomic():
        enqueue_request(new)
    sent = Outbox.objects.latest("pk")
    message = decode(bytes(sent.body), type_=sent.type, content_type="application/json")
    assert isinstance(message, InferenceRequested)
    assert message.supersedes == second.pk
    # Of the study: a failed one counts, a later one does not.
    assert message.number == 4


def test_a_request_has_the_same_number_whenever_it_is_sent() -> None:
    asked(30, study_id=OTHER_ID)
    first, second = asked(20, model="other"), asked(10)
    assert [number_in_study(one) for one in (first, second)] == [1, 2]
    complete(asked(5))
    first.state = "failed"
    first.save()
    assert [number_in_study(one) for one in (first, second)] == [1, 2]


def test_the_listener_tells_the_pages_of_the_older_results_too() -> None:
    older, new = asked(20), asked(10)
    assert complete(older) == [older.pk]
    assert complete(new) == [new.pk, older.pk]
    assert with_superseded([older.pk]) == [older.pk]


@pytest.mark.asyncio
async def test_an_open_page_of_the_older_result_learns_of_the_newer_one() -> None:
    older = await sync_to_async(asked)(20)
    await sync_to_async(complete)(older)
    async with open_page() as page:
        await page.say({"type": "follow", "request_ids": [str(older.pk)]})
        snapshot = (await page.hear("snapshot"))["requests"][0]
        assert snapshot["superseded_by"] is None
        new = await sync_to_async(asked)(10)
        await notify.requests_changed(await sync_to_async(complete)(new))
        news = (await page.hear("event"))["request"]
        assert (news["request_id"], news["superseded_by"]) == (str(older.pk), str(new.pk))
        assert news["version"] > snapshot["version"]


def test_the_api_says_it_in_lists_and_of_one_request() -> None:
    older, new = asked(20), asked(10)
    complete(older)
    complete(new)
    client: Client = logged_in(reader_of())
    assert client.get(f"{REQUESTS}/{older.pk}").json()["superseded_by"] == str(new.pk)
    listed = {one["request_id"]: one for one in client.get(REQUESTS).json()["requests"]}
    assert listed[str(older.pk)]["superseded_by"] == str(new.pk)
    assert listed[str(new.pk)]["superseded_by"] is None
