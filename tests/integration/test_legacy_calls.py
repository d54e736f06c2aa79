"""The old front end's calls in one process: who may call, what is told, and what waiting leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from uuid import uuid4

import httpx
import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db import OperationalError, transaction
from django.test import Client

from infra.local.orthanc import OrthancNode
from messages.events import InferenceCancelled, InferenceFailed, RunEvent
from messages.failures import FAILURE_TEXTS, FailureCode
from tests.integration.lab import StoredStudy, store_small_study
from tests.integration.web_requests import a_run, eventually, place, write_request
from tests.site import reader_of, site_with, use_archive
from web.application import labrelay
from web.database import DatabaseThread
from web.door import limits
from web.door.models import AuditEntry
from web.door.tokens import issue
from web.handler import OneThreadHandler
from web.inference.models import InferenceRequest, Outbox
from web.inference.record import record_dead, record_event
from web.inference.states import State
from web.legacy import wish
from web.legacy.outcome import STATES
from web.live import notify, watch

BASE = "/api/mri/segmentation"
UNKNOWN = "-".join(["0123abcd"] * 5)

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def study(orthanc: OrthancNode) -> StoredStudy:
    return store_small_study(orthanc)


@pytest.fixture(autouse=True)
def site(orthanc: OrthancNode, settings: Any) -> Any:
    limits.reset()
    use_archive(settings, orthanc)
    return settings


@sync_to_async
def cookie_of(*study_ids: str) -> dict[str, str]:
    client = Client()
    client.force_login(reader_of(*study_ids))
    return {"sessionid": client.cookies["sessionid"].value}


@asynccontextmanager
async def caller(
    cookies: dict[str, str] | None = None, address: str = "10.1.2.3", **headers: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client at the site's own application; without cookies a stranger."""
    transport = httpx.ASGITransport(labrelay(OneThreadHandler()), client=(address, 50_000))
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://localhost",
        cookies=cookies,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        timeout=30.0,
    ) as client:
        yield client


def series_of(study: StoredStudy) -> list[str]:
    return [item.series_id for item in study.inputs]


async def segment(client: httpx.AsyncClient, study: StoredStudy, query: str = "") -> httpx.Response:
    ids = series_of(study)
    return await client.post(
        f"{BASE}/series/{ids[0]}/segment/{query}", json={"sequence_series_ids": ids}
    )


async def the_request() -> InferenceRequest:
    """The request that a call has made, once a call waits for it."""

    async def waits() -> InferenceRequest | None:
        return await InferenceRequest.objects.afirst() if watch.calls else None

    row: InferenceRequest = await eventually(waits, "a call that waits")
    return row


@sync_to_async
def applied(*events: RunEvent) -> None:
    for event in events:
        with transaction.atomic():
            record_event(event)


def nothing_is_left() -> bool:
    return not watch.calls and not get_channel_layer().groups


def sentence_in(answer: httpx.Response) -> str:
    assert answer.headers["content-type"].startswith("application/json")
    body = answer.json()
    assert body["success"] is False
    assert body["error"].endswith(".")
    return str(body["error"])


async def test_a_call_is_answered_with_the_hint_that_its_request_has_ended(
    study: StoredStudy,
) -> None:
    async with caller(await cookie_of()) as client:
        call = asyncio.create_task(segment(client, study))
        row = await the_request()
        *begun, completed = a_run(row.pk)
        await applied(*begun)
        await notify.requests_changed([row.pk])
        await asyncio.sleep(0.1)
        assert not call.done()
        await applied(completed)
        await notify.requests_changed([row.pk])
        answer = await call
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "series_id": study.inputs[0].series_id,
        "request_id": str(row.pk),
        "tumor_detected": True,
        "tumor_volume_voxels": 1200,
        "seg_instance_id": completed.seg_instance_id,
        "elapsed_time_seconds": 2.5,
        "saved_to_orthanc": True,
        "processed_by": "local_worker",
        "successful_slices": 134,
        "total_slices": 134,
    }
    assert nothing_is_left()
    noted = await AuditEntry.objects.aget(action="requested")
    assert (noted.subject, noted.study_id, noted.way) == (str(row.pk), study.study_id, "session")


