"""One page that stays open and follows many requests over one socket, as a worklist does.

It keeps its socket until that is lost: what it is told, it is told by a site that pushes.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from websockets.exceptions import WebSocketException

from infra.demo.reader import PageRefused, Reader, ended

#: Requests that one page follows: under what one socket may.
ROOM = 150

#: Seconds between a lost socket and the next. A site takes two sockets a second of one reader,
#: for all of that reader's pages.
PAUSE = 2.0

#: Seconds for which nothing may come before the page looks whether it is to follow more.
_QUIET = 1.0


class Audience:
    """What one page was told of each of its requests, version by version."""

    def __init__(self, reader: Reader, pause: float = PAUSE) -> None:
        """`pause` is in seconds, between a lost socket and the next."""
        self._reader = reader
        self._pause = pause
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._wanted: list[str] = []
        self._last: dict[str, dict[str, Any]] = {}
        self._ends: dict[str, list[str]] = {}
        #: Sockets that have told something, and how many of those were lost.
        self.sockets = self.drops = 0
        self._thread = threading.Thread(target=self._watch, name="audience", daemon=True)
        self._thread.start()

    @property
    def full(self) -> bool:
        """Whether this page follows as many as it may."""
        with self._lock:
            return len(self._wanted) >= ROOM

    def follow(self, request_id: str) -> None:
        """Follow this one too."""
        with self._lock:
            if request_id not in self._wanted:
                self._wanted.append(request_id)

    def last(self, request_id: str) -> dict[str, Any]:
        """The newest version that the page was told; empty if none."""
        with self._lock:
            return self._last.get(request_id, {})

    def ends(self, request_id: str) -> list[str]:
        """The outcomes that the page was told, without repeats."""
        with self._lock:
            return list(dict.fromkeys(self._ends.get(request_id, [])))

    def seat(self, request_id: str) -> Seat:
        """What the page was told of one request, as a page of its own."""
        return Seat(self, request_id)

    def stop(self) -> None:
        """Close the page."""
        self._stop.set()
        self._thread.join(timeout=30.0)

    def _watch(self) -> None:
        while not self._stop.is_set():
            before = self.sockets
            try:
                with self._reader.socket() as socket:
                    self._use(socket)
            except (PageRefused, WebSocketException, OSError, TimeoutError):
                self.drops += self.sockets - before
                self._stop.wait(self._pause)

    def _use(self, socket: Any) -> None:
        followed, said, heard = 0, 0.0, False
        while not self._stop.is_set():
            with self._lock:
                new = self._wanted[followed:]
            # A site takes two messages a second over one socket.
            if new and time.monotonic() - said > _QUIET:
                said = time.monotonic()
                socket.send(json.dumps({"type": "follow", "request_ids": new}))
                followed += len(new)
            try:
                told = requests_told(json.loads(socket.recv(timeout=_QUIET)))
            except TimeoutError:
                continue
            self._hear(told)
            if told and not heard:
                heard = True
                self.sockets += 1

    def _hear(self, told: list[dict[str, Any]]) -> None:
        with self._lock:
            for request in told:
                name = request["request_id"]
                if request["version"] <= self._last.get(name, {}).get("version", 0):
                    continue
                self._last[name] = request
                if ended(request):
                    self._ends.setdefault(name, []).append(request["state"])


def requests_told(message: dict[str, Any]) -> list[dict[str, Any]]:
    """The requests of a message of the socket: of a snapshot several, of an event one."""
    told = message.get("requests") or [message.get("request")]
    return [request for request in told if request]


class Seat:
    """One request of an audience: what its page was told of that one."""

    def __init__(self, audience: Audience, request_id: str) -> None:
        self.request_id = request_id
        self._audience = audience

    @property
    def last(self) -> dict[str, Any] | None:
        """The newest version that the page was told."""
        return self._audience.last(self.request_id) or None

    @property
    def ends(self) -> list[str]:
        """The outcomes that the page was told, without repeats."""
        return self._audience.ends(self.request_id)

    def stop(self) -> None:
        """Close the page, for all who look at it."""
        self._audience.stop()
