"""A lab's clock against that of its archive, as one line of its checklist."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from consumer.checks.archive import check
from consumer.checks.line import Line, State
from consumer.orthanc import Archive


@contextmanager
def dated(date: str | None, status: int = 200) -> Iterator[Archive]:
    """An archive whose every answer bears this time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # Not `send_response`, which adds the time of this machine.
            self.send_response_only(status)
            if date is not None:
                self.send_header("Date", date)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield Archive(f"http://127.0.0.1:{server.server_address[1]}", "lab", "secret")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def clock(date: str | None, status: int = 200) -> Line:
    with dated(date, status) as archive:
        (line,) = [one for one in check(archive, lab="lab1", store=False) if one.noun == "clock"]
    return line


def date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("seconds", [0, 20, -20])
def test_a_clock_that_agrees_with_the_archives_is_right(seconds: int) -> None:
    line = clock(date(seconds))
    assert (line.state, line.text) == (State.OK, "within 30 s of the archive's")


@pytest.mark.parametrize(("seconds", "way"), [(3600, "behind"), (-3600, "ahead of")])
def test_a_clock_that_is_far_from_the_archives_is_a_warning_that_says_by_how_much_and_what_helps(
    seconds: int, way: str
) -> None:
    line = clock(date(seconds))
    assert line.state is State.WARNED
    words = line.text.split()
    assert abs(int(words[3]) - 3600) <= 5
    assert line.text.endswith(f" s {way} the archive's")
    assert "timedatectl" in line.fix


@pytest.mark.parametrize("said", [None, "yesterday", "Tue, 99 Dec 2026 99:99:99 GMT"])
def test_an_archive_that_names_no_time_is_no_reason_for_a_warning(said: str | None) -> None:
    line = clock(said)
    assert line.state is State.SKIPPED
    assert "Date" in line.text


def test_a_zone_that_is_not_known_is_read_as_utc() -> None:
    assert clock(date(0).replace("GMT", "-0000")).state is State.OK


def test_where_the_lab_is_not_let_in_the_clock_is_not_looked_at() -> None:
    line = clock(date(0), status=401)
    assert (line.state, line.text) == (State.SKIPPED, "skipped, needs archive credentials")
