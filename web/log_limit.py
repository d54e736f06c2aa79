"""Lines of the log that a stranger can cause without end: each now and then, with a count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

#: Seconds between two lines of the same kind about the same queue or lab.
QUIET_SECONDS = 10.0

#: Kinds, with queues and labs, that are remembered at once: far more than there are.
_MOST_KEPT = 1_000


class LogLimit:
    """Writes a line unless one of its kind was just written. Any thread may call it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: By event and queue or lab: when it was last written, and how many it has left out since.
        self._last: dict[tuple[str, str], tuple[float, int]] = {}

    def write(
        self,
        line: Callable[..., object],
        event: str,
        *,
        count: int,
        queue: str | None = None,
        lab: str | None = None,
        **fields: Any,
    ) -> None:
        """Write it by `line`, a method of a log; or add its `count` to what the next leaves out.

        Where no queue is named, each `lab` has lines of its own: a user that the broker has
        checked, never a word that a lab may choose.
        """
        about = queue or lab or ""
        named = {"queue": queue, "lab": lab}
        fields |= {name: value for name, value in named.items() if value is not None}
        with self._lock:
            now = self._clock()
            at, left_out = self._last.get((event, about), (now - QUIET_SECONDS, 0))
            if now - at < QUIET_SECONDS:
                self._last[event, about] = at, left_out + count
                return
            if len(self._last) >= _MOST_KEPT:
                self._last.clear()
            self._last[event, about] = now, 0
        line(event, count=count, left_out=left_out, **fields)


#: Of this process.
limit = LogLimit()
