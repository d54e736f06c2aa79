"""The old front end's calls in one process: who may call, what is told, and what waiting leaves."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import uvicorn
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from django.db import OperationalError, connection, transaction
from django.test import Client

from infra.local.orthanc import OrthancNode
from infra.local.ports import free_ports
from messages.events import InferenceCancelled, InferenceFailed, RunEvent
from messages.failures import FAILURE_TEXTS, FailureCode
from messages.lab import LabHeartbeat, ModelDescriptor
from messages.phases import DCE_ROLES
from tests.integration.lab import StoredStudy, orthanc_get, store_small_study
from tests.integration.web_requests import a_run, eventually, place, take_in, write_request
from tests.site import reader_of, site_with, use_archive
from web import notify
from web.access import limits
from web.access.models import AuditEntry
from web.access.tokens import issue
from web.application import labrelay
from web.database import DatabaseThread
from web.handler import OneThreadHandler
from web.inference.models import InferenceRequest, Outbox
from web.inference.record import record_dead
from web.inference.states import State
from web.labs import registry
from web.labs.heartbeats import record_heartbeat
from web.legacy import submission as wish
from web.legacy import threads, waiting
from web.legacy.outcome import STATES
from web.live import watch

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


async def segment(
    client: httpx.AsyncClient,
    study: StoredStudy,
    query: str = "",
    order: Sequence[str] | None = None,
) -> httpx.Response:
    ids = order or series_of(study)
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
            take_in(event)


def time_is_up() -> None:
    """For every call that waits."""
    for call in watch.calls:
        call._time_budget.reschedule(asyncio.get_running_loop().time())


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
    for action in ("requested", "result_viewed"):
        noted = await AuditEntry.objects.aget(action=action)
        assert (noted.subject, noted.study_id) == (str(row.pk), study.study_id)
        assert noted.way == "session"


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
    site_with(site, legacy_wait_seconds=1)
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
    study: StoredStudy,
) -> None:
    async with caller(await cookie_of()) as client:
        call = asyncio.create_task(segment(client, study))
        await applied(a_run((await the_request()).pk)[-1])
        await asyncio.sleep(0.1)
        assert not call.done()
        time_is_up()
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


async def test_many_calls_wait_in_few_threads_and_all_are_answered(orthanc: OrthancNode) -> None:
    study = await asyncio.to_thread(store_small_study, orthanc, timed=False)
    threads_before, files_before = threading.active_count(), open_databases()
    async with caller(await cookie_of()) as client:
        # Each order of the series is a wish of its own, and nothing contradicts it; two calls have
        # each.
        orders = 2 * list(permutations(series_of(study)))
        calls = [asyncio.create_task(segment(client, study, order=order)) for order in orders]

        async def all_wait() -> bool:
            return len(watch.calls) == len(calls)

        await eventually(all_wait, "all calls wait", 30)
        # The threads' own connections, and those of the test and of what serves the pages.
        few = threads.TAKING + threads.READING + 3
        assert threading.active_count() - threads_before <= few < len(calls) / 2
        assert open_databases() - files_before <= few
        rows = [row async for row in InferenceRequest.objects.all()]
        await applied(*(a_run(row.pk)[-1] for row in rows))
        await notify.requests_changed([row.pk for row in rows])
        answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} == {200}
    assert 2 * len({answer.json()["request_id"] for answer in answers}) == len(calls) == 48


def open_databases() -> int:
    """Descriptors of this process on the SQLite file: one for each open connection."""
    name, found = str(connection.settings_dict["NAME"]), 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()) == name
        except OSError:
            # Closed meanwhile.
            continue
    return found


async def test_the_time_of_a_call_counts_from_its_arrival(
    study: StoredStudy, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site_with(site, legacy_wait_seconds=2)

    def slow(*arguments: Any, **named: Any) -> Any:
        time.sleep(1)
        return wish.take(*arguments, **named)

    monkeypatch.setattr(waiting, "take", slow)
    async with caller(await cookie_of()) as client:
        began = time.monotonic()
        answer = await segment(client, study)
    assert answer.status_code == 504
    assert answer.json()["request_id"] == str((await InferenceRequest.objects.aget()).pk)
    # A little earlier than the front end gives up, and not 2 s after the first one.
    assert time.monotonic() - began < 2


async def test_an_archive_that_hangs_delays_neither_results_nor_the_end_of_the_wait(
    study: StoredStudy, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()

    def hanging(*_: Any, **__: Any) -> None:
        hangs.wait(30)
        raise wish.Told(503, "The archive hangs.")

    async with caller(await cookie_of()) as client:
        first = asyncio.create_task(segment(client, study))
        row = await the_request()
        monkeypatch.setattr(waiting, "take", hanging)
        site_with(site, legacy_wait_seconds=1)
        try:
            others = [
                asyncio.create_task(segment(client, study)) for _ in range(threads.TAKING + 2)
            ]
            late = await asyncio.wait_for(asyncio.gather(*others), 5)
            await applied(a_run(row.pk)[-1])
            await notify.requests_changed([row.pk])
            assert (await asyncio.wait_for(first, 5)).status_code == 200
        finally:
            hangs.set()
    for answer in late:
        # Whether it was written down is not known.
        assert (answer.status_code, answer.json()["request_id"]) == (504, None)
        assert answer.json()["status"] == "timeout"
        assert sentence_in(answer)


@pytest.mark.parametrize("when", ["with a hint", "at the end"])
async def test_a_fault_while_a_call_waits_is_500_and_does_not_leave_it_hanging(
    study: StoredStudy, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def faulty(*_: object) -> None:
        raise ZeroDivisionError("Test^Phantom")

    async with caller(await cookie_of()) as client:
        call = asyncio.create_task(segment(client, study))
        row = await the_request()
        await asyncio.sleep(0.1)
        monkeypatch.setattr(waiting, "outcome", faulty)
        if when == "at the end":
            time_is_up()
        else:
            await notify.requests_changed([row.pk])
        answer = await asyncio.wait_for(call, 5)
    assert (answer.status_code, answer.json()["request_id"]) == (500, str(row.pk))
    assert "Phantom" not in sentence_in(answer)
    assert nothing_is_left()


async def test_a_result_that_comes_while_the_504_is_sent_makes_neither_half_an_answer_nor_two(
    study: StoredStudy, site: Any
) -> None:
    site_with(site, legacy_wait_seconds=0.5)
    token = await sync_to_async(lambda: issue(reader_of(), "slow line"))()
    ids = series_of(study)
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        if bodies:
            return {"type": "http.request", "body": bodies.pop()}
        return await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.start":
            row = await InferenceRequest.objects.aget()
            await applied(a_run(row.pk)[-1])
            await notify.requests_changed([row.pk])
            # A line that takes its time.
            await asyncio.sleep(0.3)

    bodies = [httpx.Request("POST", "http://x", json={"sequence_series_ids": ids}).content]
    await labrelay(OneThreadHandler())(
        {
            "type": "http",
            "method": "POST",
            "path": f"{BASE}/series/{ids[0]}/segment/",
            "query_string": b"",
            "headers": [
                (b"host", b"localhost"),
                (b"content-type", b"application/json"),
                (b"authorization", f"Bearer {token}".encode()),
            ],
            "client": ("10.1.2.3", 50_000),
        },
        receive,
        send,
    )
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[0]["status"] == 504
    assert b"timeout" in sent[1]["body"]


async def test_a_body_that_does_not_come_holds_nothing(
    study: StoredStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "BODY_SECONDS", 0.3)

    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)
        yield b"}"

    path = f"{BASE}/series/{series_of(study)[0]}/segment/"
    headers = {"content-type": "application/json"}
    async with caller() as client:
        call = client.post(path, content=trickle(), headers=headers)
        answer = await asyncio.wait_for(call, 5)
    assert answer.status_code == 400
    assert sentence_in(answer)


async def test_a_phase_of_two_kinds_of_images_is_400_in_korean(orthanc: OrthancNode) -> None:
    mixed = await sync_to_async(store_small_study)(orthanc, mixed=True)
    async with caller(await cookie_of()) as client:
        answer = await segment(client, mixed)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert sentence_in(answer) == (
        '"조영 후 1차" 영상의 단면 중 위치 순서로 4번째 단면은 '
        "영상 종류 값이 다른 단면들과 다릅니다. "
        "다른 촬영이나 다른 종류의 영상이 섞여 있습니다."
    )
    assert not await InferenceRequest.objects.aexists()


async def test_a_stranger_who_calls_again_and_again_reaches_no_thread(
    study: StoredStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal taken
        taken += 1
        return wish.take(*arguments, **named)

    monkeypatch.setattr(waiting, "take", counted)
    async with caller() as client:
        answers = [await segment(client, study) for _ in range(305)]
    assert [answer.status_code for answer in answers] == [401] * 300 + [429] * 5
    assert sentence_in(answers[-1])
    assert taken == 300
    # Others are not held up.
    async with caller(address="10.1.2.4") as client:
        assert (await segment(client, study)).status_code == 401


async def test_another_model_than_the_default_one_is_never_run_instead(
    study: StoredStudy, site: Any
) -> None:
    site_with(site, legacy_wait_seconds=0.5)
    other = ModelDescriptor(
        name="other", version="1", sha256="0" * 64, roles=DCE_ROLES, labels=("x",), notice=""
    )
    told = LabHeartbeat(lab="lab1", pool="lab", device="cpu", models=(other,), at=datetime.now(UTC))
    await sync_to_async(registry.confirm)("lab1", "lab")
    await sync_to_async(record_heartbeat)(told)
    async with caller(await cookie_of()) as client:
        await refused(client, study, 503)


async def test_the_host_of_a_trusted_proxy_is_this_site(study: StoredStudy, site: Any) -> None:
    site_with(site, legacy_wait_seconds=0.5)
    site.USE_X_FORWARDED_HOST = True
    site.ALLOWED_HOSTS = ["mri.example"]
    headers = {"x_forwarded_host": "mri.example", "sec_fetch_site": "same-origin"}
    cookies = await cookie_of()
    async with caller(cookies, origin="https://mri.example", **headers) as client:
        assert (await segment(client, study)).status_code == 504
    async with caller(cookies, origin="https://evil.example", **headers) as client:
        assert (await segment(client, study)).status_code == 403


async def test_instances_of_a_study_that_is_not_granted_do_not_exist(
    study: StoredStudy, orthanc: OrthancNode
) -> None:
    hidden = await sync_to_async(store_small_study)(orthanc)

    def instances(of: StoredStudy) -> list[list[str]]:
        return [orthanc_get(orthanc, f"/series/{one}")["Instances"] for one in series_of(of)]

    mine, theirs = instances(study), instances(hidden)
    first, second = mine[0][0], mine[1][0]
    unknown = UNKNOWN.replace("3", "4")
    told = {}
    async with caller(await cookie_of(study.study_id)) as client:
        for case, ids in {
            "nowhere": [first, second, UNKNOWN, unknown],
            "hidden": [first, second, theirs[2][0], theirs[3][0]],
            "two of one hidden series": [first, second, *theirs[2][:2]],
            "the first nowhere": [UNKNOWN, *(one[0] for one in mine[1:])],
            "the first hidden": [theirs[0][0], *(one[0] for one in theirs[1:])],
        }.items():
            path = f"{BASE}/instances/{ids[0]}/segment/"
            answer = await client.post(path, json={"sequence_instance_ids": ids})
            assert answer.status_code == 404, case
            told[case] = sentence_in(answer)
    assert told["nowhere"] == told["hidden"] == told["two of one hidden series"]
    assert told["the first nowhere"] == told["the first hidden"]
    assert not await InferenceRequest.objects.aexists()


async def test_when_the_site_stops_its_waiting_calls_are_told_so(study: StoredStudy) -> None:
    (port,) = free_ports(1)
    server = uvicorn.Server(
        uvicorn.Config(
            labrelay(OneThreadHandler()),
            port=port,
            lifespan="off",
            log_config=None,
            timeout_graceful_shutdown=1,
        )
    )
    serving = asyncio.create_task(server.serve())

    async def listens() -> bool:
        return server.started

    await eventually(listens, "a server that listens")
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, cookies=await cookie_of(), timeout=30) as client:
        call = asyncio.create_task(segment(client, study))
        row = await the_request()
        server.should_exit = True
        answer = await call
    await serving
    assert (answer.status_code, answer.json()["request_id"]) == (503, str(row.pk))
    assert sentence_in(answer)
    assert nothing_is_left()


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
        ("127.0.0.1", {"host": "[::1]:8000"}, 504),
        ("10.9.1.2", {"host": "mri.example"}, 504),
        # A proxy on this machine that does not say for whom it asks.
        ("127.0.0.1", {"x_forwarded_proto": "https"}, 401),
        ("127.0.0.1", {"x_forwarded_for": ""}, 401),
        ("127.0.0.1", {"x_real_ip": "127.0.0.1"}, 401),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}, 401),
        ("127.0.0.1", {"via": "1.1 proxy"}, 401),
        # One that adds nothing but keeps the name that was asked for.
        ("127.0.0.1", {"host": "mri.example"}, 401),
        ("127.0.0.1", {"x_forwarded_for": "127.0.0.1", "host": "mri.example"}, 401),
        # One whose header the server does not read.
        ("127.0.0.1", {"x_forwarded_for": "8.8.8.8"}, 401),
        ("127.0.0.1", {"x_forwarded_for": "10.9.1.2"}, 401),
        # A caller who wrote into the header what the proxy then added to.
        ("127.0.0.1", {"x_forwarded_for": "127.0.0.1, 8.8.8.8"}, 401),
        ("10.9.1.2", {"x_forwarded_for": "10.9.1.2, 8.8.8.8"}, 401),
        # Two proxies on this machine.
        ("127.0.0.1", {"x_forwarded_for": "8.8.8.8, 127.0.0.1"}, 401),
        ("127.0.0.1", {"x_forwarded_for": "127.0.0.1"}, 504),
        ("10.9.1.2", {"x_forwarded_for": "10.9.1.2:50000", "host": "mri.example"}, 504),
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
    networks = "127.0.0.0/8, 10.9.0.0/16"
    site_with(site, legacy_wait_seconds=0.5, legacy_trusted_networks=networks)
    site.ALLOWED_HOSTS = ["localhost", "[::1]", "mri.example"]
    assert site.SITE.trusted_networks == (ip_network("127.0.0.0/8"), ip_network("10.9.0.0/16"))
    async with caller(address=address, **headers) as client:
        if status != 504:
            await refused(client, study, status)
            if status == 401:
                assert (await client.get(f"{BASE}/requests/")).status_code == 401
            return
        assert (await segment(client, study)).status_code == 504
        (one,) = (await client.get(f"{BASE}/requests/")).json()["requests"]
    assert one["requested_by"] == "anonymous"
    noted = await AuditEntry.objects.aget(action="requested")
    assert (noted.user_id, noted.way, noted.address) == (None, "network", address)


async def test_a_machine_with_a_token_calls_under_its_users_name(
    study: StoredStudy, site: Any
) -> None:
    site_with(site, legacy_wait_seconds=0.5)
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
