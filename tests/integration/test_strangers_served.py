"""Strangers and readers at the served site: names, sockets, and what the log keeps of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import connect as open_page
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from infra.demo.reader import Reader
from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from tests.integration.nodes import TestBroker
from tests.integration.served import PASSWORD, ServedSite, served_site

PATIENCE = 60.0

#: Sockets that one user may have here.
SOCKETS = 40

#: A name that is typed into addresses, and the forms in which it might be written down.
NAME = "홍길동"
WRITTEN = (
    NAME,
    quote(NAME),
    quote(NAME).lower(),
    json.dumps(NAME)[1:-1],
    NAME.encode().decode("latin-1"),
    repr(NAME.encode())[2:-1],
)

#: Makes another reader, who sees every study, and requests that make a snapshot long.
_OTHERS = """
from django.contrib.auth.models import Group, User
from web.inference.models import InferenceRequest
other = User.objects.create_user("other", password={password!r})
other.groups.add(*Group.objects.all())
InferenceRequest.objects.bulk_create(
    InferenceRequest(pool="lab", model="m", study_id="s", study_uid="1.2", inputs=[],
                     deadline_s=60, state="failed")
    for _ in range(200)
)
"""


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, rabbit: TestBroker, orthanc: OrthancNode
) -> Iterator[ServedSite]:
    root = tmp_path_factory.mktemp("site")
    with served_site(root, rabbit, orthanc, MAX_SOCKETS_PER_USER=str(SOCKETS)) as site:
        site.shell(_OTHERS.format(password=PASSWORD))
        yield site


# ---- what the log keeps


def said(site: ServedSite, wire: bytes) -> bytes:
    """Send these bytes; the start of the answer."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE) as line:
        line.sendall(wire)
        return line.recv(65_536)


def new_lines(site: ServedSite, before: int, *actions: str) -> str:
    """What was logged since, once each of these is in it."""

    def logged() -> str:
        return site.log()[before:]

    wait_until(lambda: all(action in logged() for action in actions), "log it", PATIENCE)
    return logged()


@pytest.mark.parametrize("form", [NAME, quote(NAME), quote(NAME).lower()])
def test_what_is_typed_into_an_address_is_in_no_line_of_the_log(
    site: ServedSite, form: str
) -> None:
    before = len(site.log())
    typed = form.encode()
    host = f"127.0.0.1:{site.port}".encode()
    for target in (
        b"/studies/%b/",
        b"/%b",
        b"/api/v1/%b",
        b"/api/v1/requests?%b",
        b"/api/mri/segmentation/status/%b/",
        b"/dicom-web/studies/%b",
        b"/ohif/%b",
        b"/static/%b",
        b"/static/../%b",
        b"/admin/%b",
        b"/login/?next=%b",
    ):
        for verb, headers in (
            (b"GET", b""),
            (b"PUT", b"Content-Length: 0\r\n"),
            # Refused as no form of ours, and as another site's.
            (b"POST", b"Content-Length: 1\r\nContent-Type: multipart/form-data\r\n"),
            (b"POST", b"Content-Length: 0\r\nOrigin: https://evil.example/" + typed + b"\r\n"),
            (b"GET", b"Referer: http://h/" + typed + b"\r\nUser-Agent: " + typed + b"\r\n"),
        ):
            line = verb + b" " + target.replace(b"%b", typed) + b" HTTP/1.1\r\n"
            said(site, line + b"Host: " + host + b"\r\n" + headers + b"\r\n" + b"x")
        # A host that the site does not have, and one that is none.
        for other in (b"evil.example", typed):
            line = b"GET " + target.replace(b"%b", typed) + b" HTTP/1.1\r\n"
            said(site, line + b"Host: " + other + b"\r\n\r\n")
    upgrade = (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://" + host + b"\r\n\r\n"
    )
    for target in (b"/ws/live/?" + typed, b"/ws/" + typed, b"http://h/" + typed):
        said(site, b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + upgrade)
    httpx.get(f"{site.url}/the-end-of-it", timeout=PATIENCE)
    lines = new_lines(site, before, "Not Found")
    if form.isascii():
        # It was there to be kept, and not refused before anybody read it.
        assert "studies/" in lines
        assert "evil.example is not in ALLOWED_HOSTS" in lines
    for written in WRITTEN:
        assert written not in lines


def test_a_refused_origin_is_logged_with_what_was_compared(site: ServedSite) -> None:
    before = len(site.log())
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    old = "/api/mri/segmentation/series/x/segment/"
    for path in ("/login/", old):
        assert httpx.post(f"{site.url}{path}", headers=foreign, json={}).status_code == 403
    with pytest.raises(InvalidStatus):
        connect(
            f"ws://127.0.0.1:{site.port}/ws/live/",
            additional_headers={"Origin": "null"},
            proxy=None,
        )
    lines = new_lines(site, before, "foreign_socket_refused")
    told = [json.loads(line) for line in lines.splitlines() if "foreign_" in line]
    own = f"127.0.0.1:{site.port}"
    compared = {"host": own, "origin": "https://evil.example", "sec_fetch_site": "cross-site"}
    assert [line["action"] for line in told] == [
        "foreign_call_refused",
        "foreign_call_refused",
        "foreign_socket_refused",
    ]
    for line in told[:2]:
        assert compared.items() <= line.items()
    alone = {"host": own, "origin": "null", "sec_fetch_site": None, "host_allowed": True}
    assert alone.items() <= told[2].items()


