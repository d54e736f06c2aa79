"""Whose turn it is to be looked for in the archive, and how long a pool may take in one turn.

Remembered in one process. Another one that takes its place begins anew, which costs a turn.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

#: Seconds that the looks for requests of one pool may take in one turn of the reconciler, over all
#: its rules; the rest is for the next turn. The last look may take
#: `web.results.stored_result.RESULT_SECONDS` more.
POOL_SECONDS = 10.0


class ArchiveTurns:
    """Requests in turn: those at which the archive failed last come last, and so do their pools."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pools: Mapping[UUID, str] = {}
        #: When a look failed last, by request and by pool.
        self._failed: dict[UUID, float] = {}
        self._failed_in: dict[str, float] = {}
        #: Seconds that the looks of this turn took, by pool.
        self._spent: dict[str, float] = {}

    def begin(self) -> None:
        """A turn begins."""
        self._spent.clear()

    def in_turn(self, found: Iterable[UUID], pools: Mapping[UUID, str]) -> Iterator[UUID]:
        """What is to be looked for, one after the other, without pools that had their time.

        `pools`: of all requests that have not ended; what failed of others is forgotten.
        """
        self._pools = pools
        self._failed = {pk: at for pk, at in self._failed.items() if pk in pools}
        for pk in sorted(found, key=self._last):
            if self._spent.get(self._pool(pk), 0.0) < POOL_SECONDS:
                yield pk

    @contextmanager
    def looking(self, request_id: UUID) -> Iterator[None]:
        """A look for its result, which fails where it raises."""
        try:
            with self.timed(request_id):
                yield
        except Exception:
            self._failed[request_id] = self._failed_in[self._pool(request_id)] = self._clock()
            raise
        self._failed.pop(request_id, None)

    @contextmanager
    def timed(self, request_id: UUID) -> Iterator[None]:
        """Whatever is asked of the archive for it: its pool's time."""
        began, pool = self._clock(), self._pool(request_id)
        try:
            yield
        finally:
            self._spent[pool] = self._spent.get(pool, 0.0) + self._clock() - began

    def _pool(self, request_id: UUID) -> str:
        return self._pools.get(request_id, "")

    def _last(self, request_id: UUID) -> tuple[float, float]:
        failed_in = self._failed_in.get(self._pool(request_id), -math.inf)
        return self._failed.get(request_id, -math.inf), failed_in
