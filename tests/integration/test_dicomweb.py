"""``/dicom-web/`` with a real archive: what is answered, to whom, and what never is."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import HTTP
from typing import Any
from uuid import UUID, uuid4

import httpx
import numpy as np
import pydicom
import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from pydicom.uid import generate_uid

from infra.local.orthanc import OrthancNode
from messages.identity import primary_series_uid
from tests.dicom_factory import Series
from tests.integration.lab import orthanc_post
from tests.integration.test_legacy_calls import caller
from tests.integration.web_requests import write_request
from tests.site import reader_of, use_archive
from web.access.audit import Action
from web.access.models import AuditEntry
from web.dicomweb import studies
from web.dicomweb.addresses import STAND_IN_HOST
from web.dicomweb.slots import slots
from web.inference.models import InferenceRequest
from web.inference.states import State

ROOT = "/dicom-web"
FRAMES = "multipart/related; type=application/octet-stream; transfer-syntax=*"

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]


class Stored:
    """One study of one series in the archive."""

    def __init__(self, orthanc: OrthancNode, **series: Any) -> None:
        self.series = Series(rows=16, columns=20, **series)
        answers = [orthanc_post(orthanc, "/instances", data) for data in self.series.files()]
        self.study_id = answers[0]["ParentStudy"]
        self.study_uid, self.series_uid = self.series.study_uid, self.series.series_uid
        self.study = f"{ROOT}/studies/{self.study_uid}"
        self.of_series = f"{self.study}/series/{self.series_uid}"
        self.instance_uid = str(self.series.datasets[2].SOPInstanceUID)
        self.instance = f"{self.of_series}/instances/{self.instance_uid}"


@pytest.fixture(scope="module")
def mine(orthanc: OrthancNode) -> Stored:
    return Stored(orthanc)


@pytest.fixture(scope="module")
def other(orthanc: OrthancNode) -> Stored:
    return Stored(orthanc)


@pytest.fixture(autouse=True)
def site(orthanc: OrthancNode, settings: Any) -> Any:
    use_archive(settings, orthanc)
    studies._known.clear()
    return settings


@sync_to_async
def cookie_of(*study_ids: str) -> dict[str, str]:
    client = Client()
    client.force_login(reader_of(*study_ids, name=f"reader {uuid4()}"))
    return {"sessionid": client.cookies["sessionid"].value}


@asynccontextmanager
async def reader(*study_ids: str) -> AsyncIterator[httpx.AsyncClient]:
    """A reader who sees these studies; without any, every study."""
    async with caller(await cookie_of(*study_ids)) as client:
        yield client


@sync_to_async
def a_request(study_id: str, state: State) -> UUID:
    row = write_request()
    InferenceRequest.objects.filter(pk=row.pk).update(study_id=study_id, state=state)
    return row.pk


def value(item: dict[str, Any], tag: str) -> Any:
    return item[tag]["Value"][0]


def parts_of(answer: httpx.Response) -> list[Any]:
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    return message_from_bytes(head + answer.content, policy=HTTP).get_payload()


async def wrong(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return str(answer.json()["error"]["message"])


async def test_the_archives_address_and_its_password_are_in_no_answer(
    mine: Stored, orthanc: OrthancNode
) -> None:
    async with reader(mine.study_id) as client:
        answers = [
            await client.get(f"{ROOT}/studies?StudyInstanceUID={mine.study_uid}"),
            await client.get(f"{mine.study}/series?includefield=all"),
            await client.get(f"{mine.of_series}/instances"),
            await client.get(f"{mine.of_series}/metadata"),
            await client.get(f"{mine.instance}/frames/1", headers={"Accept": FRAMES}),
            await client.get(mine.instance),
        ]
    for answer in answers:
        assert answer.status_code == 200, answer.text
        told = answer.content + str(answer.headers).encode()
        for secret in (str(orthanc.http_port), orthanc.password, STAND_IN_HOST, "Orthanc"):
            assert secret.encode() not in told, (answer.url, secret)
    links = re.findall(rb'"(https?://[^"]+)"', b"".join(answer.content for answer in answers[:4]))
    assert links
    assert all(link.startswith(b"http://localhost/dicom-web/studies/") for link in links)


async def test_a_link_in_the_metadata_leads_to_the_bytes_of_the_pixels(mine: Stored) -> None:
    async with reader(mine.study_id) as client:
        metadata = (await client.get(f"{mine.of_series}/metadata")).json()
        (item,) = [one for one in metadata if value(one, "00080018") == mine.instance_uid]
        answer = await client.get(item["7FE00010"]["BulkDataURI"])
    (part,) = parts_of(answer)
    pixels = np.frombuffer(part.get_payload(decode=True)[: 16 * 20 * 2], np.uint16)
    np.testing.assert_array_equal(pixels.reshape(16, 20), mine.series.pixels[2])


async def test_frames_and_whole_instances_are_those_of_the_archive(mine: Stored) -> None:
    async with reader(mine.study_id) as client:
        frame = await client.get(f"{mine.instance}/frames/1", headers={"Accept": FRAMES})
        objects = await client.get(
            mine.of_series, headers={"Accept": 'multipart/related; type="application/dicom"'}
        )
    (part,) = parts_of(frame)
    pixels = np.frombuffer(part.get_payload(decode=True)[: 16 * 20 * 2], np.uint16)
    np.testing.assert_array_equal(pixels.reshape(16, 20), mine.series.pixels[2])
    read = [pydicom.dcmread(io.BytesIO(one.get_payload(decode=True))) for one in parts_of(objects)]
    assert {one.SOPInstanceUID for one in read} == {
        one.SOPInstanceUID for one in mine.series.datasets
    }


async def test_a_study_that_is_not_granted_is_not_there(mine: Stored, other: Stored) -> None:
    below = other.of_series.removeprefix(other.study)
    async with reader(mine.study_id) as client:
        for path in ("/series", "/instances", "/metadata", below, f"{below}/metadata"):
            unknown = await client.get(f"{ROOT}/studies/{generate_uid()}{path}")
            hidden = await client.get(other.study + path)
            assert await wrong(hidden, 404) == await wrong(unknown, 404)
        assert await wrong(await client.get(f"{other.instance}/frames/1"), 404)
    entries = AuditEntry.objects.filter(action=Action.REFUSED)
    assert {entry.study_id async for entry in entries} == {other.study_id}


async def test_the_series_of_one_study_cannot_be_read_by_way_of_another(
    mine: Stored, other: Stored
) -> None:
    """The archive looks objects up by their own UID: it must see that the study is wrong."""
    async with reader(mine.study_id) as client:
        below = other.of_series.removeprefix(other.study)
        instance = other.instance.removeprefix(other.study)
        for path in (below, f"{below}/metadata", instance, f"{instance}/frames/1",
                     f"{instance}/bulk/7fe00010", f"{instance}/rendered",
                     f"{instance}/metadata"):  # fmt: skip
            answer = await client.get(mine.study + path)
            # The archive answers some with an empty list.
            told = answer.json() if answer.status_code == 200 else None
            assert answer.status_code == 404 or told == [], (path, answer.status_code)
        answer = await client.get(f"{mine.study}{below}/instances")
        assert answer.json() == []


async def test_a_search_tells_of_the_named_studies_that_are_granted(
    mine: Stored, other: Stored
) -> None:
    both = f"{other.study_uid},{mine.study_uid}"
    async with reader(mine.study_id) as client:
        answer = await client.get(f"{ROOT}/studies", params={"StudyInstanceUID": both})
        (found,) = answer.json()
        assert value(found, "0020000D") == mine.study_uid
        answer = await client.get(f"{ROOT}/studies", params={"0020000D": other.study_uid})
        assert answer.json() == []
    async with reader() as client:
        answer = await client.get(f"{ROOT}/studies", params={"StudyInstanceUID": both})
        assert {value(one, "0020000D") for one in answer.json()} == {
            mine.study_uid,
            other.study_uid,
        }
        # By it the viewer would look for more, in an address that a proxy keeps in its log.
        assert all("00100020" not in one for one in answer.json())


@pytest.mark.parametrize(
    "query",
    [
        "",
        "limit=10",
        "PatientID=PHANTOM",
        "00100020=*",
        "PatientName=*",
        "StudyDate=20240101-",
        "StudyInstanceUID=*",
        "StudyInstanceUID=",
        "StudyInstanceUID=1.2.%2A",
        "StudyInstanceUID=1.2,",
        "StudyInstanceUID=1.2&PatientName=A",
        "StudyInstanceUID=1.2&includefield=all%0d%0aX:y",
        "StudyInstanceUID=" + ",".join(f"1.2.{n}" for n in range(17)),
    ],
)
async def test_no_search_lists_studies_that_it_does_not_name(query: str) -> None:
    async with reader() as client:
        assert await wrong(await client.get(f"{ROOT}/studies?{query}"), 400)


@pytest.mark.parametrize(
    "path",
    [
        "series",
        "instances",
        "servers",
        "app/client/index.html",
        "studies/1.2/../../../system",
        "studies/%2e%2e/system",
        "studies/1.2/series/1.3/instances/1.4/file",
        "studies/1.2/series/1.3/instances/1.4/frames/../../..",
        "studies/1.2/archive",
        "studies/" + "1" * 65,
        "studies/1.2/",
        "studies//series",
        "studies/1.2/series/a",
        "studies/1.2%3Fx/series",
        "studies/1.2/metadata\n",
    ],
)
async def test_other_addresses_are_not_there(path: str) -> None:
    async with reader() as client:
        answer = await client.get(httpx.URL("http://localhost", raw_path=_raw(path)))
        # Some lead to no address of ours at all, which is told as a page.
        if answer.status_code != 404 or "json" in answer.headers["content-type"]:
            assert await wrong(answer, 404)


def _raw(path: str) -> bytes:
    return f"{ROOT}/{path}".replace("\n", "%0A").encode()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_but_get_and_head(method: str, mine: Stored) -> None:
    async with reader() as client:
        answer = await client.request(method, mine.study)
    assert await wrong(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD"


async def test_head_says_what_get_would_and_sends_nothing(mine: Stored) -> None:
    async with reader(mine.study_id) as client:
        answer = await client.head(f"{mine.instance}/rendered")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "image/jpeg"
    await nothing_open()


async def test_without_a_log_in_every_call_is_401(mine: Stored) -> None:
    async with caller() as client:
        for path in (
            f"{ROOT}/studies?StudyInstanceUID={mine.study_uid}",
            mine.study,
            "/dicom-web/x",
        ):
            assert await wrong(await client.get(path), 401)


async def test_parameters_that_are_not_known_are_not_passed_on(mine: Stored) -> None:
    async with reader() as client:
        for query in ("PatientName=A", "limit=-1", "limit=1%26x", "SeriesInstanceUID=*"):
            assert await wrong(await client.get(f"{mine.study}/series?{query}"), 400)
        assert await wrong(await client.get(f"{mine.of_series}/metadata?x=1"), 400)
        answer = await client.get(f"{mine.study}/series?SeriesInstanceUID={mine.series_uid}")
        assert len(answer.json()) == 1


async def test_an_answer_is_no_page_and_only_pixels_are_kept(mine: Stored) -> None:
    async with reader(mine.study_id) as client:
        metadata = await client.get(f"{mine.of_series}/metadata")
        frame = await client.get(f"{mine.instance}/frames/1", headers={"Accept": FRAMES})
    assert metadata.headers["cache-control"] == "no-store"
    assert frame.headers["cache-control"] == "private, max-age=3600"
    for answer in (metadata, frame):
        assert "sandbox" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_what_is_looked_at_is_written_down_once_and_what_leaves_each_time(
    mine: Stored,
) -> None:
    async with reader(mine.study_id) as client:
        for _ in range(3):
            await client.get(f"{mine.of_series}/metadata")
            await client.get(f"{mine.instance}/frames/1", headers={"Accept": FRAMES})
        for _ in range(2):
            await client.get(mine.of_series)
        await client.get(mine.instance)
    told = [(entry.action, entry.study_id) async for entry in AuditEntry.objects.order_by("pk")]
    assert told.count((Action.STUDY_VIEWED, mine.study_id)) == 1
    assert told.count((Action.EXPORTED, mine.study_id)) == 3


async def test_who_opens_a_results_series_is_written_down_with_the_request(
    orthanc: OrthancNode,
) -> None:
    study = Stored(orthanc)
    done = await a_request(study.study_id, State.COMPLETED)
    await a_request(study.study_id, State.FAILED)
    result = Stored(orthanc, study_uid=study.study_uid, series_uid=primary_series_uid(done))
    viewed = AuditEntry.objects.filter(action=Action.RESULT_VIEWED)
    async with reader(study.study_id) as client:
        await client.get(f"{study.study}/series")
        await client.get(f"{study.of_series}/metadata")
        assert not await viewed.aexists()
        await client.get(f"{result.of_series}/metadata")
        await client.get(result.instance)
    assert [(entry.study_id, entry.subject) async for entry in viewed] == [
        (study.study_id, str(done))
    ]


async def test_two_studies_of_one_uid_are_shown_to_who_sees_both(orthanc: OrthancNode) -> None:
    first = Stored(orthanc)
    twin = Series(study_uid=first.study_uid, slices=1)
    for dataset in twin.datasets:
        dataset.PatientID = "SOMEBODY-ELSE"
    answer = orthanc_post(orthanc, "/instances", twin.files()[0])
    assert answer["ParentStudy"] != first.study_id
    async with reader(first.study_id) as client:
        assert await wrong(await client.get(f"{first.study}/series"), 404)
    async with reader(first.study_id, answer["ParentStudy"]) as client:
        assert (await client.get(f"{first.study}/series")).status_code == 200


async def test_an_archive_that_does_not_answer_is_one_sentence(mine: Stored, site: Any) -> None:
    site.SITE = site.SITE.model_copy(update={"orthanc_url": "http://127.0.0.1:9"})
    async with reader() as client:
        said = await wrong(await client.get(f"{mine.study}/series"), 503)
        assert "archive" in said
        assert await wrong(await client.get(f"{ROOT}/studies?StudyInstanceUID=1.2"), 503)
    await nothing_open()


async def test_what_the_archive_does_not_hold_is_404_and_a_wrong_form_406(mine: Stored) -> None:
    async with reader(mine.study_id) as client:
        missing = f"{mine.of_series}/instances/{generate_uid()}"
        assert await wrong(await client.get(f"{missing}/frames/1"), 404)
        assert await wrong(
            await client.get(f"{mine.instance}/frames/1", headers={"Accept": "text/html"}), 406
        )
        assert json.loads((await client.get(f"{mine.study}/series")).content)


async def nothing_open() -> None:
    for _ in range(200):
        if slots.open() == 0:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("an answer is still on its way")