async def test_without_a_tumour_there_is_no_segmentation_and_no_slice(study: StoredStudy) -> None:
    async with caller(await cookie_of()) as client:
        call = asyncio.create_task(segment(client, study))
        row = await the_request()
        empty = a_run(row.pk)[-1].model_copy(
            update={"tumor_detected": False, "seg_instance_id": None, "volume_voxels": 0}
        )
        await applied(empty)
        await notify.requests_changed([row.pk])
        told = (await call).json()
    found = {key: told[key] for key in ("success", "tumor_detected", "tumor_volume_voxels")}
    assert found == {"success": True, "tumor_detected": False, "tumor_volume_voxels": 0}
    assert (told["seg_instance_id"], told["successful_slices"]) == (None, 0)
    assert told["total_slices"] == 134


async def test_a_lost_hint_heals_by_the_look_at_what_waits(study: StoredStudy) -> None:
    database = DatabaseThread("test")
    async with caller(await cookie_of()) as client:
        call = asyncio.create_task(segment(client, study))
        row = await the_request()
        await applied(a_run(row.pk)[-1])
        await asyncio.sleep(0.1)
        assert not call.done()
        await watch.look_for_calls(database)
        assert (await call).status_code == 200
    await database.close()


@pytest.mark.parametrize("language", ["", "ko-KR,ko;q=0.9,en;q=0.8", "en-GB,en;q=0.5"])
@pytest.mark.parametrize("end", ["failed", "cancelled", "dead"])
async def test_a_request_that_ends_without_result_is_500_with_its_reason(
    study: StoredStudy, end: str, language: str
) -> None:
    async with caller(await cookie_of(), accept_language=language) as client:
        call = asyncio.create_task(segment(client, study))
        row = await the_request()
        if end == "dead":
            await sync_to_async(dead)(row)
        elif end == "cancelled":
            await applied(InferenceCancelled(**place(row.pk, 1)))
        else:
            fault = {"code": FailureCode.TOO_LARGE, "detail": "2000 slices", "stage_seconds": {}}
            await applied(InferenceFailed(**place(row.pk, 1), **fault))
        await notify.requests_changed([row.pk])
        answer = await call
    assert answer.status_code == 500
    told = "en" if language.startswith("en") else "ko"
    expected = {
        "failed": FAILURE_TEXTS[FailureCode.TOO_LARGE].reader(told),
        "dead": FAILURE_TEXTS[FailureCode.WORKER_CRASHED].reader(told),
        "cancelled": {"en": "The request was cancelled.", "ko": "요청이 취소되었습니다."}[told],
    }[end]
    assert answer.json() == {"success": False, "error": expected, "request_id": str(row.pk)}


def dead(row: InferenceRequest) -> None:
    with transaction.atomic():
        record_dead(row.pk, 1, datetime.now(UTC))


async def test_after_its_time_the_call_is_504_and_the_request_goes_on(
    study: StoredStudy, site: Any
) -> None:
    site_with(site, legacy_wait_seconds=0.3)
    async with caller(await cookie_of()) as client:
        answer = await segment(client, study)
        row = await InferenceRequest.objects.aget()
        assert answer.status_code == 504
        assert sentence_in(answer)
        assert answer.json()["request_id"] == str(row.pk)
        assert answer.json()["status"] == "timeout"
        assert nothing_is_left()
        await applied(*a_run(row.pk))
        told = (await client.get(f"{BASE}/status/{row.pk}/")).json()
    assert (told["status"], told["result"]["success"]) == ("completed", True)


async def test_a_hint_that_was_lost_just_before_the_time_is_up_costs_no_result(
    study: StoredStudy, site: Any
) -> None:
    site_with(site, legacy_wait_seconds=1)
    async with caller(await cookie_of()) as client:
        call = asyncio.create_task(segment(client, study))
        await applied(a_run((await the_request()).pk)[-1])
        assert (await call).status_code == 200


