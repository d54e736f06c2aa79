"""What the site does by the clock: time limits, requests that were lost, cancels, sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from messages.failures import FailureCode
from tests.model.archive import Archive
from tests.model.job import DEADLINE_SECONDS, figures
from tests.model.site import Row, Site
from web.inference.states import State
from web.inference.triggers import CancelSettled, ResultFound, ResultMissing, TimedOut

#: Seconds without a heartbeat after which a lab counts for nothing.
OFFLINE_SECONDS = 30

#: Seconds that a lab has to confirm a cancel before its absence confirms it.
CANCEL_SECONDS = 10

#: The same where no lab has told of the attempt.
UNTAKEN_SECONDS = 1

#: Seconds without a change after which a request may have been lost, while nothing waits.
QUIET_SECONDS = 120

#: The same while something waits that does not explain it.
UNEXPLAINED_SECONDS = 900

#: States in which a lab has the message, or has lost it, or it lies at the head again.
_TAKEN = {State.ACCEPTED, State.DOWNLOADING, State.INFERRING, State.UPLOADING}

#: Seconds by which a lab may tell first that the deadline has passed.
GRACE_SECONDS = 30

EXPIRES_SECONDS = 7 * 24 * 3600

#: Seconds for which a decision waits for an archive that does not say what it holds.
ARCHIVE_SECONDS = 600

#: Seconds that storing may take: a run that has begun to store no longer obeys its deadline.
STORING_SECONDS = 600

#: Answers without a result after which a report was not true.
ANSWERS = 3


@dataclass(frozen=True)
class Look:
    """A look at the archive for a cancelled request, before its conclusion is written down."""

    row: Row
    #: What was due when it began.
    due: datetime | None


class Reconciler:
    """Each method is a rule for one row; it does nothing where the rule does not hold."""

    def __init__(self, site: Site, archive: Archive) -> None:
        self._site = site
        self._archive = archive
        self._clock = site.clock
        #: By lab: when it was heard of, and what it has in hand.
        self.heard: dict[str, tuple[datetime, frozenset[UUID]]] = {}
        self.looks: list[Look] = []

    def hear(self, lab: str, current: frozenset[UUID]) -> None:
        """A heartbeat."""
        self.heard[lab] = (self._clock.now(), current)
        self._site.stop_unwanted(current)

    def look(self, row: Row) -> None:
        """All rules but the sweep."""
        for rule in (
            self._expire,
            self._find_lost,
            self._end_overdue,
            self._settle_cancel,
            self._release,
        ):
            if not row.over:
                rule(row)

    def begin_sweep(self, row: Row) -> None:
        """Delete what is there; the conclusion comes later. An absent archive leaves it due."""
        due = row.sweep_due_at
        if self._archive.away:
            return
        if row.state is State.CANCELLED and due is not None and due <= self._clock.now():
            self._archive.remove(row.request_id)
            self.looks.append(Look(row, due))

    def end_sweep(self, look: Look) -> None:
        """Plan the last look, or none, unless an event has made one due meanwhile."""
        self.looks.remove(look)
        row = look.row
        if row.sweep_due_at == look.due:
            last = row.changed_at + timedelta(seconds=DEADLINE_SECONDS + STORING_SECONDS)
            row.sweep_due_at = last if last > self._clock.now() else None

    def confirm(self, row: Row) -> None:
        """Look into a report; an archive that is away has said nothing."""
        if not row.look_owed:
            return
        if self._archive.away:
            return
        if not row.snapshot.can_complete:
            row.look_owed = False
        elif self._archive.complete(row.request_id):
            row.look_owed = False
            self._tell(row)
        elif row.misses < ANSWERS - 1:
            row.misses += 1
        else:
            row.look_owed = False
            missing = ResultMissing(at=self._clock.now(), detail="told by the model")
            self._site.record(row.request_id, missing)

    def _expire(self, row: Row) -> None:
        if row.snapshot.accepted_at is None:
            since = row.snapshot.replayed_at or row.created_at
            code = FailureCode.EXPIRED
            if row.snapshot.held_for:
                code = FailureCode.SERIES_INCOMPLETE
            self._end_after(EXPIRES_SECONDS, since, row, code)

    def _end_overdue(self, row: Row) -> None:
        seconds, since = DEADLINE_SECONDS + GRACE_SECONDS, row.snapshot.accepted_at
        self._end_after(seconds, since, row, FailureCode.DEADLINE_EXCEEDED)

    def _end_after(self, seconds: int, since: datetime | None, row: Row, code: FailureCode) -> None:
        if row.state is State.REPORTED or not self._passed(since, seconds):
            return
        told = self._tell_stored(row)
        if told is None and not self._passed(since, seconds + ARCHIVE_SECONDS):
            return
        if not told:
            what = TimedOut(at=self._clock.now(), code=code, detail="told by the model")
            self._site.record(row.request_id, what)

    def _settle_cancel(self, row: Row) -> None:
        asked = row.snapshot.cancel_asked_at
        patience = CANCEL_SECONDS if _taken(row) else UNTAKEN_SECONDS
        waited = row.state is State.CANCELLING and self._passed(asked, patience)
        if waited and not self._listed(row):
            self._site.record(row.request_id, CancelSettled(at=self._clock.now()))

    def _find_lost(self, row: Row) -> None:
        due = row.snapshot.next_try_at
        crowded = bool(self._site.broker.ready or self._site.broker.tiers)
        patience = UNEXPLAINED_SECONDS if crowded else QUIET_SECONDS
        if (
            row.state in {State.QUEUED, State.CANCELLING, State.REPORTED}
            or (due is not None and due > self._clock.now())
            or not self._passed(row.changed_at, patience)
            or (self._listed(row) and not self._passed(row.changed_at, DEADLINE_SECONDS))
            or (crowded and not self._gone_past(row))
        ):
            return
        told = self._tell_stored(row)
        if told is None and not self._passed(row.changed_at, patience + ARCHIVE_SECONDS):
            return
        if not told:
            self._site.send_again(row.request_id, by_staff=False)

    def _gone_past(self, row: Row) -> bool:
        """Whether labs took another since, or one made when it lay in the queue already."""
        others = [other for other in self._site.rows.values() if other is not row]
        if row.state in _TAKEN:
            taken = (other.snapshot.accepted_at for other in others)
            return any(at is not None and at > row.changed_at for at in taken)
        entered = row.snapshot.next_try_at or row.snapshot.published_at
        return any(
            other.snapshot.sequence >= 0 and entered is not None and other.created_at > entered
            for other in others
        )

    def _release(self, row: Row) -> None:
        arriving = self._archive.away or row.request_id in self._site.arriving
        if row.snapshot.held_for and not arriving:
            self._site.release(row.request_id)

    def _tell_stored(self, row: Row) -> bool | None:
        """Whether there was a whole result to tell; None when the archive does not say."""
        if row.state is State.CANCELLING:
            return False
        if self._archive.away:
            return None
        if not self._archive.complete(row.request_id):
            return False
        self._tell(row)
        return True

    def _tell(self, row: Row) -> None:
        stored = figures(self._archive.primaries[row.request_id])
        found = ResultFound(at=self._clock.now(), figures=stored, lab="archive")
        self._site.record(row.request_id, found)

    def _listed(self, row: Row) -> bool:
        heard = self.heard.values()
        return any(
            row.request_id in current and not self._passed(seen, OFFLINE_SECONDS)
            for seen, current in heard
        )

    def _passed(self, since: datetime | None, seconds: int) -> bool:
        return since is not None and since + timedelta(seconds=seconds) <= self._clock.now()


def _taken(row: Row) -> bool:
    """Whether a lab has told of the attempt that is under way."""
    if row.snapshot.position[1:] == (0, -1):
        return False
    before = [after for _, _, after in row.history if after.state is not State.CANCELLING]
    waits = bool(before) and before[-1].state is State.WAITING
    return not (waits and before[-1].run == row.snapshot.run)
