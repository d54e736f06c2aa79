"""What became of a request, kept in the transaction that changes it."""

from __future__ import annotations

from datetime import datetime

import structlog

from web.inference.models import InferenceRequest, RequestEvent
from web.inference.states import TERMINAL, Snapshot, State

log = structlog.get_logger(__name__)

#: Changes of a request that are kept, but for its ends and a wish to stop it, which no lab can have
#: again and again. An honest one has some dozens; a lab that tells of one run after the other fills
#: neither the table nor a page. What is beyond changes the request all the same.
MOST_KEPT = 500


def note_beginning(row: InferenceRequest) -> None:
    """Write down that a new request is stored."""
    _write(row, row.created_at)


def note_change(row: InferenceRequest, before: Snapshot, after: Snapshot, at: datetime) -> bool:
    """Write a change down unless it is progress within a stage, of which the newest is enough.

    Returns whether it is written down.
    """
    if _shown(before) != _shown(after):
        if _has_room(row, before, after):
            _write(row, at)
            return True
    elif before.published_at is None and after.published_at is not None:
        # The lab was faster than the mark: the row is past this state, its history is not.
        _write(row, after.published_at, State.PUBLISHED)
        return True
    return False


def _has_room(row: InferenceRequest, before: Snapshot, after: Snapshot) -> bool:
    entered = after.state is not before.state
    ends = entered and (after.state in TERMINAL or after.state is State.CANCELLING)
    # Each entry has a version of its own: below, there is nothing to count.
    if ends or row.version < MOST_KEPT:
        return True
    kept = RequestEvent.objects.filter(request=row).count()
    if kept == MOST_KEPT - 1:
        log.warning("history_full", request_id=str(row.pk), lab=row.lab)
    return kept < MOST_KEPT


def _shown(row: Snapshot) -> tuple[object, ...]:
    return (row.state, row.run, row.failure_code)


def _write(row: InferenceRequest, at: datetime, state: State | None = None) -> None:
    RequestEvent.objects.create(
        request=row,
        version=row.version,
        state=state or row.state,
        at=at,
        attempt=row.attempt,
        delivery=row.delivery,
        lab=row.lab,
        code=row.failure_code,
    )