async def test_a_caller_who_goes_away_leaves_the_request_and_nothing_else(
    study: StoredStudy,
) -> None:
    async with caller(await cookie_of()) as client:
        call = asyncio.create_task(segment(client, study))
        row = await the_request()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    await eventually(sync_to_async(nothing_is_left), "nothing left behind")
    assert (await InferenceRequest.objects.aget()).pk == row.pk
    assert await Outbox.objects.acount() == 1


async def test_many_calls_wait_in_few_threads_and_all_are_answered(study: StoredStudy) -> None:
    import threading

    async with caller(await cookie_of()) as client:
        calls = [asyncio.create_task(segment(client, study)) for _ in range(50)]

        async def all_wait() -> bool:
            return len(watch.calls) == len(calls)

        await eventually(all_wait, "all calls wait", 30)
        assert sum(t.name.startswith("legacy") for t in threading.enumerate()) <= 8
        rows = [row async for row in InferenceRequest.objects.all()]
        await applied(*(a_run(row.pk)[-1] for row in rows))
        await notify.requests_changed([row.pk for row in rows])
        answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["request_id"] for answer in answers}) == len(calls)


async def refused(client: httpx.AsyncClient, study: StoredStudy, status: int) -> str:
    answer = await segment(client, study)
    assert answer.status_code == status, answer.text
    assert not await InferenceRequest.objects.aexists()
    assert not await Outbox.objects.aexists()
    return sentence_in(answer)


async def test_without_a_log_in_every_call_is_401(study: StoredStudy) -> None:
    async with caller() as client:
        await refused(client, study, 401)
        for path in ("requests/", "health/", f"status/{uuid4()}/", f"instances/{UNKNOWN}/frames/"):
            answer = await client.get(f"{BASE}/{path}")
            assert answer.status_code == 401
            assert sentence_in(answer)


@pytest.mark.parametrize(
    ("address", "headers", "status"),
    [
        ("127.0.0.1", {}, 504),
        ("::ffff:127.0.0.1", {}, 504),
        ("10.1.2.3", {}, 401),
        ("not an address", {}, 401),
        # A proxy on this machine that does not say for whom it asks.
        ("127.0.0.1", {"x_forwarded_proto": "https"}, 401),
        ("127.0.0.1", {"authorization": "Bearer no-token-of-ours"}, 401),
        # A browser on the machine, on another site's page.
        ("127.0.0.1", {"sec_fetch_site": "cross-site"}, 403),
        ("127.0.0.1", {"origin": "https://evil.example"}, 403),
        ("127.0.0.1", {"host": "evil.example"}, 400),
    ],
)
async def test_a_trusted_network_needs_no_log_in_and_is_anonymous(
    study: StoredStudy, site: Any, address: str, headers: dict[str, str], status: int
) -> None:
    site_with(site, legacy_wait_seconds=0.1, legacy_trusted_networks="127.0.0.0/8")
    assert site.SITE.trusted_networks == (ip_network("127.0.0.0/8"),)
    async with caller(address=address, **headers) as client:
        if status != 504:
            await refused(client, study, status)
            return
        assert (await segment(client, study)).status_code == 504
        (one,) = (await client.get(f"{BASE}/requests/")).json()["requests"]
    assert one["requested_by"] == "anonymous"
    noted = await AuditEntry.objects.aget(action="requested")
    assert (noted.user_id, noted.way, noted.address) == (None, "network", address)


async def test_a_machine_with_a_token_calls_under_its_users_name(
    study: StoredStudy, site: Any
) -> None:
    site_with(site, legacy_wait_seconds=0.1)
    token = await sync_to_async(lambda: issue(reader_of(name="machine"), "nightly run"))()
    async with caller(authorization=f"Bearer {token}") as client:
        assert (await segment(client, study)).status_code == 504
        (one,) = (await client.get(f"{BASE}/requests/")).json()["requests"]
    assert one["requested_by"] == "machine"
    assert (await AuditEntry.objects.aget(action="requested")).way == "token"


