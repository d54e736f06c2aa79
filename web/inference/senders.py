"""What a lab said, who the broker says has spoken, and whether that one may say it. Synchronous.

One place for all ways in which an event comes: from its queue, from the dead letters, and by staff
who replay one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from messages.envelope import MAX_ATTEMPTS
from messages.events import InferenceRetryScheduled, RunEvent
from messages.topology import RETRY_TIERS
from web.inference.models import InferenceRequest
from web.labs.registry import pools_of

#: Attempts beyond that of the row up to which a lab is believed. It raises it by each of its own
#: retries, of which the news may be still to come; what is said of the millionth would leave the
#: site no number for the next. Of the row's own attempt and those before it can always be told.
MOST_AHEAD = 2 * len(RETRY_TIERS)

#: The last attempt to which labs can raise a request by going on like that. Half of what a message
#: can name: the others are the site's own, for what it sends again.
MOST_RAISED = MAX_ATTEMPTS // 2

#: Seconds ahead that a next try can be, whatever a lab says: six times the longest tier.
LONGEST_WAIT = 6 * max(RETRY_TIERS.values())


class Doubt(StrEnum):
    """Why an event is kept as a letter and not applied; `DeadLetter.reason` of it."""

    #: It names no user, so that the broker has not checked who has sent it.
    UNSIGNED = "no_user_id"
    #: Its user is not the lab that it says it is.
    ANOTHER_LAB = "another_lab"
    #: Staff have not confirmed that lab yet. Applied once they have.
    UNCONFIRMED = "lab_unconfirmed"
    #: Its request belongs to another pool than that lab.
    ANOTHER_POOL = "another_pool"
    #: It tells of an attempt that nobody has ever sent.
    NO_SUCH_ATTEMPT = "no_such_attempt"
    #: It was tried a few times, and each time something failed here.
    NOT_APPLIED = "not_applied"
    #: A newer site will read it, and applies it then.
    NEWER = "newer_version"
    #: A request that lies where no request of its pool can: nobody has given up on it.
    NOT_FROM_ITS_POOL = "not_from_its_pool"
    #: An event of a lab that is not confirmed, about a request that this site does not have.
    UNKNOWN_REQUEST = "unknown_request"
    #: The letter could not be stored here either: only that it came is kept.
    NOT_KEPT = "not_kept"


#: Letters that are applied by themselves once that is possible.
PASSING = (Doubt.UNCONFIRMED, Doubt.NEWER)

#: Letters that can still become an outcome: those, and what staff can replay.
REPLAYABLE = (*PASSING, Doubt.NOT_APPLIED, Doubt.UNSIGNED)


@dataclass(frozen=True)
class ReceivedEvent:
    """An event as it came."""

    event: RunEvent
    #: The user of the broker that has sent it, as the broker has checked; empty: not said.
    user: str
    #: When the site has received it.
    at: datetime

    @property
    def as_received(self) -> RunEvent:
        """The event with the site's times in the place of the lab's, whose clock may be wrong."""
        times: dict[str, datetime] = {"at": self.at}
        if isinstance(self.event, InferenceRetryScheduled):
            wait = (self.event.next_at - self.event.at).total_seconds()
            times["next_at"] = self.at + timedelta(seconds=min(max(wait, 0.0), LONGEST_WAIT))
        return self.event.model_copy(update=times)


class Senders:
    """Who may say what: read once for several events, inside their transaction."""

    def __init__(self, received: Iterable[ReceivedEvent]) -> None:
        received = list(received)
        self._labs = pools_of({one.user for one in received if one.user})
        ids = {one.event.request_id for one in received}
        rows = InferenceRequest.objects.filter(pk__in=ids)
        found = list(rows.values_list("pk", "pool", "attempt"))
        self._requests: dict[UUID, str] = {pk: pool for pk, pool, _ in found}
        #: The last attempt of each: as the row has it, or as was told before in the same batch.
        self._attempts: dict[UUID, int] = {pk: attempt for pk, _, attempt in found}

    def doubt_about(self, received: ReceivedEvent) -> Doubt | None:
        """Why it is not applied, or None."""
        event, user = received.event, received.user
        if not user:
            return Doubt.UNSIGNED
        if user != event.lab:
            return Doubt.ANOTHER_LAB
        pool = self._labs.get(user)
        if pool is None:
            known = self.knows(event.request_id)
            # A request is written before it is published: of no other can anything ever be told.
            return Doubt.UNCONFIRMED if known else Doubt.UNKNOWN_REQUEST
        if self._requests.get(event.request_id, pool) != pool:
            return Doubt.ANOTHER_POOL
        last = self._attempts.get(event.request_id, 0)
        if event.attempt > max(last, min(last + MOST_AHEAD, MOST_RAISED)):
            return Doubt.NO_SUCH_ATTEMPT
        if event.attempt > last > 0:
            self._attempts[event.request_id] = event.attempt
        return None

    def knows(self, request_id: UUID) -> bool:
        """Whether the request is one of this site."""
        return request_id in self._requests
