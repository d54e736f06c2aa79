"""A page that stays open: follows a request over the socket and comes back after each loss."""

from __future__ import annotations

import threading
from typing import Any

from websockets.exceptions import WebSocketException

from infra.demo.reader import PageRefused, Reader, ended

#: Seconds between a lost socket and the next.
_PAUSE = 0.3

#: Seconds for which one socket is used at most.
_TURN = 5.0


class Witness:
    """What a page that follows one request has been told, version by version."""

    def __init__(self, reader: Reader, request_id: str) -> None:
        self.request_id = request_id
        self._reader = reader
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._told: list[dict[str, Any]] = []
        #: Sockets that have told it something, and how many of those were lost.
        self.sockets = self.drops = 0
        self._thread = threading.Thread(target=self._follow, name="witness", daemon=True)
        self._thread.start()

    @property
    def last(self) -> dict[str, Any] | None:
        """The newest version that it was told."""
        with self._lock:
            return self._told[-1] if self._told else None

    @property
    def ends(self) -> list[str]:
        """The outcomes that it was told, without repeats."""
        with self._lock:
            states = [told["state"] for told in self._told if ended(told)]
        return list(dict.fromkeys(states))

    def stop(self) -> None:
        """Close the page."""
        self._stop.set()
        self._thread.join(timeout=2 * _TURN)

    def _follow(self) -> None:
        while not self._stop.is_set():
            heard = False
            try:
                for told in self._reader.follow(self.request_id, _TURN):
                    if not heard:
                        heard = True
                        self.sockets += 1
                    with self._lock:
                        if not self._told or told["version"] > self._told[-1]["version"]:
                            self._told.append(told)
                    if self._stop.is_set():
                        return
            except (PageRefused, WebSocketException, OSError, TimeoutError):
                self.drops += heard
                self._stop.wait(_PAUSE)
