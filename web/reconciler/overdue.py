"""Requests whose time is up: that no lab took in days, or that took longer than they may.

What a reader no longer wanted anyway ends as cancelled by the same trigger. Synchronous.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from messages.failures import FailureCode
from web.inference.models import InferenceRequest
from web.inference.record import record
from web.inference.states import State
from web.inference.triggers import TimedOut
from web.reconciler.unfinished import each, unfinished

#: What a time limit is made of.
_TIMES = ("accepted_at", "changed_at", "created_at", "replayed_at", "deadline_s")


def expired(after_s: float) -> dict[UUID, datetime]:
    """Requests that nobody took in so many seconds, and when those were over.

    They count from when the request was made, or from its replay by staff.
    """
    now, time_budget = timezone.now(), timedelta(seconds=after_s)

    def limit(row: InferenceRequest) -> tuple[UUID, datetime] | None:
        # Compared here: with that condition the database would go through all that are older.
        over = (row.replayed_at or row.created_at) + time_budget
        return (row.pk, over) if over <= now else None

    rows = unfinished().filter(accepted_at=None).only("created_at", "replayed_at")
    return dict(each(rows, limit))


def expire(request_id: UUID, after_s: float) -> bool:
    """End the request as expired unless a lab has taken it by now.

    One that is held was never sent: the archive did not say in time that all images are there.
    """
    late = TimedOut(
        at=timezone.now(),
        code=FailureCode.EXPIRED,
        detail=f"no lab took it within {after_s:.0f} s",
    )
    held = TimedOut(
        at=late.at,
        code=FailureCode.SERIES_INCOMPLETE,
        detail=f"the archive did not call every chosen series whole within {after_s:.0f} s",
    )
    return _end(
        request_id,
        lambda row: held if row.held_for and row.state == State.QUEUED else late,
        lambda row: row.accepted_at is None,
    )


def overdue(grace_s: float) -> dict[UUID, datetime]:
    """Requests that should have ended `grace_s` ago or earlier, and when they should have."""
    late = timezone.now() - timedelta(seconds=grace_s)

    def limit(row: InferenceRequest) -> tuple[UUID, datetime] | None:
        over = _limit(row)
        return (row.pk, over) if over <= late else None

    # No limit runs while the archive is asked for a result that was reported.
    rows = unfinished().filter(accepted_at__isnull=False).exclude(state=State.REPORTED)
    return dict(each(rows.only(*_TIMES), limit))


def end_overdue(request_id: UUID, grace_s: float) -> bool:
    """End the request as overdue unless it has a new time limit by now."""
    now = timezone.now()
    row = InferenceRequest.objects.only("deadline_s").filter(pk=request_id).first()
    trigger = TimedOut(
        at=now,
        code=FailureCode.DEADLINE_EXCEEDED,
        detail=f"no end was told within {row.deadline_s if row else 0} s of its acceptance",
    )
    late = now - timedelta(seconds=grace_s)
    return _end(
        request_id,
        lambda _: trigger,
        lambda row: row.accepted_at is not None and _limit(row) <= late,
    )


def _limit(row: InferenceRequest) -> datetime:
    """When the request must have ended.

    A row of before may hold the acceptance by a lab's clock. One that was behind must not end what
    was just made, and one that was far ahead not keep it for ever.
    """
    made = row.replayed_at or row.created_at
    accepted = row.accepted_at or made
    if accepted > timezone.now():
        accepted = row.changed_at
    began = max(accepted, made)
    return began + timedelta(seconds=row.deadline_s)


def _end(
    request_id: UUID,
    trigger: Callable[[InferenceRequest], TimedOut],
    still: Callable[[InferenceRequest], bool],
) -> bool:
    with transaction.atomic():
        row = InferenceRequest.objects.select_for_update().filter(pk=request_id).first()
        return row is not None and still(row) and record(request_id, trigger(row))
