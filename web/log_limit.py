"""Lines of the log that a stranger can cause without end: each now and then, with a count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

#: Seconds between two lines of the same kind about the same queue.
QUIET_SECONDS = 10.0

#: Kinds and queues that are remembered at once: far more than there are.
_MOST_KEPT = 1_000


class LogLimit:
    """Writes a line unless one of its kind was just written. Any thread may call it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: By event and queue: when it was last written, and how many it has left out since.
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def write(
        self, line: Callable[..., object], event: str, *, queue: str, count: int, **fields: Any
    ) -> None:
        """Write it by `line`, a method of a log; or add its `count` to what the next leaves out."""
        with self._lock:
            now = self._clock()
            at, left_out = self._last.get((event, queue), (now - QUIET_SECONDS, 0))
            if now - at < QUIET_SECONDS:
                self._last[event, queue] = at, left_out + count
                return
            if len(self._last) >= _MOST_KEPT:
                self._last.clear()
            self._last[event, queue] = now, 0
        line(event, queue=queue, count=count, left_out=left_out, **fields)


#: Of this process.
limit = LogLimit()
