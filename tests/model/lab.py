"""A lab: what it has in hand, its connection, and its ways to die."""

from __future__ import annotations

from uuid import UUID

from messages.events import InferenceProgressed
from tests.model.archive import Archive
from tests.model.broker import Broker, Copy
from tests.model.clock import Clock
from tests.model.job import Job
from tests.model.job_faults import Ours


class Lab:
    """One lab process, which can die and come back."""

    def __init__(self, name: str, clock: Clock, broker: Broker, archive: Archive) -> None:
        self.name = name
        self.clock = clock
        self.broker = broker
        self.archive = archive
        self.hand: list[Job] = []
        #: Progress on its way to the site, which may never get there.
        self.hints: list[InferenceProgressed] = []
        #: A job has found the archive away: nothing new is taken or begun.
        self.misses_archive = False

    @property
    def connected(self) -> bool:
        """Whether the broker knows it."""
        return self.name in self.broker.control

    @property
    def current(self) -> frozenset[UUID]:
        """What its heartbeat lists."""
        return frozenset(job.request_id for job in self.hand)

    @property
    def takes_more(self) -> bool:
        """Whether it is connected, has room, and can work."""
        return not self.misses_archive and self.broker.has_room(self.name)

    def connect(self) -> None:
        """Come back to the broker, after a death or with work in hand."""
        self.broker.connect(self.name)

    def take(self, copy: Copy) -> None:
        """Take a delivery: new work, or work that is in hand already."""
        delivery = self.broker.deliver(self.name, copy)
        for job in self.hand:
            if (job.request_id, job.attempt) == (copy.request_id, copy.attempt):
                job.deliveries.append(delivery)
                return
        self.hand.append(Job(self, delivery))

    def work(self, job: Job, fault: type[Exception] | None = None) -> None:
        """One step of a job, its ack included."""
        if not job.begun and self.misses_archive and not job.cancelled:
            return
        try:
            if job.step(fault):
                return
        except Ours:
            # Without its connection the broker gives the delivery out again, and counts it.
            self.hand.remove(job)
            self.cut_off()
            return
        self.broker.settle(self.name, job.deliveries)
        self.hand.remove(job)

    def hear_cancels(self) -> bool:
        """Handle every cancel that the broker has for it; False when it is not connected."""
        told = self.broker.control.get(self.name)
        if told is None:
            return False
        for job in self.hand:
            job.cancelled |= job.request_id in told
        told.clear()
        return True

    def cut_off(self, *, counted: bool = True) -> None:
        """Lose the connection, or be frozen for so long: what has begun goes on afterwards."""
        self.broker.disconnect(self.name, counted=counted)
        self.hand = [job for job in self.hand if job.begun]

    def die(self) -> None:
        """SIGKILL."""
        self.hand.clear()
        self.broker.disconnect(self.name)

    def stop(self, *, counted: bool) -> None:
        """SIGTERM with work in hand when the grace is over."""
        self.hand.clear()
        self.broker.disconnect(self.name, counted=counted)