async def test_a_page_of_another_site_cannot_use_a_readers_cookie(study: StoredStudy) -> None:
    cookies = await cookie_of()
    for headers in (
        {"origin": "https://evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"origin": "null"},
    ):
        async with caller(cookies, **headers) as client:
            await refused(client, study, 403)


async def test_a_study_that_is_not_granted_does_not_exist(study: StoredStudy) -> None:
    row = await sync_to_async(write_request)()
    async with caller(await cookie_of(UNKNOWN.replace("0", "1"))) as client:
        answer = await segment(client, study)
        assert answer.status_code == 404
        unseen = sentence_in(answer)
        ids = [UNKNOWN, *series_of(study)[1:]]
        absent = await client.post(
            f"{BASE}/series/{UNKNOWN}/segment/", json={"sequence_series_ids": ids}
        )
        assert (absent.status_code, sentence_in(absent)) == (404, unseen)
        assert (await client.get(f"{BASE}/status/{row.pk}/")).status_code == 404
        assert (await client.get(f"{BASE}/requests/")).json()["requests"] == []
    assert await InferenceRequest.objects.acount() == 1
    assert (await AuditEntry.objects.aget(action="refused")).study_id == study.study_id


async def test_archive_and_database_that_are_away_are_503_and_nothing_is_queued(
    study: StoredStudy, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: object) -> None:
        raise OperationalError("server closed the connection")

    async with caller(await cookie_of()) as client:
        with monkeypatch.context() as patch:
            patch.setattr(wish, "submit", away)
            await refused(client, study, 503)
        site_with(site, orthanc_url="http://127.0.0.1:9")
        await refused(client, study, 503)
        health = await client.get(f"{BASE}/health/")
    assert (health.status_code, health.json()["status"]) == (503, "degraded")


async def test_a_fault_of_ours_is_500_with_a_sentence(
    study: StoredStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(**_: object) -> None:
        raise ZeroDivisionError("Test^Phantom")

    monkeypatch.setattr(wish, "submit", faulty)
    async with caller(await cookie_of()) as client:
        assert "Phantom" not in await refused(client, study, 500)


async def test_every_state_has_one_old_status_and_the_list_filters_by_it() -> None:
    assert sorted(s for states in STATES.values() for s in states) == sorted(State)
    cookies = await cookie_of()
    made = {}
    for age, state in enumerate(State):
        row = await sync_to_async(write_request)()
        created = datetime.now(UTC) - timedelta(minutes=age)
        changed = InferenceRequest.objects.filter(pk=row.pk)
        await changed.aupdate(state=state, created_at=created)
        made[str(row.pk)] = state
    async with caller(cookies) as client:
        whole = (await client.get(f"{BASE}/requests/")).json()
        assert [one["request_id"] for one in whole["requests"]] == list(made)
        assert whole["filter"] == {"status": None, "limit": 50}
        for status, states in STATES.items():
            told = (await client.get(f"{BASE}/requests/?status={status}&limit=50")).json()
            assert told["count"] == len(told["requests"]) == len(states)
            assert {made[one["request_id"]] for one in told["requests"]} == set(states)
            assert {one["status"] for one in told["requests"]} == {status}
        assert (await client.get(f"{BASE}/requests/?limit=2")).json()["count"] == 2
        for wrong in ("status=done", "limit=0", "limit=-1", "limit=many", "limit=99999999999"):
            answer = await client.get(f"{BASE}/requests/?{wrong}")
            assert answer.status_code == 400, wrong
            assert sentence_in(answer)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        f"{BASE}/pending-requests",
        f"{BASE}/update-status/{UNKNOWN}",
        f"{BASE}/complete-request/{UNKNOWN}",
        "/api/inference/pending",
        f"/api/inference/{UNKNOWN}/complete",
    ],
)
async def test_what_the_old_worker_called_is_gone(path: str, method: str) -> None:
    async with caller() as client:
        for slash in ("", "/"):
            answer = await client.request(method, path + slash, json={"status": "completed"})
            assert answer.status_code == 410
            assert "mri-consumer" in sentence_in(answer)


async def test_a_wrong_method_says_which_is_right(study: StoredStudy) -> None:
    async with caller(await cookie_of()) as client:
        answer = await client.get(f"{BASE}/series/{study.inputs[0].series_id}/segment/")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert sentence_in(answer)
        answer = await client.delete(f"{BASE}/requests/")
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")
        assert sentence_in(answer)
