"""A wish that somebody has already is that request: one row, one message, one result for all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from typing import Any
from uuid import UUID

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, transaction
from django.test import Client

from infra.demo.reader import Reader
from infra.demo.stack import PAGE_USER
from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from tests.integration.lab import StoredStudy, store_small_study
from tests.integration.postgres import running_postgres
from tests.integration.test_api_requests import ask_again, logged_in, told
from tests.integration.test_door_served import PASSWORD, Site
from tests.integration.test_legacy_calls import applied, caller, cookie_of, segment
from tests.integration.test_web_api import REQUESTS, ask, body, error_of, store
from tests.integration.web_requests import a_run, eventually, write_request
from tests.site import reader_of, site_with, use_archive
from web import notify
from web.access.models import AuditEntry
from web.inference import submit as submitting
from web.inference.fingerprint import active_request
from web.inference.models import IdempotencyKey, InferenceRequest, Outbox
from web.inference.states import ACTIVE, State
from web.live import watch

pytestmark = pytest.mark.django_db(transaction=True)

Study = tuple[str, list[str]]


@pytest.fixture(scope="module")
def study(orthanc: OrthancNode) -> Study:
    return store(orthanc, 5)


@pytest.fixture
def reader(orthanc: OrthancNode, settings: Any) -> Client:
    use_archive(settings, orthanc)
    return logged_in(reader_of())


def id_of(answer: Any) -> UUID:
    assert answer.status_code == 202, answer.content
    return UUID(answer.json()["request_id"])


def wish(study: Study, **more: Any) -> dict[str, Any]:
    return body(study[0], study[1][:4], **more)


def counts() -> tuple[int, int]:
    return InferenceRequest.objects.count(), Outbox.objects.count()


def in_state(request_id: UUID, state: State) -> None:
    InferenceRequest.objects.filter(pk=request_id).update(state=state)


def test_what_somebody_has_asked_for_already_is_their_request(reader: Client, study: Study) -> None:
    first = ask(reader, wish(study))
    other = logged_in(reader_of(study[0], name="other"))
    content = wish(study, model="breast_dce_phantom")
    content["inputs"].reverse()
    again = ask(other, content)

    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert other.get(again.headers["Location"]).status_code == 200
    assert counts() == (1, 1)
    row = InferenceRequest.objects.get()
    assert row.requested_by.get_username() == "reader"
    # The trail knows both.
    asked = AuditEntry.objects.filter(action="requested", subject=str(row.pk))
    names = [entry.user.get_username() for entry in asked.order_by("pk")]
    assert names == ["reader", "other"]


def test_another_wish_is_another_request(reader: Client, study: Study, settings: Any) -> None:
    wishes = [
        wish(study),
        wish(study, threshold=0.4),
        wish(study, threshold=0.5),
        body(study[0], [study[1][0], *study[1][2:]]),
        body(study[0], study[1][1:]),
    ]
    ids = {id_of(ask(reader, content)) for content in wishes}
    site_with(settings, use_local_inference=False)
    ids.add(id_of(ask(reader, wish(study))))
    assert len(ids) == 6
    assert counts() == (6, 6)


@pytest.mark.parametrize("state", sorted(State))
def test_a_request_stands_for_its_wish_as_long_as_it_is_active(
    reader: Client, study: Study, state: State
) -> None:
    first = id_of(ask(reader, wish(study)))
    in_state(first, state)
    assert (id_of(ask(reader, wish(study))) == first) is (state in ACTIVE)


def test_a_key_that_found_a_request_names_it_after_it_has_ended(
    reader: Client, study: Study
) -> None:
    first = id_of(ask(reader, wish(study)))
    assert id_of(ask_again(reader, wish(study), "click-2")) == first
    told(*a_run(first))
    shown = ask_again(reader, wish(study), "click-2")
    assert (id_of(shown), shown.json()["state"]) == (first, "completed")
    assert id_of(ask(reader, wish(study))) != first
    refused = ask_again(reader, wish(study, threshold=0.3), "click-2")
    assert error_of(refused)["code"] == "idempotency_key_reused"


def test_the_database_itself_keeps_one_active_request_a_wish() -> None:
    rows = [write_request() for _ in range(2)]
    InferenceRequest.objects.filter(pk=rows[0].pk).update(wish="a" * 64)
    with pytest.raises(IntegrityError), transaction.atomic():
        InferenceRequest.objects.filter(pk=rows[1].pk).update(wish="a" * 64)


def blind(monkeypatch: pytest.MonkeyPatch, *looks: Any) -> None:
    """Let the first looks for an active request find nothing, as of two clicks at once."""
    left = list(looks)

    def look(wish: str) -> InferenceRequest | None:
        if left:
            left.pop(0)()
            return None
        return active_request(wish)

    monkeypatch.setattr(submitting, "active_request", look)


@pytest.mark.parametrize("key", [None, "click-2"])
def test_a_click_that_saw_no_other_is_held_by_the_index(
    reader: Client, study: Study, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    first = id_of(ask(reader, wish(study)))
    blind(monkeypatch, lambda: None)
    again = ask(reader, wish(study)) if key is None else ask_again(reader, wish(study), key)
    assert id_of(again) == first
    assert counts() == (1, 1)
    assert IdempotencyKey.objects.count() == (key is not None)
    # What the turn that failed had noted is gone with it.
    assert AuditEntry.objects.filter(action="requested").count() == 2


def test_when_the_other_request_ends_in_that_very_moment_a_new_one_is_made(
    reader: Client, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = id_of(ask(reader, wish(study)))
    blind(monkeypatch, lambda: None, lambda: in_state(first, State.COMPLETED))
    second = id_of(ask(reader, wish(study)))
    assert second != first
    assert counts() == (2, 2)


def test_a_failed_write_that_is_no_duplicate_is_not_hidden(
    reader: Client, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_row: InferenceRequest) -> None:
        raise IntegrityError("another constraint")

    monkeypatch.setattr(submitting, "note_beginning", broken)
    with pytest.raises(IntegrityError):
        ask(reader, wish(study))
    assert counts() == (0, 0)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    orthanc: OrthancNode,
) -> Iterator[tuple[Site, Reader]]:
    """A site on each database: on PostgreSQL transactions run beside each other."""
    site = Site(tmp_path_factory.mktemp("served"))
    site.environment |= {
        "ORTHANC_URL": orthanc.url,
        "ORTHANC_USER": orthanc.user,
        "ORTHANC_PASSWORD": orthanc.password,
    }
    with ExitStack() as stack:
        if request.param == "postgresql":
            site.environment["DATABASE_URL"] = stack.enter_context(running_postgres()).url
        site.prepare()
        site.server = site.process(site.port, tmp_path_factory.mktemp("log") / "site.log")
        stack.callback(site.server.stop)
        site.server.start()
        wait_until(site.answers, "serve", 60, service=site.server)
        yield site, stack.enter_context(Reader(site.url, PAGE_USER, PASSWORD))


def test_twenty_clicks_at_once_on_a_real_server_make_one_request(
    served: tuple[Site, Reader], study: Study
) -> None:
    site, reader = served
    together = Barrier(20)

    def click(number: int) -> httpx.Response:
        key = {"Idempotency-Key": f"thread-{number}"} if number % 2 else {}
        headers = {"Referer": f"{site.url}/", "X-CSRFToken": cookies["csrftoken"], **key}
        with httpx.Client(base_url=site.url, cookies=cookies, timeout=60) as client:
            together.wait(timeout=60)
            return client.post(REQUESTS, json=wish(study), headers=headers)

    cookies = dict(reader._client.cookies)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(click, range(20)))
    assert [answer.status_code for answer in answers] == [202] * 20
    (location,) = {answer.headers["Location"] for answer in answers}
    listed = reader.get(f"{REQUESTS}?study_id={study[0]}").json()["requests"]
    assert [f"{REQUESTS}/{shown['request_id']}" for shown in listed] == [location]


def test_a_key_names_its_request_after_the_server_was_killed(
    served: tuple[Site, Reader], study: Study
) -> None:
    site, reader = served
    content, key = wish(study, threshold=0.7), {"Idempotency-Key": "before"}

    def click() -> dict[str, Any]:
        token = {"X-CSRFToken": reader._client.cookies["csrftoken"]}
        answer = reader._client.post(REQUESTS, json=content, headers={**key, **token})
        assert answer.status_code == 202, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    first = click()
    site.server.kill()
    site.server.start()
    wait_until(site.answers, "serve again", 60, service=site.server)
    assert click()["request_id"] == first["request_id"]


@pytest.mark.asyncio
async def test_two_blocking_calls_for_the_same_series_wait_for_one_request(
    orthanc: OrthancNode, settings: Any
) -> None:
    use_archive(settings, orthanc)
    stored: StoredStudy = await sync_to_async(store_small_study)(orthanc)
    async with caller(await cookie_of()) as client:
        calls = [asyncio.create_task(segment(client, stored)) for _ in range(2)]

        async def both_wait() -> bool:
            return len(watch.calls) == 2

        await eventually(both_wait, "both calls wait", 60)
        row = await InferenceRequest.objects.aget()
        await applied(*a_run(row.pk))
        await notify.requests_changed([row.pk])
        answers = await asyncio.gather(*calls)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["request_id"] == str(row.pk)
