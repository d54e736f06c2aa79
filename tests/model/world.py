"""Clinic, broker, labs and archive in one; it can be brought to rest."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from messages.events import InferenceCompleted, InferenceProgressed
from tests.model.archive import Archive
from tests.model.broker import Broker, Copy
from tests.model.clock import Clock
from tests.model.job import Job, figures
from tests.model.lab import Lab
from tests.model.reconciler import Reconciler
from tests.model.site import Row, Site
from web.inference.triggers import DeadLettered

#: Rounds within which everything must have come to rest, and the seconds of each. Together they
#: are longer than all retry tiers, a deadline and the last sweep.
ROUNDS = 100
ROUND_SECONDS = 130


class World:
    """Everything there is."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.broker = Broker()
        self.archive = Archive()
        self.site = Site(self.clock, self.broker)
        self.reconciler = Reconciler(self.site, self.archive)
        self.labs = [Lab(name, self.clock, self.broker, self.archive) for name in ("a", "b")]
        #: Every dead letter ever moved.
        self.letters: list[Copy] = []
        #: Requests of which a run may have stored something, and no run will tell of it.
        self.unheard: set[UUID] = set()

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way, and nothing owed."""
        broker, site = self.broker, self.site
        under_way = (broker.ready, broker.tiers, broker.dead, broker.replies, site.waiting())
        return (
            not any((*under_way, *broker.unsettled.values(), *(lab.hand for lab in self.labs)))
            and not self.reconciler.looks
            and all(
                row.over and not row.sweep_due_at and not row.look_owed
                for row in site.rows.values()
            )
        )

    def under_way(self, request_id: UUID) -> bool:
        """Whether a lab has the request in hand or the broker a message of it."""
        broker = self.broker
        copies = [*broker.ready, *(copy for _, copy in broker.tiers), *broker.dead]
        copies += [copy for unsettled in broker.unsettled.values() for copy in unsettled]
        of_it = [*copies, *broker.replies, *(job for lab in self.labs for job in lab.hand)]
        return any(item.request_id == request_id for item in of_it)

    def end_of(self, jobs: Iterable[Job]) -> None:
        """Note what ends untold: runs that may have stored and are nobody's delivery."""
        for job in jobs:
            if job.may_have_stored and not self.broker.holds(job.lab.name, job.deliveries):
                self.unheard.add(job.request_id)

    def archive_returns(self) -> None:
        """The archive answers again, and the labs find that at their next probe."""
        self.archive.away = False
        for lab in self.labs:
            lab.misses_archive = False

    def move_letter(self, copy: Copy) -> None:
        """A dead letter becomes a row of the site."""
        self.broker.dead.remove(copy)
        self.letters.append(copy)
        what = DeadLettered(attempt=copy.attempt, at=self.clock.now())
        self.site.record(copy.request_id, what)

    def show_progress(self, lab: Lab) -> None:
        """The newest hint of each request is written."""
        newest: dict[UUID, InferenceProgressed] = {}
        for hint in lab.hints:
            newest[hint.request_id] = max(
                newest.get(hint.request_id, hint), hint, key=lambda known: known.position
            )
        lab.hints.clear()
        for hint in newest.values():
            self.site.record(hint.request_id, hint)

    def relay(self) -> None:
        """A relay does all its work."""
        for written in self.site.waiting():
            self.site.lease(written)
        for written, published in list(self.site.flying.items()):
            if not published:
                self.site.publish(written)
            self.site.mark(written)

    def listen(self) -> None:
        """The site takes in everything that it was told, in order."""
        while self.broker.replies:
            self.site.record_event(self.broker.replies.pop(0))

    def claim(self, row: Row) -> None:
        """Whoever has a lab's account reports a result; there may be none, or another."""
        attempt, delivery, sequence = row.snapshot.position
        self.site.hear_claim(
            InferenceCompleted(
                request_id=row.request_id,
                attempt=attempt,
                delivery=delivery,
                sequence=sequence + 1,
                lab="a",
                at=self.clock.now(),
                **figures(999_999),
            )
        )

    def confirm(self) -> None:
        """What was reported is looked for."""
        for row in self.site.rows.values():
            self.reconciler.confirm(row)

    def sweep(self) -> None:
        """Everything that is due is looked for."""
        for row in self.site.rows.values():
            self.reconciler.begin_sweep(row)
        for look in list(self.reconciler.looks):
            self.reconciler.end_sweep(look)

    def come_to_rest(self) -> bool:
        """All live, nothing more goes wrong, and time passes; whether that ends."""
        self.archive_returns()
        self.site.arriving.clear()
        for _ in range(ROUNDS):
            self._round()
            if self.at_rest:
                return True
            self.clock.advance(ROUND_SECONDS)
        return False

    def _round(self) -> None:
        self.relay()
        self.listen()
        self.broker.expire_tiers(self.clock.now())
        for lab in self.labs:
            if not lab.connected:
                lab.connect()
            while self.broker.ready and lab.takes_more:
                lab.take(self.broker.ready[0])
            while lab.hand:
                self.reconciler.hear(lab.name, lab.current)
                self.relay()
                lab.hear_cancels()
                lab.work(lab.hand[0])
                self.show_progress(lab)
                self.listen()
            self.reconciler.hear(lab.name, lab.current)
        while self.broker.dead:
            self.move_letter(self.broker.dead[0])
        self.confirm()
        for row in self.site.rows.values():
            self.reconciler.look(row)
        self.sweep()
