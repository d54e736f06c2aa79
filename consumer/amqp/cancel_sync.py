"""How a job's thread gets to know that it has missed no cancel."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Lock

from consumer.amqp.control import Control
from consumer.errors import LabStopping


class Hearing:
    """Job threads that wait until the main thread has caught up with the cancels."""

    def __init__(self, *, wake: Callable[[], None]) -> None:
        self._wake = wake
        #: Guards what follows.
        self._lock = Lock()
        self._waiting: list[Future[None]] = []
        self._closed = False

    def ask(self) -> None:
        """Wait, without a connection until there is one again. Raises `LabStopping`."""
        heard: Future[None] = Future()
        with self._lock:
            if self._closed:
                raise LabStopping("the lab is stopping")
            self._waiting.append(heard)
        self._wake()
        heard.result()

    def answer(self, control: Control) -> None:
        """Catch up, and tell those who asked before. Main thread only."""
        with self._lock:
            asked = list(self._waiting)
        if not asked:
            return
        # When this fails they go on waiting: the next connection answers them.
        control.catch_up()
        with self._lock:
            self._waiting = [heard for heard in self._waiting if heard not in asked]
        for heard in asked:
            with suppress(InvalidStateError):
                heard.set_result(None)

    def close(self) -> None:
        """Nobody will answer any more: whoever waits gets `LabStopping`."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, []
        for heard in waiting:
            with suppress(InvalidStateError):
                heard.set_exception(LabStopping("the lab is stopping"))
