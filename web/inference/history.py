"""What became of a request, kept in the transaction that changes it."""

from __future__ import annotations

from datetime import datetime

from web.inference.models import InferenceRequest, RequestEvent
from web.inference.states import Snapshot, State


def note_beginning(row: InferenceRequest) -> None:
    """Write down that a new request is stored."""
    _write(row, row.created_at)


def note_change(row: InferenceRequest, before: Snapshot, after: Snapshot, at: datetime) -> None:
    """Write a change down unless it is progress within a stage, of which the newest is enough."""
    if _told(before) != _told(after):
        _write(row, at)
    elif before.published_at is None and after.published_at is not None:
        # The lab was faster than the mark: the row is past this state, its history is not.
        _write(row, after.published_at, State.PUBLISHED)


def _told(row: Snapshot) -> tuple[object, ...]:
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