# ---- names


def test_other_spellings_of_a_name_are_no_further_guesses(site: ServedSite) -> None:
    def guess(client: httpx.Client, name: str) -> int:
        client.get("/login/")
        form = {"username": name, "password": "wrong"}
        form |= {"csrfmiddlewaretoken": client.cookies["csrftoken"]}
        return client.post("/login/", data=form).status_code

    # "alice", each in another spelling that the log-in takes for the same name.
    spellings = [
        "alice",
        "ａlice",
        "aｌice",
        "alｉce",
        "aliｃe",
        "alicｅ",
        "𝐚lice",
        " ａｌice",
        "ⓐlice",
    ]
    with httpx.Client(base_url=site.url, timeout=PATIENCE) as client:
        for number in range(20):
            assert guess(client, spellings[number % len(spellings)]) == 200
        for spelling in (*spellings, "ＡＬＩＣＥ", "𝓪𝓵𝓲𝓬𝓮"):
            assert guess(client, spelling) == 429, spelling
        assert guess(client, "somebody else") == 200


# ---- sockets


@pytest.fixture
def crowd(site: ServedSite) -> Iterator[list[Any]]:
    """As many sockets as one user may have open."""
    with site.reader() as reader, contextlib.ExitStack() as stack:
        yield [stack.enter_context(reader.socket()) for _ in range(SOCKETS)]


def test_a_socket_at_an_unknown_address_is_refused_with_404(site: ServedSite) -> None:
    with site.reader() as reader:
        cookies = "; ".join(f"{k}={v}" for k, v in reader.cookies.items())
    before = len(site.log())
    for cookie in ({}, {"Cookie": cookies}):
        for path in ("/ws/", "/ws/other/", "/ws/live", "/"):
            with pytest.raises(InvalidStatus) as refused:
                connect(
                    f"ws://127.0.0.1:{site.port}{path}",
                    additional_headers={"Origin": site.url} | cookie,
                    proxy=None,
                )
            assert refused.value.response.status_code == 404
    assert '"level": "error"' not in site.log()[before:]


def test_a_user_has_no_more_than_so_many_sockets_and_another_user_has_some(
    site: ServedSite, crowd: list[Any]
) -> None:
    with site.reader() as reader, reader.socket() as one_more:
        with pytest.raises(ConnectionClosed) as closed:
            one_more.recv(timeout=PATIENCE)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
    with Reader(site.url, "other", PASSWORD) as other, other.socket() as page:
        assert snapshot_of(page)
    # One that is closed makes room for the next.
    crowd[0].close()
    with site.reader() as reader:

        def let_in() -> bool:
            with reader.socket() as again, contextlib.suppress(ConnectionClosed):
                return snapshot_of(again)
            # A user opens two sockets a second.
            time.sleep(0.5)
            return False

        wait_until(let_in, "let another socket in", PATIENCE)


def test_a_user_with_many_sockets_does_not_keep_the_next_from_a_snapshot(
    site: ServedSite,
) -> None:
    with site.reader() as many, Reader(site.url, "other", PASSWORD) as one:
        order = asyncio.run(answered(site, [*[many] * SOCKETS, one]))
    # In the order of the questions, the last one's would be the last answer.
    assert order.index(SOCKETS) <= SOCKETS // 2


async def answered(site: ServedSite, readers: list[Reader]) -> list[int]:
    """Ask on one socket after the other for each of these; in which order they are answered."""
    order: list[int] = []
    async with contextlib.AsyncExitStack() as stack:
        pages = []
        for reader in readers:
            cookies = "; ".join(f"{k}={v}" for k, v in reader.cookies.items())
            page = open_page(
                f"ws://127.0.0.1:{site.port}/ws/live/",
                additional_headers={"Cookie": cookies, "Origin": site.url},
                max_size=None,
                proxy=None,
            )
            pages.append(await stack.enter_async_context(page))

        async def hear(number: int) -> None:
            while '"type":"snapshot"' not in str(await pages[number].recv())[:100]:
                pass
            order.append(number)

        for page in pages:
            await page.send(json.dumps({"type": "follow", "worklist": True}))
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(hear(number) for number in range(len(pages))))
    return order


def snapshot_of(page: Any) -> bool:
    page.send(json.dumps({"type": "follow", "worklist": True}))
    while json.loads(page.recv(timeout=PATIENCE))["type"] != "snapshot":
        pass
    return True
