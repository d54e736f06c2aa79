"""How many answers may be on their way at once: each holds a connection to the archive."""

from __future__ import annotations

import threading
from collections import Counter

#: Of one process. With the 16 of the pages (`web.orthanc.archive`) below the 50 threads that
#: Orthanc has unless told otherwise.
MOST = 32

#: Of one caller, above the 16 that the viewer is told to have (infra/viewer/app-config.js): one
#: reader must not keep the others waiting.
MOST_OF_ONE = 20

#: Seconds to wait for one to become free: a frame takes a fiftieth of that.
WAIT_SECONDS = 2.0

#: Calls of one caller that may wait; each holds a thread (`web.handler`).
MOST_WAITING = 4


class TooManyOpen(Exception):
    """There are as many as there may be, and none has ended in time, or too many wait for that."""


class Slot:
    """One answer on its way."""

    def __init__(self, slots: Slots, key: str) -> None:
        self._slots = slots
        self._key: str | None = key

    def release(self) -> None:
        """The answer has ended, however; a second time does nothing."""
        key, self._key = self._key, None
        if key is not None:
            self._slots.give_back(key)


class Slots:
    """Counts the answers of each caller; from any thread."""

    def __init__(
        self, most: int = MOST, most_of_one: int = MOST_OF_ONE, time_budget: float = WAIT_SECONDS
    ) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._time_budget = time_budget
        self._open: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._freed = threading.Condition()

    def take(self, key: str) -> Slot:
        """Begin an answer for the caller `key`; raises `TooManyOpen`."""
        with self._freed:
            if self._full(key):
                self._wait(key)
            self._open[key] += 1
        return Slot(self, key)

    def _wait(self, key: str) -> None:
        if self._waiting[key] >= MOST_WAITING:
            raise TooManyOpen("too many calls wait already")
        self._waiting[key] += 1
        try:
            if not self._freed.wait_for(lambda: not self._full(key), self._time_budget):
                raise TooManyOpen("too many answers are on their way")
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    def give_back(self, key: str) -> None:
        """One answer of `key` has ended."""
        with self._freed:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
            self._freed.notify_all()

    def open(self) -> int:
        """How many are on their way."""
        with self._freed:
            return self._open.total()

    def _full(self, key: str) -> bool:
        return self._open.total() >= self._most or self._open[key] >= self._most_of_one


#: Of this process.
slots = Slots()
