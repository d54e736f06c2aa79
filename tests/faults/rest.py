"""Whether something has been so for a while, and not only in the moment of a look."""

from __future__ import annotations

import time
from collections.abc import Callable

#: A quorum queue counts what it holds every 5 s, and rabbitmqctl shows the last count: two counts
#: and a second, so that a look before the first of them is not the only one.
REST_SECONDS = 11.0


class Rest:
    """True once `still` has been true at every look for so many seconds."""

    def __init__(
        self,
        still: Callable[[], bool],
        seconds: float = REST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._still = still
        self._seconds = seconds
        self._clock = clock
        self._since: float | None = None

    def __call__(self) -> bool:
        """Look once."""
        if not self._still():
            self._since = None
            return False
        if self._since is None:
            self._since = self._clock()
        return self._clock() - self._since >= self._seconds
