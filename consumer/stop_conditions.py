"""What ends a run before its work is done: the reader's cancel, the deadline, the lab's stop."""

from __future__ import annotations

import time
from threading import Event

from consumer.errors import DeadlineExceeded, LabStopping, RequestCancelled

#: Seconds between two looks of whoever waits in a run. A cancelled inference must be dead within
#: one second, and ending its process takes up to half of one.
CHECK_SECONDS = 0.2


class StopConditions:
    """Asked between all steps of a run and wherever it waits. Used by one job thread.

    Without arguments nothing ever ends the run: a run by hand.
    """

    def __init__(self, *, cancelled: Event | None = None, stopping: Event | None = None) -> None:
        self._cancelled = cancelled or Event()
        self._stopping = stopping or Event()
        self._seconds = 0
        self._deadline: float | None = None
        self._too_late = False

    def set_deadline(self, seconds: int) -> None:
        """Set the deadline, counted from now."""
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def check(self) -> None:
        """Return if the run may go on.

        Raises `LabStopping`, `RequestCancelled` or `DeadlineExceeded`.
        """
        if self._stopping.is_set():
            raise LabStopping("the lab is stopping")
        if self._too_late:
            return
        if self._cancelled.is_set():
            raise RequestCancelled("the request was cancelled")
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise DeadlineExceeded(f"the run took longer than {self._seconds} s")

    def ignore_cancel_and_deadline(self) -> None:
        """Obey neither cancel nor deadline from now on: the run stores its result."""
        self._too_late = True

    def heed_cancel_and_deadline(self) -> None:
        """Obey all three again: what was begun to be stored failed, and nothing is promised."""
        self._too_late = False

    @property
    def too_late(self) -> bool:
        """Whether a cancel comes too late."""
        return self._too_late
