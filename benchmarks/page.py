"""A page without a browser: follows the socket in a thread and notes when it hears what."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed

from infra.demo.reader import Reader, ended


class Page:
    """Follows all requests. Times are seconds since the epoch, as in the logs."""

    def __init__(self, reader: Reader) -> None:
        self._socket = reader.socket()
        self._news = threading.Condition()
        self._heard: dict[str, dict[str, float]] = defaultdict(dict)
        self._last: dict[str, dict[str, Any]] = {}
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._socket.send(json.dumps({"type": "follow", "worklist": True}))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._thread.join()

    def outcome(self, request_id: str, timeout: float) -> dict[str, Any]:
        """Wait for the end of a request; raises `TimeoutError`, or `RuntimeError` if it failed."""

        def is_over() -> bool:
            return request_id in self._last and ended(self._last[request_id])

        with self._news:
            if not self._news.wait_for(is_over, timeout):
                raise TimeoutError(f"request {request_id} did not end within {timeout:.0f} s")
            request = self._last[request_id]
        if request["state"] != "completed":
            raise RuntimeError(f"request {request_id} ended as {request['state']}")
        return request

    def heard(self, request_id: str, states: frozenset[str]) -> float:
        """When the page first heard that the request is in one of these states."""
        with self._news:
            return min(at for state, at in self._heard[request_id].items() if state in states)

    def _listen(self) -> None:
        try:
            for text in self._socket:
                now = time.time()
                message = json.loads(text)
                if message["type"] != "event":
                    continue
                request = message["request"]
                with self._news:
                    self._heard[request["request_id"]].setdefault(request["state"], now)
                    self._last[request["request_id"]] = request
                    self._news.notify_all()
        except ConnectionClosed:
            return
