"""A broker as far as delivery goes: what is ready, who holds what, and how often it was given."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from messages.events import InferenceCompleted, RunEvent
from messages.topology import RETRY_TIERS

#: Deliveries beyond the first after which a copy is dead. Fewer than in service, so that a
#: schedule of some dozen steps gets there.
DELIVERY_LIMIT = 3

#: Unsettled deliveries that one lab may have.
PREFETCH = 2


@dataclass(frozen=True, eq=False)
class Copy:
    """A request's message. As a delivery it is an object of its own: nobody settles another's."""

    request_id: UUID
    attempt: int
    #: The broker's delivery count.
    count: int = 0
    #: How often it was taken before: newer brokers count that apart. Others count each way back.
    acquired: int = 0
    #: Tries of the retry budget that are spent: a message that the site sends has its whole one.
    spent: int = 0
    #: Of what was published once: the same however often it is given out.
    message: int = field(default_factory=itertools.count(1).__next__)

    @property
    def delivery(self) -> int:
        """The number under which a run tells, as in `messages.identity.delivery_of`."""
        return max(self.count, self.acquired)


@dataclass
class Broker:
    """Requests, retry tiers, dead letters, replies and the fanout of cancels."""

    ready: list[Copy] = field(default_factory=list)
    #: By lab; a lab that is not connected has no entry, here and in `control`.
    unsettled: dict[str, list[Copy]] = field(default_factory=dict)
    control: dict[str, list[UUID]] = field(default_factory=dict)
    tiers: list[tuple[datetime, Copy]] = field(default_factory=list)
    dead: list[Copy] = field(default_factory=list)
    replies: list[RunEvent] = field(default_factory=list)
    #: Which run has told under which identity, by message; and what two of them have told.
    runs: dict[tuple[int, UUID], object] = field(default_factory=dict)
    confused: list[RunEvent] = field(default_factory=list)

    def connect(self, lab: str) -> None:
        """A fresh connection with a control queue: one that is free, and so without what was told.

        It may hold some of it. That is heard as if it came now.
        """
        self.unsettled[lab] = []
        self.control[lab] = []

    def disconnect(self, lab: str, *, counted: bool = True) -> None:
        """The lab's deliveries are ready again. Newer brokers do not count every way back."""
        self.control.pop(lab, None)
        for copy in self.unsettled.pop(lab, []):
            again = replace(copy, count=copy.count + counted, acquired=copy.acquired + 1)
            (self.dead if again.count > DELIVERY_LIMIT else self.ready).append(again)

    def has_room(self, lab: str) -> bool:
        """Whether the lab is connected and may get one more."""
        return len(self.unsettled.get(lab, [None] * PREFETCH)) < PREFETCH

    def deliver(self, lab: str, copy: Copy) -> Copy:
        """Give a ready copy to the lab."""
        self.ready.remove(copy)
        delivery = replace(copy)
        self.unsettled[lab].append(delivery)
        return delivery

    def settle(self, lab: str, deliveries: Sequence[Copy]) -> None:
        """Acknowledge those that are still this lab's."""
        mine = self.unsettled.get(lab, [])
        mine[:] = [copy for copy in mine if copy not in deliveries]

    def holds(self, lab: str, deliveries: Sequence[Copy]) -> bool:
        """Whether one of them is still this lab's."""
        return any(copy in self.unsettled.get(lab, []) for copy in deliveries)

    def put_into_tier(self, copy: Copy, now: datetime) -> datetime:
        """Keep the next attempt for as long as its tier says; return until when."""
        seconds = list(RETRY_TIERS.values())[copy.spent - 1]
        until = now + timedelta(seconds=seconds)
        self.tiers.append((until, copy))
        return until

    def expire_tiers(self, now: datetime) -> None:
        """What has waited long enough is ready again."""
        self.ready += [copy for until, copy in self.tiers if until <= now]
        self.tiers = [(until, copy) for until, copy in self.tiers if until > now]

    def told(self, event: RunEvent, copy: Copy, run: object) -> None:
        """A run tells of the request while it has this delivery in hand."""
        # One that a request can have only once has the same identity whoever tells it.
        if isinstance(event, InferenceCompleted):
            return
        if self.runs.setdefault((copy.message, event.event_id), run) is not run:
            self.confused.append(event)

    def tell_labs(self, request_id: UUID) -> None:
        """A fanout: only queues that exist now get it."""
        for told in self.control.values():
            told.append(request_id)
