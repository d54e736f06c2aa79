"""Long answers under ``/dicom-web/``: they hold no thread, little memory, and not the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn
from pydicom.uid import generate_uid

from infra.local.orthanc import OrthancNode
from infra.local.ports import free_ports
from tests.dicom_factory import Series
from tests.integration.lab import orthanc_post
from tests.integration.test_dicomweb import ROOT, cookie_of, nothing_open
from tests.integration.web_requests import eventually
from tests.site import use_archive
from web.dicomweb import slots as dicomweb_slots
from web.dicomweb.slots import MOST_OF_ONE, slots
from web.handler import THREADS, OneThreadHandler

#: Megabytes of the series: more than sockets between here and the archive can hold.
SERIES_MB = 24

STUDY_ID = "-".join(["0123abcd"] * 5)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def large(orthanc: OrthancNode) -> str:
    """Address of a series of `SERIES_MB`."""
    noise = np.random.default_rng(7).integers(0, 4000, (SERIES_MB, 512, 1024), dtype=np.uint16)
    series = Series(slices=SERIES_MB, rows=512, columns=1024, pixels=noise)
    for file in series.files():
        orthanc_post(orthanc, "/instances", file)
    return f"{ROOT}/studies/{series.study_uid}/series/{series.series_uid}"


@asynccontextmanager
async def served(
    settings: Any, archive_url: str | None, orthanc: OrthancNode
) -> AsyncIterator[str]:
    """The site on a real socket, in this loop."""
    use_archive(settings, orthanc)
    if archive_url:
        settings.SITE = settings.SITE.model_copy(update={"orthanc_url": archive_url})
    (port,) = free_ports(1)
    config = uvicorn.Config(
        OneThreadHandler(),
        port=port,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())

    async def listens() -> bool:
        return server.started

    await eventually(listens, "a server that listens")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one visitor have more than there are threads."""
    monkeypatch.setattr(slots, "_most", THREADS + 8)
    monkeypatch.setattr(slots, "_most_of_one", THREADS + 8)


@pytest.mark.asyncio
async def test_readers_who_do_not_read_hold_no_thread(
    large: str, orthanc: OrthancNode, settings: Any, wide: None
) -> None:
    """More downloads than there are threads stand still; a page is answered all the same."""
    async with served(settings, None, orthanc) as url:
        cookies = await cookie_of()
        stuck = []
        for _ in range(THREADS + 2):
            client = httpx.AsyncClient(base_url=url, cookies=cookies, timeout=60)
            answer = await client.send(client.build_request("GET", large), stream=True)
            assert answer.status_code == 200
            stuck.append((client, answer))
        assert slots.open() == THREADS + 2
        async with httpx.AsyncClient(base_url=url, cookies=cookies, timeout=60) as client:
            assert (await client.get("/")).status_code == 200
        for client, answer in stuck:
            await answer.aclose()
            await client.aclose()
        await nothing_open()


