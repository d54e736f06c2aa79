"""How much of the archive's content a process works on at once: its memory is one for all readers.

What is small needs no leave. What is not waits for one of a few places: to read and to parse it is
the work of one processor anyway, so that nobody is served later for it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from web.orthanc.errors import TooMuchAtOnce
from web.orthanc.time_budget import seconds_left

#: Things that are worked on at once. One takes some hundred MB at the very most
#: (`web.orthanc.connection`, `web.orthanc.stored_file`).
PLACES = 2

#: Seconds to wait for one where no page sets a limit.
WAIT_SECONDS = 60.0

#: Those that may wait for one. Each holds a thread, and most a connection to the archive, of which
#: the pages need some (`web.orthanc.connection.MAX_CONNECTIONS`).
MOST_WAITING = 8

_places = threading.BoundedSemaphore(PLACES)
_waiting = threading.BoundedSemaphore(MOST_WAITING)
_held = threading.local()


class Leave:
    """The leave of one piece of work for what is large; a thread has one at a time."""

    def __init__(self) -> None:
        self._taken = False

    def take(self) -> None:
        """Wait for a place, unless this thread has one. Raises `TooMuchAtOnce`."""
        if getattr(_held, "place", False):
            return
        if not _places.acquire(blocking=False):
            self._wait()
        self._taken = _held.place = True

    @staticmethod
    def _wait() -> None:
        if not _waiting.acquire(blocking=False):
            raise TooMuchAtOnce("too much of the archive is being read at once")
        try:
            if not _places.acquire(timeout=_time_budget()):
                raise TooMuchAtOnce("too much of the archive is being read at once")
        finally:
            _waiting.release()

    def end(self) -> None:
        """The work is done; a second time does nothing."""
        if self._taken:
            self._taken = _held.place = False
            _places.release()


@contextmanager
def on_demand() -> Iterator[Leave]:
    """Work that may turn out to be large: it takes its leave then."""
    leave = Leave()
    try:
        yield leave
    finally:
        leave.end()


@contextmanager
def large() -> Iterator[None]:
    """Work that is large from its beginning. Raises `TooMuchAtOnce`."""
    with on_demand() as leave:
        leave.take()
        yield


def _time_budget() -> float:
    left = seconds_left()
    return WAIT_SECONDS if left is None else left
