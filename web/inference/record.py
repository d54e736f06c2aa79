"""Changes of rows: lock, decide in `changes`, write, raise the version. Synchronous."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone

from messages.events import InferenceCancelled, InferenceCompleted, RunEvent
from web.inference.changes import change_for
from web.inference.effects import Effect, effects_of
from web.inference.history import note_change
from web.inference.models import InferenceRequest, SeenEvent
from web.inference.outbox import enqueue_stop, take_back
from web.inference.report import owe_look
from web.inference.states import TERMINAL, Snapshot, State
from web.inference.triggers import DeadLettered, Published, Trigger

log = structlog.get_logger(__name__)

#: Versions of a request up to which each event that changed it is remembered. A lab can change its
#: requests without end; beyond, the order of events alone keeps a second copy from doing anything.
MOST_REMEMBERED = 500

_COLUMNS = tuple(field.name for field in fields(Snapshot))


def snapshot(row: InferenceRequest) -> Snapshot:
    """The part of a row that `changes` knows."""
    values = {name: getattr(row, name) for name in _COLUMNS}
    return Snapshot(**{**values, "state": State(row.state)})


def record_event(event: RunEvent) -> bool:
    """Apply an event once; return whether the row changed. Call it inside a transaction.

    Who has sent it is `web.inference.senders`'s question, and whose times it names. A report is
    asked of the row each time: all of a request have one identity, and one that was not true must
    not make a true one unheard.
    """
    if not InferenceRequest.objects.filter(pk=event.request_id).exists():
        # Acknowledged all the same: requests are committed before they are published, so no later
        # try would know it. It was deleted, the database was restored from an older copy, or it
        # never was: of those a stranger can tell without end, and nothing is written down.
        log.warning("event_of_unknown_request", request_id=str(event.request_id))
        return False
    seen = SeenEvent.objects.filter(event_id=event.event_id).exists()
    changed = record(
        event.request_id, event, seen=seen and not isinstance(event, InferenceCompleted)
    )
    # Not what changed nothing: that can be told without end.
    if changed and not seen and _is_young(event.request_id):
        SeenEvent.objects.bulk_create([SeenEvent(event_id=event.event_id)], ignore_conflicts=True)
    return changed


def _is_young(request_id: UUID) -> bool:
    young = InferenceRequest.objects.filter(pk=request_id, version__lte=MOST_REMEMBERED)
    return young.exists()


def record_published(request_id: UUID, at: datetime) -> bool:
    """The broker has confirmed the request at that time. Call it inside a transaction."""
    return record(request_id, Published(at=at))


def record_dead(request_id: UUID, attempt: int, at: datetime) -> bool:
    """The request was found among the dead letters. Call it inside a transaction."""
    return record(request_id, DeadLettered(attempt=attempt, at=at))


def record(request_id: UUID, what: Trigger, *, seen: bool = False) -> bool:
    """Lock the row and change it as `changes` says; return whether it changed.

    What was `seen` before changes nothing, but may have an effect still to come. SQLite has no row
    locks; there the transaction itself holds the one write lock.
    """
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("a change of a request belongs into a transaction")
    row = InferenceRequest.objects.select_for_update().filter(pk=request_id).first()
    if row is None:
        log.warning("event_of_unknown_request", request_id=str(request_id))
        return False
    before = snapshot(row)
    after = None if seen else change_for(before, what)
    changed = after is not None and after != before
    if after is not None and changed:
        _write(row, before, after, what)
        if isinstance(what, InferenceCancelled) and before.cancel_asked_at is None:
            # A lab of its own mind. It is believed, as one that says it failed.
            log.error("cancelled_without_being_asked", request_id=str(row.pk), lab=what.lab)
    _do(row, effects_of(before, after or before, what), what)
    return changed


def _write(row: InferenceRequest, before: Snapshot, after: Snapshot, what: Trigger) -> None:
    for name, value in asdict(after).items():
        setattr(row, name, value)
    row.version += 1
    row.changed_at = timezone.now()
    row.save(update_fields=[*_COLUMNS, "version", "changed_at"])
    noted = note_change(row, before, after, what.at)
    if after.state in TERMINAL or after.state is State.CANCELLING:
        take_back(row)
    if not noted:
        # As much is logged as is kept: a lab can tell of steps and runs without end.
        return
    log.info(
        "request_changed",
        request_id=str(row.pk),
        state=row.state,
        was=before.state.value,
        version=row.version,
        attempt=row.attempt,
        delivery=row.delivery,
        lab=row.lab,
    )


def _do(row: InferenceRequest, effects: frozenset[Effect], what: Trigger) -> None:
    if Effect.STOP_LAB in effects:
        enqueue_stop(row)
    if Effect.SWEEP in effects:
        # Written down and not done here: the archive may be away, and this holds a lock. From
        # `changed_at`, when it was last heard of, counts when the last look is due.
        row.sweep_due_at = row.changed_at = timezone.now()
        row.save(update_fields=["sweep_due_at", "changed_at"])
    if Effect.CONFIRM in effects and isinstance(what, InferenceCompleted):
        owe_look(row, what)