@pytest.mark.asyncio
async def test_a_visitor_who_has_too_many_open_is_told_when_to_come_again(
    large: str, orthanc: OrthancNode, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_time_budget", 0.2)
    async with served(settings, None, orthanc) as url:
        cookies = await cookie_of()
        greedy = httpx.AsyncClient(
            base_url=url, cookies=cookies, timeout=60, limits=httpx.Limits(max_connections=None)
        )
        stuck = [
            await greedy.send(greedy.build_request("GET", large), stream=True)
            for _ in range(MOST_OF_ONE)
        ]
        refused = await greedy.get(large)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        assert refused.json()["error"]["code"] == "service_unavailable"
        async with httpx.AsyncClient(base_url=url, cookies=await cookie_of(), timeout=60) as other:
            assert (await other.head(large)).status_code == 200
        for answer in stuck:
            await answer.aclose()
        await nothing_open()
        assert (await greedy.head(large)).status_code == 200
        await greedy.aclose()
    await nothing_open()


@pytest.mark.asyncio
async def test_calls_that_wait_for_the_archive_keep_no_page_waiting(
    orthanc: OrthancNode, settings: Any
) -> None:
    """One visitor with all that they may have, at an archive that does not begin to answer."""
    silent = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.write(b"0\r\n\r\n")

    async with (
        invented_archive(late, begins=silent) as archive,
        served(settings, archive, orthanc) as url,
        httpx.AsyncClient(
            base_url=url,
            cookies=await cookie_of(),
            timeout=60,
            limits=httpx.Limits(max_connections=None),
        ) as client,
    ):
        path = f"{ROOT}/studies/{generate_uid()}/metadata"
        calls = [asyncio.create_task(client.get(path)) for _ in range(THREADS + MOST_OF_ONE)]

        async def refused() -> bool:
            return sum(call.done() for call in calls) == THREADS

        await eventually(refused, "the calls beyond what one visitor may have to be refused")
        assert {call.result().status_code for call in calls if call.done()} == {503}
        assert (await client.get("/login/")).status_code in {200, 302}
        assert slots.open() == MOST_OF_ONE
        silent.set()
        answers = await asyncio.gather(*calls)
        assert min(answer.status_code for answer in answers) == 200
    await nothing_open()


@asynccontextmanager
async def invented_archive(
    content: Callable[[asyncio.StreamWriter], Awaitable[None]],
    begins: asyncio.Event | None = None,
) -> AsyncIterator[str]:
    """Has every study, and `content` for every DICOMweb call, once it `begins` to answer."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
        with suppress(ConnectionError):
            if b"/tools/find" in head:
                body = f'["{STUDY_ID}"]'.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            else:
                if begins is not None:
                    await begins.wait()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                )
                await content(writer)
            await writer.drain()
        writer.close()

    door = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{door.sockets[0].getsockname()[1]}"
    finally:
        door.close()
        await door.wait_closed()


@pytest.mark.asyncio
async def test_the_archive_is_read_no_faster_than_the_reader_reads(
    orthanc: OrthancNode, settings: Any
) -> None:
    """What is held is what the sockets hold, however long the answer is."""
    sent = 0
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while True:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async with invented_archive(endless) as archive, served(settings, archive, orthanc) as url:
        client = httpx.AsyncClient(base_url=url, cookies=await cookie_of(), timeout=60)
        path = f"{ROOT}/studies/{generate_uid()}/metadata"
        answer = await client.send(client.build_request("GET", path), stream=True)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.5)
        assert 0 < sent < 32 * 1024 * 1024
        await answer.aclose()
        await client.aclose()
        await nothing_open()


@pytest.mark.asyncio
async def test_an_archive_that_breaks_off_breaks_the_answer_off(
    orthanc: OrthancNode, settings: Any
) -> None:
    """Half a series that ended properly would be taken for the whole."""

    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(b"4\r\n[{}\n\r\n")

    async with invented_archive(half) as archive, served(settings, archive, orthanc) as url:
        async with httpx.AsyncClient(base_url=url, cookies=await cookie_of(), timeout=60) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"{ROOT}/studies/{generate_uid()}/metadata")
        await nothing_open()


@pytest.mark.asyncio
async def test_an_answer_that_takes_for_ever_is_ended(
    large: str, orthanc: OrthancNode, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.dicomweb.upstream.WHOLE_SECONDS", 0.5)
    async with served(settings, None, orthanc) as url:
        client = httpx.AsyncClient(base_url=url, cookies=await cookie_of(), timeout=60)
        answer = await client.send(client.build_request("GET", large), stream=True)
        await nothing_open()
        await answer.aclose()
        await client.aclose()


def test_a_slot_that_is_given_back_lets_the_next_one_in() -> None:
    few = dicomweb_slots.Slots(most=2, most_of_one=1, time_budget=30)
    first = few.take("a")
    few.take("b")
    with pytest.raises(dicomweb_slots.TooManyOpen):
        dicomweb_slots.Slots(most=0).take("a")
    waiting = threading.Thread(target=few.take, args=("a",))
    waiting.start()
    first.release()
    first.release()
    waiting.join(30)
    assert few.open() == 2
