"""A thread that stops where it is told to, and goes on when it is told to: one at a time."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread

#: Seconds after which a thread that says nothing hangs: a step takes a millisecond.
_PATIENCE = 60.0


class Paced:
    """Runs `work` in a thread of its own, up to the first `pause` in it, and then by `go_on`.

    Several of them never run at the same time: what they share needs no lock, and the same
    schedule always does the same.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        #: Where it stands; None once `work` has ended.
        self.at: str | None = None
        self._turns: SimpleQueue[BaseException | None] = SimpleQueue()
        self._places: SimpleQueue[str | None] = SimpleQueue()
        self._work = work
        self._thread = Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Go to the first pause."""
        self._thread.start()
        self.at = self._places.get(timeout=_PATIENCE)

    def go_on(self, fault: BaseException | None = None) -> None:
        """Go to the next pause, or to the end. A `fault` is raised where it stands."""
        self._turns.put(fault)
        self.at = self._places.get(timeout=_PATIENCE)
        if self.at is None:
            self._thread.join(_PATIENCE)

    def pause(self, place: str) -> None:
        """Stop here: called by `work`."""
        self._places.put(place)
        fault = self._turns.get()
        if fault is not None:
            raise fault

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._places.put(None)
