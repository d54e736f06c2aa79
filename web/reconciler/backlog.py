"""Whether what waits in a pool's queues explains that nothing is told of a request. Synchronous.

How many messages are ready does not say whose they are, and a lab can put some there itself, for
ever. So a number is never the last word. A queue is worked off in order: a backlog explains the
silence of a request as long as it moves, and has not moved past it. What a lab took and left lies
at the head again: labs are past it once they have taken another since.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Min, Q
from django.utils import timezone

from messages.lab import SERVING
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.labs.registry import heard
from web.reconciler.broker_view import Waiting
from web.reconciler.unclaimed import someone_online
from web.reconciler.unfinished import unfinished

#: States in which a lab has the message, or has lost it, or it lies at the head again.
_TAKEN = (State.ACCEPTED, State.DOWNLOADING, State.INFERRING, State.UPLOADING)

#: Stands for the seconds since labs came further where nobody has seen it: 30 days, more than any
#: request may take.
_UNSEEN_S = 30 * 24 * 3600.0


@dataclass(frozen=True)
class Backlog:
    """What may wait in a pool's queues, and how far its labs have come."""

    #: When the newest request was made of which a lab has told, among those that are no older than
    #: what is still open; None where there is none.
    reached: datetime | None
    #: For how long labs were there that take requests, and came no further.
    standing_s: float
    #: Seconds since a moment after which labs were seen to come further.
    further_s: float
    #: Whether a lab is there that takes requests.
    is_served: bool

    @property
    def unexplained(self) -> Q:
        """Requests whose silence it does not explain."""
        if not self.is_served:
            # It waits for a lab, and so would a copy of it.
            return Q(pk__in=())
        further_at = timezone.now() - timedelta(seconds=self.further_s)
        # A lab that works ends what it has within its deadline, and takes the next. One that was
        # free would have taken first what has come back to the head.
        beyond = Q(deadline_s__lte=int(self.standing_s)) | Q(
            state__in=_TAKEN, changed_at__lt=further_at
        )
        if self.reached is None:
            return beyond
        # One that was made after this one lay in the queue was taken: this one lies there no more.
        return (
            beyond
            | Q(state=State.PUBLISHED, published_at__lt=self.reached)
            | Q(state=State.WAITING, next_try_at__lt=self.reached)
        )


@dataclass(frozen=True)
class _Seen:
    """How far the labs of a pool had come at the last look. Seconds of the monotonic clock."""

    reached: datetime | None
    standing_since: float
    further_since: float
    looked_at: float


class Backlogs:
    """Remembers for each pool since when its labs came no further, as long as it is looked at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def look(self, pool: str, depth: Waiting | None) -> Backlog | None:
        """What may wait there; None where nothing does. Without a `depth` anything may."""
        now = self._clock()
        found = _reached(pool)
        seen = self._seen.get(pool) or _Seen(found, now, now - _UNSEEN_S, now)
        if found is not None and (seen.reached is None or found > seen.reached):
            # At some moment since the last look: what a lab has taken before that is older.
            seen = _Seen(found, now, seen.looked_at, now)
        is_served = _someone_serves(pool)
        # While nobody serves nobody is there who could have come further.
        standing_since = seen.standing_since if is_served else now
        self._seen[pool] = replace(seen, standing_since=standing_since, looked_at=now)
        if _is_empty(pool, depth):
            return None
        return Backlog(seen.reached, now - standing_since, now - seen.further_since, is_served)

    def keep(self, pools: Iterable[str]) -> None:
        """Forget all other pools: what happened there meanwhile was not seen."""
        self._seen = {pool: self._seen[pool] for pool in pools}


def _reached(pool: str) -> datetime | None:
    # One that was made before all that are open was not made while one of them waited, and without
    # this limit the database would go through all of a pool of which no lab ever told.
    oldest = unfinished().filter(pool=pool).aggregate(at=Min("created_at"))["at"]
    if oldest is None:
        return None
    rows = InferenceRequest.objects.filter(pool=pool, sequence__gte=0, created_at__gte=oldest)
    taken = rows.order_by("-created_at")
    return taken.values_list("created_at", flat=True).first()


def _someone_serves(pool: str) -> bool:
    return heard(pool).filter(condition=SERVING).exists()


def _is_empty(pool: str, depth: Waiting | None) -> bool:
    if depth is None or depth.ready:
        return False
    # With consumers and without heartbeats labs may work and not be able to tell.
    return not depth.consumers or someone_online(pool)
