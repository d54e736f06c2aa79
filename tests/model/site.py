"""The site: rows, what was seen, and the outbox, after `web.inference.record` and its callers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from messages.events import InferenceCompleted, RunEvent
from messages.failures import FailureCode
from tests.model.broker import Broker, Copy
from tests.model.clock import Clock
from web.inference.changes import change_for
from web.inference.effects import Effect, effects_of
from web.inference.states import TERMINAL, Hold, Snapshot, State
from web.inference.triggers import (
    CancelAsked,
    Published,
    Released,
    ReleaseRefused,
    SentAgain,
    Trigger,
)


@dataclass
class Row:
    """A request."""

    request_id: UUID
    created_at: datetime
    changed_at: datetime
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(state=State.QUEUED))
    version: int = 1
    sweep_due_at: datetime | None = None
    #: Whether a report is to be looked into, and how often the archive has answered without it.
    look_owed: bool = False
    misses: int = 0
    #: What has changed it, and what it was before and after.
    history: list[tuple[Snapshot, Trigger, Snapshot]] = field(default_factory=list)

    @property
    def state(self) -> State:
        """Where it is."""
        return self.snapshot.state

    @property
    def over(self) -> bool:
        """Whether nothing but `completed` or staff changes it."""
        return self.state in TERMINAL


@dataclass(eq=False)
class Written:
    """A row of the outbox."""

    request_id: UUID
    #: None: tell the labs to stop.
    attempt: int | None
    attempted: bool = False
    sent: bool = False
    #: No relay may take it.
    held: bool = False
    #: Deleted while a relay had it.
    gone: bool = False


class Site:
    """Everything that is in the database, and what changes it."""

    def __init__(self, clock: Clock, broker: Broker) -> None:
        self.clock = clock
        self.broker = broker
        self.rows: dict[UUID, Row] = {}
        self.outbox: list[Written] = []
        #: In the memory of a relay: True once published.
        self.flying: dict[Written, bool] = {}
        #: Requests whose images are still arriving, and those that will not fit together.
        self.arriving: set[UUID] = set()
        self.unfit: set[UUID] = set()
        #: Every outcome that ever reached it.
        self.heard: list[RunEvent] = []
        #: Requests of which somebody has reported a result that was none.
        self.claimed: set[UUID] = set()
        self._seen: set[UUID] = set()

    def submit(self, request_id: UUID, *, arriving: bool = False) -> None:
        """The click; held while images of what it chose are still arriving."""
        now = self.clock.now()
        row = Row(request_id, created_at=now, changed_at=now)
        if arriving:
            row.snapshot = replace(row.snapshot, held_for=Hold.SERIES_ARRIVING)
            self.arriving.add(request_id)
        self.rows[request_id] = row
        self.outbox.append(Written(request_id, attempt=1, held=arriving))

    def release(self, request_id: UUID) -> None:
        """All has arrived: written anew, or refused."""
        now = self.clock.now()
        if request_id in self.unfit:
            code = FailureCode.GEOMETRY_MISMATCH
            self.record(request_id, ReleaseRefused(at=now, code=code, detail="by the model"))
        elif self.record(request_id, Released(at=now)):
            self._take_back(request_id)
            self.outbox.append(Written(request_id, attempt=1))

    def record_event(self, event: RunEvent) -> None:
        """An outcome: applied once, and a reminder of duties each time; a report each time."""
        self.heard.append(event)
        self._record_event(event)

    def hear_claim(self, event: RunEvent) -> None:
        """The same from whoever has a lab's account, and no result."""
        self.claimed.add(event.request_id)
        self._record_event(event)

    def _record_event(self, event: RunEvent) -> None:
        seen = event.event_id in self._seen and not isinstance(event, InferenceCompleted)
        self._seen.add(event.event_id)
        self.record(event.request_id, event, seen=seen)

    def record(self, request_id: UUID, what: Trigger, *, seen: bool = False) -> bool:
        """Decide, write and do what is owed; whether the row changed."""
        row = self.rows[request_id]
        before = row.snapshot
        after = None if seen else change_for(before, what)
        changed = after is not None and after != before
        if after is not None and changed:
            row.snapshot = after
            row.version += 1
            row.changed_at = self.clock.now()
            row.history.append((before, what, after))
            if row.over or row.state is State.CANCELLING:
                self._take_back(request_id)
        effects = effects_of(before, after or before, what)
        if Effect.STOP_LAB in effects:
            self._enqueue_stop(request_id)
        if Effect.SWEEP in effects:
            row.sweep_due_at = row.changed_at = self.clock.now()
        if Effect.CONFIRM in effects:
            # Within five minutes the answers are counted anew; the model's reports come at once.
            row.look_owed, row.misses = True, 0
        return changed

    def cancel(self, request_id: UUID) -> None:
        """The reader's wish; refused, or asked before, it changes nothing."""
        row = self.rows[request_id]
        if row.state in {State.CANCELLING, State.CANCELLED, State.COMPLETED}:
            return
        mine = [w for w in self._unsent_requests(request_id) if not w.attempted]
        unsent = row.state is State.QUEUED and row.snapshot.attempt == 1 and bool(mine)
        if unsent:
            self._delete(mine)
        self.record(request_id, CancelAsked(at=self.clock.now(), unsent=unsent))

    def send_again(self, request_id: UUID, *, by_staff: bool) -> None:
        """The next attempt, with its message."""
        if self.record(request_id, SentAgain(at=self.clock.now(), by_staff=by_staff)):
            self._take_back(request_id)
            self.outbox.append(Written(request_id, self.rows[request_id].snapshot.attempt))

    def stop_unwanted(self, request_ids: Iterable[UUID]) -> None:
        """A lab lists them: those that nobody wants are told again."""
        for request_id in request_ids:
            if self.rows[request_id].snapshot.unwanted:
                self._enqueue_stop(request_id)

    def lease(self, written: Written) -> None:
        """A relay takes a row."""
        written.attempted = True
        self.flying[written] = False

    def publish(self, written: Written) -> None:
        """A relay publishes what it has in memory, deleted meanwhile or not."""
        self.flying[written] = True
        if written.attempt is None:
            self.broker.tell_labs(written.request_id)
        else:
            self.broker.ready.append(Copy(written.request_id, written.attempt))

    def mark(self, written: Written) -> None:
        """A relay notes that the broker has confirmed it."""
        del self.flying[written]
        if written.gone:
            return
        written.sent = True
        if written.attempt is not None:
            self.record(written.request_id, Published(at=self.clock.now()))

    def waiting(self) -> list[Written]:
        """What a relay may take."""
        return [w for w in self.outbox if not (w.sent or w.held) and w not in self.flying]

    def _unsent_requests(self, request_id: UUID) -> list[Written]:
        mine = [w for w in self.outbox if w.request_id == request_id]
        return [w for w in mine if w.attempt is not None and not w.sent]

    def _take_back(self, request_id: UUID) -> None:
        self._delete(self._unsent_requests(request_id))

    def _delete(self, unwanted: list[Written]) -> None:
        for written in unwanted:
            written.gone = True
            self.outbox.remove(written)

    def _enqueue_stop(self, request_id: UUID) -> None:
        stops = [w for w in self.outbox if w.request_id == request_id and w.attempt is None]
        # One that a relay has had may have been told already, to labs that did not hold it yet.
        if all(w.sent or w.attempted for w in stops):
            self.outbox.append(Written(request_id, attempt=None))
