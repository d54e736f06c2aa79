"""Whether what waits in a pool's queues explains that nothing is told of a request. Synchronous.

How many messages are ready does not say whose they are, and a lab can put some there itself, for
ever. So a number is never the last word. A queue is worked off in order: a backlog explains the
silence of a request as long as it moves, and has not moved past it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q

from messages.lab import SERVING
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.labs.registry import heard
from web.reconciler.broker_view import Waiting
from web.reconciler.unclaimed import someone_online

#: States in which a lab has the message, or has lost it: it waits behind nothing.
_TAKEN = (State.ACCEPTED, State.DOWNLOADING, State.INFERRING, State.UPLOADING)


@dataclass(frozen=True)
class Backlog:
    """What may wait in a pool's queues, and how far its labs have come."""

    #: When the newest request was made of which a lab has told; None where no lab ever has.
    reached: datetime | None
    #: For how long labs were there that take requests, and came no further.
    standing_s: float

    @property
    def unexplained(self) -> Q:
        """Requests whose silence it does not explain."""
        # A lab that works ends what it has within its deadline, and takes the next.
        beyond = Q(state__in=_TAKEN) | Q(deadline_s__lte=int(self.standing_s))
        if self.reached is None:
            return beyond
        # One that was made after this one lay in the queue was taken: this one lies there no more.
        return (
            beyond
            | Q(state=State.PUBLISHED, published_at__lt=self.reached)
            | Q(state=State.WAITING, next_try_at__lt=self.reached)
        )


class Backlogs:
    """Remembers for each pool since when its labs came no further, as long as it is looked at."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: By pool: how far its labs had come, and since when.
        self._reached: dict[str, tuple[datetime | None, float]] = {}

    def look(self, pool: str, depth: Waiting | None) -> Backlog | None:
        """What may wait there; None where nothing does. Without a `depth` anything may."""
        now = self._clock()
        reached, since = self._reached.get(pool, (None, now))
        found = _reached(pool)
        if found is not None and (reached is None or found > reached):
            reached, since = found, now
        if not _someone_serves(pool):
            # Nobody is there who could have come further.
            since = now
        self._reached[pool] = (reached, since)
        return None if _is_empty(pool, depth) else Backlog(reached, now - since)

    def keep(self, pools: Iterable[str]) -> None:
        """Forget all other pools: what happened there meanwhile was not seen."""
        self._reached = {pool: self._reached[pool] for pool in pools}


def _reached(pool: str) -> datetime | None:
    taken = InferenceRequest.objects.filter(pool=pool, sequence__gte=0).order_by("-created_at")
    return taken.values_list("created_at", flat=True).first()


def _someone_serves(pool: str) -> bool:
    return heard(pool).filter(condition=SERVING).exists()


def _is_empty(pool: str, depth: Waiting | None) -> bool:
    if depth is None or depth.ready:
        return False
    # With consumers and without heartbeats labs may work and not be able to tell.
    return not depth.consumers or someone_online(pool)
