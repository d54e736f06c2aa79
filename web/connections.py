"""A connection over HTTP that may not be held open without a request.

uvicorn gives a client any time for the headers of a request, and takes any number of clients that
send none: some hundred of them, each with half a header, keep everybody else out. What begins once
the headers are there, a body (`web.bodies`), an answer, a call that waits, a socket, is not
counted here and never cut.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import h11
import structlog
from django.conf import settings
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Connections without a whole request that one process keeps, those between two requests among
#: them. With one more, of the address that has most of them the one that has waited longest is
#: closed: a browser's headers take milliseconds, so it is no reader's. No number for each address:
#: behind a proxy all come from one.
MAX_WAITING = 512

#: Open files that the process asks for, if its hard limit allows: many more than connections.
FILES = 65_536

#: Seconds between two log lines about too many: the one who opens them must not fill the disk.
SAID_EVERY = 60.0

_LATE = b"The request did not arrive in time."

log = structlog.get_logger(__name__)

#: In the order in which they began to wait.
_waiting: dict[Connection, None] = {}


def many_files() -> None:
    """Raise the soft limit of open files: the usual 1024 is less than the readers of a clinic."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # Where even that is forbidden, the site serves as many as it may.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Connection(H11Protocol):
    """uvicorn's connection, with a time for the headers of each request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()
        self._count()

    def data_received(self, data: bytes) -> None:
        """Read; the time runs from the first byte of a request, and not anew with each."""
        if self._late is None and self.conn.their_state is h11.IDLE:
            self._wait()
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, which may have been sent already."""
        super().on_response_complete()
        self._look()
        if self.conn.their_state is h11.IDLE:
            self._count()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over: a socket may be silent for as long as it likes."""
        self._waits_no_more()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._waits_no_more()
        super().connection_lost(exc)

    def end(self) -> None:
        """Close the connection, on which no request is answered now."""
        self._waits_no_more()
        self.transport.close()

    @property
    def address(self) -> str:
        """Whose connection it is, as far as that is known."""
        return self.client[0] if self.client else ""

    def _look(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._waits_no_more()
        elif self._late is None and self.conn.trailing_data[0]:
            self._wait()

    def _wait(self) -> None:
        seconds = settings.SITE.header_timeout_seconds
        self._late = self.loop.call_later(seconds, self._too_late)

    def _count(self) -> None:
        if self.transport.is_closing():
            return
        while len(_waiting) >= MAX_WAITING:
            _full()
            longest_of_most(_waiting).end()
        _waiting[self] = None

    def _waits_no_more(self) -> None:
        _waiting.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if self.conn.trailing_data[0] and not self.transport.is_closing():
            self._say()
        self.end()

    def _say(self) -> None:
        """408: a client that is slow and not hostile may want to know."""
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(_LATE)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=408, headers=headers, reason=b"Request Timeout"),
            h11.Data(data=_LATE),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")


class Waits(Protocol):
    """A connection without a whole request."""

    @property
    def address(self) -> str:
        """Whose it is."""


W = TypeVar("W", bound=Waits)


def longest_of_most(waiting: Collection[W]) -> W:
    """The one to close, of some in their order: who opens many must not close the others'."""
    counts = Counter(one.address for one in waiting)
    most = max(counts.values())
    return next(one for one in waiting if counts[one.address] == most)


class _Said:
    """When it was last said that too many wait."""

    at = -SAID_EVERY


def _full() -> None:
    now = time.monotonic()
    if now - _Said.at >= SAID_EVERY:
        _Said.at = now
        closed = "the oldest of the address that has most"
        log.warning("connections_full", waiting=len(_waiting), closed=closed)
