"""What a lab has in hand: pieces of work, each with the deliveries under which it is held."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from uuid import UUID

from consumer.amqp import scheduling
from consumer.amqp.acks import Delivery, LegalAck
from messages.request import InferenceRequested

#: Seconds after a suspect's delivery in which its neighbours still arrive: their turn may be first.
_NEIGHBOURS_SECONDS = 2.0


class InHand:
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
        work: Callable[[InHand], LegalAck],
        hear_cancels: Callable[[], None],
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
        #: Set once the reader's cancel was heard.
        self.cancelled = Event()
        self._work = work
        self._hear_cancels = hear_cancels

    @property
    def count(self) -> int:
        """How often the broker has given it out: under the newest number events must be told."""
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

    def hear_cancels(self) -> None:
        """Return once every cancel that the broker has for this lab is heard.

        Waits for the next connection when there is none. Raises `LabStopping` when the lab stops
        first.
        """
        self._hear_cancels()


#: What a job does: given the request and how it is in hand, end in a legal ack.
Job = Callable[[InferenceRequested, InHand], LegalAck]


class Hand:
    """All pieces of work, in the order in which they came. Used by the main thread only."""

    def __init__(self, *, at_once: int) -> None:
        """`at_once`: jobs that may run side by side."""
        self._at_once = at_once
        self._held: list[InHand] = []

    def __len__(self) -> int:
        """Pieces of work, begun or not, requests or not."""
        return len(self._held)

    @property
    def current(self) -> tuple[UUID, ...]:
        """The requests in hand."""
        return tuple(held.request.request_id for held in self._held if held.request is not None)

    @property
    def suspects(self) -> list[InHand]:
        """The requests that may have killed their labs: they run alone."""
        return [held for held in self._held if held.request and scheduling.runs_alone(held)]

    def lets_in(self, *, full: bool) -> bool:
        """Whether more may come in beside what is here; `full` when every place is taken.

        A suspect runs with a closed tap, so that a death is counted for no further neighbour.
        Those that the broker is sending now come in before.
        """
        suspects = self.suspects
        if not suspects:
            return True
        latest = max(suspect.arrived for suspect in suspects) + _NEIGHBOURS_SECONDS
        return not full and time.monotonic() < latest

    @property
    def not_begun(self) -> list[InHand]:
        """What came and waits for its turn."""
        return [held for held in self._held if not held.begun]

    def add(self, held: InHand) -> None:
        """Take a piece of work in."""
        self._held.append(held)

    def drop(self, held: InHand) -> None:
        """It is done, or the broker's again."""
        if held in self._held:
            self._held.remove(held)

    def same(self, request: InferenceRequested) -> InHand | None:
        """The work that is in hand for this attempt of the request."""
        for held in self._held:
            if held.request and _identity(held.request) == _identity(request):
                return held
        return None

    def same_message(self, message_id: str | None) -> InHand | None:
        """The unread message that is in hand under this id. One without an id has no equal."""
        for held in self._held:
            if held.request is None and message_id and held.message_id == message_id:
                return held
        return None

    def cancel(self, request_id: UUID) -> bool:
        """Tell every attempt of the request that it is cancelled. False when none is here."""
        concerned = [h for h in self._held if h.request and h.request.request_id == request_id]
        for held in concerned:
            held.cancelled.set()
        return bool(concerned)

    def next_to_begin(self, *, healthy: bool, closed: bool) -> InHand | None:
        """What may begin now; see `scheduling.choose`, and there what the arguments mean."""
        waiting = [held for held in self._held if not held.begun]
        if deferred := next((held for held in waiting if held.request is None), None):
            return deferred
        return scheduling.choose(
            # What a reader asked for goes first. It is not put off for long: what a rule asked for
            # is taken only into a free place.
            sorted((held for held in waiting if held.request), key=lambda held: held.by_rule),
            [held for held in self._held if held.request and held.begun],
            at_once=self._at_once,
            healthy=healthy,
            closed=closed,
        )


def _identity(request: InferenceRequested) -> tuple[UUID, int]:
    return request.request_id, request.attempt
