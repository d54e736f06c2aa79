"""Looks at held requests: whose turn it is, and how long what is absent is waited for. Synchronous.

Remembered in one process. Another one that takes its place begins anew, which costs a few looks
and once more the patience with what is absent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from uuid import UUID

from messages.failures import FailureCode
from web.orthanc.archive import Orthanc
from web.reconciler import arriving
from web.reconciler.arriving import Finding

#: Seconds for which a chosen series may be absent before its request ends. Whoever deletes a study
#: and sends it again under the same ids leaves such a gap; what is gone for good is told a minute
#: later than it could be.
ABSENT_SECONDS = 60.0

#: Requests that one turn looks at.
LOOKS = 50

#: Seconds after which a turn begins no further look. The last one may take
#: `web.orthanc.time_budget.PAGE_SECONDS` more, for which the other rules of the reconciler wait.
LOOKS_SECONDS = 10.0


class Releases:
    """The held requests in turn: those that were looked at last come last."""

    def __init__(
        self, orthanc: Orthanc | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._orthanc = orthanc
        self._clock = clock
        #: When a request was looked at last, without its release.
        self._looked: dict[UUID, float] = {}
        #: Since when a chosen series of a request is absent.
        self._absent: dict[UUID, float] = {}

    def due(self) -> Iterator[UUID]:
        """Requests to look at in this turn, one after the other; it ends when its time is over.

        First those that no look was at yet, the oldest before the others; then those whose last
        look is the longest ago. So what the archive cannot answer keeps nobody behind it waiting.
        Not inside a transaction: it speaks with the archive. Raises `ArchiveUnavailable`.
        """
        whole = arriving.whole(self._orthanc)
        # What has ended since, or grows again, begins anew.
        for remembered in (self._looked, self._absent):
            for gone in remembered.keys() - set(whole):
                del remembered[gone]
        whole.sort(key=lambda pk: self._looked.get(pk, -math.inf))
        end = self._clock() + LOOKS_SECONDS
        return takewhile(lambda _: self._clock() < end, whole[:LOOKS])

    def look(self, request_id: UUID) -> Finding | None:
        """As `arriving.look`; None also while a chosen series has not been absent for long."""
        now = self._looked[request_id] = self._clock()
        finding = arriving.look(request_id, self._orthanc)
        if finding is None or finding.code != FailureCode.SERIES_NOT_FOUND:
            self._absent.pop(request_id, None)
            return finding
        since = self._absent.setdefault(request_id, now)
        return finding if now - since >= ABSENT_SECONDS else None
