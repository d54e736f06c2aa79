"""Strangers in front of the served site: bodies and headers that are large, slow or never end."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from tests.integration.lab import store_small_study
from tests.integration.nodes import TestBroker
from tests.integration.served import ServedSite, served_site
from web.connections import MAX_WAITING

#: What an attack sends: as much as was on the disk before the answer.
LARGE = 100 * 1024 * 1024

#: Bytes that a body may have here, and seconds for body and headers: short, for the tests' sake.
LIMIT = 65_536
BODY_SECONDS, HEADER_SECONDS = 2.0, 1.0

#: Seconds to wait for what has a limit of its own.
PATIENCE = 60.0

API = "/api/v1/requests"
OLD = "/api/mri/segmentation/requests/"


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, rabbit: TestBroker, orthanc: OrthancNode
) -> Iterator[ServedSite]:
    limits = {
        "MAX_BODY_BYTES": str(LIMIT),
        "BODY_TIMEOUT_SECONDS": str(BODY_SECONDS),
        "HEADER_TIMEOUT_SECONDS": str(HEADER_SECONDS),
    }
    root = tmp_path_factory.mktemp("site")
    with served_site(root, rabbit, orthanc, LEGACY_WAIT_SECONDS="8", **limits) as site:
        yield site


@contextlib.contextmanager
def line(site: ServedSite) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE) as wire:
        yield wire


def head(path: str, *more: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *more, "", ""]
    return "\r\n".join(lines).encode()


def answer(wire: socket.socket) -> tuple[int, str]:
    """Status and body of the one answer, which ends with the connection."""
    text = bytearray()
    # The rest of a refused body is thrown away for a while, and then the line is cut.
    with contextlib.suppress(ConnectionResetError):
        while part := wire.recv(65_536):
            text += part
    start, _, body = bytes(text).partition(b"\r\n\r\n")
    return int(start.split(b" ")[1]), body.decode()


def poured(wire: socket.socket, total: int, frame: Any = lambda part: part) -> int:
    """Send so many bytes, or until the other end has heard enough; how many were sent."""
    part, sent = bytes(256 * 1024), 0
    with contextlib.suppress(ConnectionError):
        while sent < total:
            wire.sendall(frame(part))
            sent += len(part)
    return sent


def chunk(part: bytes) -> bytes:
    return f"{len(part):x}\r\n".encode() + part + b"\r\n"


def spilled(site: ServedSite) -> int:
    """Bytes that the process has in files without a name, as temporary ones are."""
    total = 0
    for file in Path(f"/proc/{site.service.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            # Not the ones of shared memory.
            if "(deleted)" in (name := str(file.readlink())) and "memfd" not in name:
                total += file.stat().st_size
    return total


def test_a_large_body_that_says_its_size_is_refused_before_it_is_sent(site: ServedSite) -> None:
    for path in (API, "/login/", "/nowhere", OLD):
        with line(site) as wire:
            wire.sendall(head(path, f"Content-Length: {5 * LARGE}", "Expect: 100-continue"))
            wire.settimeout(PATIENCE)
            start = wire.recv(65_536)
        assert start.startswith(b"HTTP/1.1 413 "), (path, start)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_large_body_is_answered_413_and_leaves_nothing_on_the_disk(
    site: ServedSite, chunked: bool
) -> None:
    how = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {LARGE}"
    with line(site) as wire:
        wire.sendall(head(API, how, "Accept-Language: ko"))
        poured(wire, LARGE // 2, chunk if chunked else bytes)
        on_disk = spilled(site)
        poured(wire, LARGE // 2, chunk if chunked else bytes)
        if chunked:
            with contextlib.suppress(ConnectionError):
                wire.sendall(b"0\r\n\r\n")
        status, body = answer(wire)
    assert on_disk == 0
    assert (status, json.loads(body)["error"]["message"]) == (413, "요청이 너무 큽니다.")


def test_a_refusal_under_the_old_addresses_has_the_old_form(site: ServedSite) -> None:
    with line(site) as wire:
        wire.sendall(head(OLD, f"Content-Length: {LIMIT + 1}") + bytes(LIMIT + 1))
        status, body = answer(wire)
    assert status == 413
    assert json.loads(body) == {"success": False, "error": "요청이 너무 큽니다."}


def test_a_get_with_a_body_is_bounded_too(site: ServedSite) -> None:
    with line(site) as wire:
        wire.sendall(head("/login/", f"Content-Length: {LIMIT + 1}", method="GET"))
        wire.sendall(bytes(LIMIT + 1))
        assert answer(wire)[0] == 413


def test_a_body_within_the_limit_reaches_its_view(site: ServedSite) -> None:
    # 401 is said by the view: the body was not what kept the call out.
    for content in (b"{" + b" " * (LIMIT - 2) + b"}", iter([b"{", b" " * 1000, b"}"])):
        said = httpx.post(f"{site.url}{API}", content=content, timeout=PATIENCE)
        assert said.status_code == 401


def test_a_body_that_drips_is_answered_408_and_cut(site: ServedSite) -> None:
    for how, drop in (("Content-Length: 1000", b" "), ("Transfer-Encoding: chunked", chunk(b" "))):
        with line(site) as wire:
            wire.sendall(head(API, how, "Accept-Language: en"))
            with contextlib.suppress(ConnectionError):
                dripped(wire, drop)
            status, body = answer(wire)
        assert status == 408
        assert json.loads(body)["error"]["message"] == "The request did not arrive in time."


def dripped(wire: socket.socket, drop: bytes) -> None:
    """One drop after the other until the site answers."""
    wire.settimeout(0.2)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        wire.sendall(drop)
        with contextlib.suppress(TimeoutError):
            wire.recv(1, socket.MSG_PEEK)
            break
    wire.settimeout(PATIENCE)


def test_more_slow_bodies_from_one_address_than_a_clinic_sends_are_refused(
    site: ServedSite,
) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(line(site)) for _ in range(40)]
        for wire in wires:
            wire.sendall(head(API, "Content-Length: 1000"))
        statuses = [answer(wire)[0] for wire in wires]
    assert statuses.count(429) == 8
    assert statuses.count(408) == 32


def test_half_sent_headers_do_not_keep_a_connection(site: ServedSite) -> None:
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(line(site)) for _ in range(40)]
        for wire in wires:
            wire.sendall(b"GET /login/ HTTP/1.1\r\nHost: 127")
        for wire in wires:
            assert answer(wire) == (408, "The request did not arrive in time.")


def test_headers_that_drip_do_not_keep_a_connection(site: ServedSite) -> None:
    with line(site) as wire:
        wire.sendall(b"GET /login/ HTTP/1.1\r\nX-Slow: ")
        with contextlib.suppress(ConnectionError):
            dripped(wire, b"a")
        assert answer(wire)[0] == 408


def test_a_connection_that_says_nothing_is_closed(site: ServedSite) -> None:
    with line(site) as wire:
        assert wire.recv(1) == b""


def test_a_second_request_on_a_connection_has_its_own_time(site: ServedSite) -> None:
    with line(site) as wire:
        # The second begins together with the first, and never ends.
        wire.sendall(head("/static/labrelay/base.css", method="GET") + b"GET /login/ HT")
        text = bytearray()
        while part := wire.recv(65_536):
            text += part
    assert text.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in text


def test_a_stranger_who_opens_connections_holds_a_bounded_number_and_readers_come_in(
    site: ServedSite,
) -> None:
    with contextlib.ExitStack() as stranger:
        for _ in range(900):
            stranger.enter_context(line(site)).sendall(b"GET /")
        # Those without a request, and a few: to the broker, the archive, the loop's own.
        wait_until(lambda: _sockets(site) < MAX_WAITING + 40, "close the oldest", PATIENCE)
        for _ in range(3):
            assert httpx.get(f"{site.url}/login/", timeout=PATIENCE).status_code == 200
    assert '"connections_full"' in site.log()


def _sockets(site: ServedSite) -> int:
    held = 0
    for file in Path(f"/proc/{site.service.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            held += str(file.readlink()).startswith("socket:")
    return held


def test_a_call_that_waits_and_a_socket_outlive_the_limits_of_headers_and_bodies(
    site: ServedSite, orthanc: OrthancNode
) -> None:
    study = store_small_study(orthanc)
    series = [item.series_id for item in study.inputs]
    with site.reader() as reader, reader.socket() as page:
        page.send(json.dumps({"type": "follow", "worklist": True}))
        assert json.loads(page.recv(timeout=PATIENCE))["type"] == "snapshot"
        # Nobody works: the call waits for as long as it may, many times the limits.
        waited = reader.post(
            f"/api/mri/segmentation/series/{series[0]}/segment/", {"sequence_series_ids": series}
        )
        assert (waited.status_code, waited.json()["status"]) == (504, "timeout")
        page.send(json.dumps({"type": "follow", "worklist": True}))
        while json.loads(page.recv(timeout=PATIENCE))["type"] != "snapshot":
            pass
