"""What is in flight in a lab: pieces of work, each with the deliveries under which it is held."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from uuid import UUID

from consumer.amqp import scheduling
from consumer.amqp.acks import Delivery, LegalAck
from messages.request import InferenceRequested

#: Seconds after a delivery that is quarantined in which its neighbours still arrive: one of them
#: may be first.
_NEIGHBOURS_SECONDS = 2.0


class WorkItem:
    """One piece of work and its deliveries: usually one.

    More after a reconnect, when the broker gives our own work again, and when a request was
    published twice. All are settled with the outcome of the one job. A job thread reads `count`
    and `cancelled` while the main thread changes them.
    """

    def __init__(
        self,
        delivery: Delivery,
        request: InferenceRequested | None,
        *,
        work: Callable[[WorkItem], LegalAck],
        sync_cancels: Callable[[], None],
        message_id: str | None = None,
    ) -> None:
        #: None: a message that this version cannot read, on its way into a retry tier.
        self.request = request
        #: AMQP's: all that can be known of a message that is not read.
        self.message_id = message_id
        self.deliveries = [delivery]
        #: When the newest delivery came: seconds of the monotonic clock.
        self.arrived = time.monotonic()
        self.begun = False
        #: Set once the reader's cancel has come.
        self.cancelled = Event()
        self._work = work
        self._sync_cancels = sync_cancels

    @property
    def count(self) -> int:
        """How often the broker has given it out: events must carry the newest number."""
        return max(delivery.count for delivery in self.deliveries)

    @property
    def deaths(self) -> int:
        """How often whoever had it was lost with it: it decides whether it runs alone."""
        return max(delivery.deaths for delivery in self.deliveries)

    @property
    def by_rule(self) -> bool:
        """Whether a rule asked for it, and no reader."""
        return all(delivery.by_rule for delivery in self.deliveries)

    def adopt(self, delivery: Delivery) -> None:
        """The same work, given once more."""
        self.deliveries.append(delivery)
        self.arrived = time.monotonic()

    def work(self) -> LegalAck:
        """Do it, in a job's thread: return the reason to acknowledge its deliveries."""
        return self._work(self)

    def sync_cancels(self) -> None:
        """Return once every cancel that the broker has for this lab has been handled.

        Waits for the next connection when there is none. Raises `LabStopping` when the lab stops
        first.
        """
        self._sync_cancels()


#: What a job does: given the request and its deliveries, end in a legal ack.
RunJob = Callable[[InferenceRequested, WorkItem], LegalAck]


class InFlight:
    """All pieces of work, in the order in which they came. Used by the main thread only."""

    def __init__(self, *, at_once: int) -> None:
        """`at_once`: jobs that may run side by side."""
        self._at_once = at_once
        self._items: list[WorkItem] = []

    def __len__(self) -> int:
        """Pieces of work, begun or not, requests or not."""
        return len(self._items)

    @property
    def request_ids(self) -> tuple[UUID, ...]:
        """The requests in flight."""
        return tuple(item.request.request_id for item in self._items if item.request is not None)

    @property
    def quarantined(self) -> list[WorkItem]:
        """The requests that may have killed their labs: they run alone."""
        return [item for item in self._items if item.request and scheduling.is_quarantined(item)]

    def accepts_more(self, *, full: bool) -> bool:
        """Whether more may come in beside what is here; `full` when every place is taken.

        What is quarantined runs with a closed subscription, so that a death is counted for no
        further neighbour.
        Those that the broker is sending now come in before.
        """
        quarantined = self.quarantined
        if not quarantined:
            return True
        latest = max(alone.arrived for alone in quarantined) + _NEIGHBOURS_SECONDS
        return not full and time.monotonic() < latest

    @property
    def not_begun(self) -> list[WorkItem]:
        """What came and waits for its turn."""
        return [item for item in self._items if not item.begun]

    def add(self, item: WorkItem) -> None:
        """Take a piece of work in."""
        self._items.append(item)

    def remove(self, item: WorkItem) -> None:
        """It is done, or the broker's again."""
        if item in self._items:
            self._items.remove(item)

    def find(self, request: InferenceRequested) -> WorkItem | None:
        """The work that is in flight for this attempt of the request."""
        for item in self._items:
            if item.request and _identity(item.request) == _identity(request):
                return item
        return None

    def find_message(self, message_id: str | None) -> WorkItem | None:
        """The unread message that is in flight under this id. One without an id has no equal."""
        for item in self._items:
            if item.request is None and message_id and item.message_id == message_id:
                return item
        return None

    def cancel(self, request_id: UUID) -> bool:
        """Cancel every attempt of the request that is here. False when none is."""
        concerned = [h for h in self._items if h.request and h.request.request_id == request_id]
        for item in concerned:
            item.cancelled.set()
        return bool(concerned)

    def next_to_begin(self, *, healthy: bool, closed: bool) -> WorkItem | None:
        """What may begin now; see `scheduling.choose`, and there what the arguments mean."""
        waiting = [item for item in self._items if not item.begun]
        if deferred := next((item for item in waiting if item.request is None), None):
            return deferred
        return scheduling.choose(
            # What a reader asked for goes first. It is not put off for long: what a rule asked for
            # is taken only into a free place.
            sorted((item for item in waiting if item.request), key=lambda item: item.by_rule),
            [item for item in self._items if item.request and item.begun],
            at_once=self._at_once,
            healthy=healthy,
            closed=closed,
        )


def _identity(request: InferenceRequested) -> tuple[UUID, int]:
    return request.request_id, request.attempt
