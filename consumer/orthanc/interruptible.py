"""Requests to the archive that can be interrupted: what ends a run is checked while it waits.

A request of the ``requests`` library blocks its thread: for a minute while the archive says
nothing, and for hours while its answer trickles. A run must end sooner when it is cancelled.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any

from consumer.stop_conditions import CHECK_SECONDS

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

#: Bytes sent at once: a TLS record. What a check interrupts is sent again from its start, as TLS
#: wants it.
_PIECE = 16 * 1024

#: Called by the thread that waits; what it raises ends the request.
StopCheck = Callable[[], None]


def never_stop() -> None:
    """Check nothing: the request ends with its answer or its timeout."""


#: Of the request that this thread makes now.
_check_stop: ContextVar[StopCheck] = ContextVar("check_stop", default=never_stop)


#: Seconds that the archive may take nothing of what this thread sends; None sets no limit.
_silence: ContextVar[float | None] = ContextVar("silence", default=None)


@contextmanager
def interruptible_by(check_stop: StopCheck) -> Iterator[None]:
    """Call `check_stop` several times a second while this thread waits in the block."""
    token = _check_stop.set(check_stop)
    try:
        yield
    finally:
        _check_stop.reset(token)


def check_stop_now() -> None:
    """Call the `check_stop` of the block that this thread is in, if any."""
    _check_stop.get()()


@contextmanager
def sending_timeout(seconds: float) -> Iterator[None]:
    """Let what is sent in the block wait so long for an archive that takes nothing."""
    token = _silence.set(seconds)
    try:
        yield
    finally:
        _silence.reset(token)


class InterruptibleSending(HTTPConnection):
    """A connection that checks between its pieces; stands before urllib3's own among the bases."""

    def send(self, data: Any) -> None:
        """Send bytes; raises `TimeoutError` when the archive takes none of them for too long."""
        if self.sock is None:
            self.connect()
        before = self.sock.gettimeout()
        self.sock.settimeout(CHECK_SECONDS)
        left = memoryview(data).cast("B")
        began = time.monotonic()
        try:
            while left:
                check_stop_now()
                try:
                    sent = self.sock.send(left[:_PIECE])
                except TimeoutError:
                    limit = _silence.get()
                    if limit is not None and time.monotonic() - began > limit:
                        raise
                else:
                    left = left[sent:]
                    began = time.monotonic()
        finally:
            self.sock.settimeout(before)


class InterruptibleResponse(HTTPResponse):
    """An answer whose reader checks between its pieces; for `http.client`'s ``response_class``."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        # Nothing has been read yet, so nothing is lost with the buffer that goes.
        self.fp = io.BufferedReader(_InterruptibleSocket(sock, self.fp.detach()))


class _InterruptibleSocket(io.RawIOBase):
    """Reads from a socket, waiting in pieces; keeps the socket's own limit of silence.

    It does not ask the kernel first whether there is something to read: on a TLS socket that may
    be a record without a byte for us, and the read would wait after all.
    """

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        #: Holds the socket open until it is closed itself, as `http.client` expects.
        self._raw = raw
        self._silence = sock.gettimeout()
        # urllib3 sets it anew for the next request on the same connection.
        sock.settimeout(CHECK_SECONDS)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: WriteableBuffer) -> int:
        began = time.monotonic()
        while True:
            check_stop_now()
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                if self._silence is not None and time.monotonic() - began > self._silence:
                    raise

    def close(self) -> None:
        self._raw.close()
        super().close()
