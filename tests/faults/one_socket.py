"""One socket that follows one request and is never opened again."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

from infra.demo.reader import Reader, ended
from tests.faults.audience import requests_told
from tests.faults.press import Click

#: Seconds for which it listens on after an outcome: what is told twice comes at once.
_AFTERWARDS = 1.0


class OneSocket:
    """What one socket tells."""

    def __init__(self, reader: Reader, click: Click) -> None:
        self._reader = reader
        self._request_id = click.request_id
        #: Every version, in the order in which they came; grows while it listens.
        self.versions: list[int] = []
        #: When it told an outcome, by `time.monotonic`.
        self.ended: float | None = None

    def listen(self, patience: float, *, wait: float = 0.0) -> list[int]:
        """Open it after `wait` seconds and return every version up to the outcome, and repeats.

        Raises `TimeoutError` where no outcome was told in `patience` seconds.
        """
        time.sleep(wait)
        deadline = time.monotonic() + patience
        with self._reader.socket() as socket:
            socket.send(json.dumps({"type": "follow", "request_ids": [self._request_id]}))
            while (now := time.monotonic()) < deadline:
                if self.ended is not None and now > self.ended + _AFTERWARDS:
                    return self.versions
                with suppress(TimeoutError):
                    self._hear(json.loads(socket.recv(timeout=0.5)))
        raise TimeoutError(f"a socket told only {self.versions}")

    def _hear(self, message: dict[str, Any]) -> None:
        for request in requests_told(message):
            self.versions.append(request["version"])
            if ended(request) and self.ended is None:
                self.ended = time.monotonic()
