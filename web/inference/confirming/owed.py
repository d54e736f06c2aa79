"""Which reports are to be looked into, and what becomes of them. Synchronous.

Each row says when its next look is due, so that a site that was restarted goes on, and any number
of processes can do the same work: a look that another has made meanwhile has moved that time.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from web.inference.confirming.look import Look, look_for
from web.inference.confirming.look import tell as tell_result
from web.inference.happenings import ResultMissing
from web.inference.models import InferenceRequest
from web.inference.record import record, snapshot

log = structlog.get_logger(__name__)

#: No look lies further ahead than this; one that does was planned by a clock that was set since.
_FAR = timedelta(minutes=5)


@dataclass(frozen=True)
class Owed:
    """A request whose report is to be looked into, and since when."""

    request_id: UUID
    due_at: datetime


def pools() -> list[str]:
    """The pools in which a look is owed."""
    rows = InferenceRequest.objects.filter(confirm_due_at__isnull=False)
    return list(rows.order_by().values_list("pool", flat=True).distinct())


def due(pool: str, without: Collection[UUID], limit: int) -> list[Owed]:
    """The reports of a pool whose look is due, the longest waiting first, but for some."""
    now = timezone.now()
    rows = InferenceRequest.objects.filter(
        Q(confirm_due_at__lte=now) | Q(confirm_due_at__gt=now + _FAR), pool=pool
    ).exclude(pk__in=without)
    found = rows.order_by("confirm_due_at").values_list("pk", "confirm_due_at")[:limit]
    return [Owed(pk, at) for pk, at in found if at is not None]


def look(owed: Owed, turn: AbstractContextManager[object]) -> Look | None:
    """Look for the result; None where nothing could complete the request any more.

    What is there is read in its `turn`.
    Not inside a transaction. Raises `ArchiveError`.
    """
    row = InferenceRequest.objects.filter(pk=owed.request_id).first()
    return look_for(row, turn) if row is not None and snapshot(row).can_complete else None


def settle(owed: Owed, found: Look | None, pauses_s: Sequence[float]) -> list[UUID]:
    """Write down what a look has found; return the requests that changed.

    Without a result there is another look after each of the pauses; then the report was not true.
    """
    if found is not None and found.figures is not None:
        with transaction.atomic():
            changed = tell_result(owed.request_id, found)
            _rows(owed).update(confirm_due_at=None)
        return changed
    if found is None:
        _rows(owed).update(confirm_due_at=None)
        return []
    return _missed(owed, found, pauses_s)


def postpone(owed: Owed, seconds: float) -> None:
    """Ask the archive, which did not answer, again later: it has said nothing.

    What it has answered before counts all the same, or one failure in between each time would keep
    a report for ever.
    """
    later = timezone.now() + timedelta(seconds=seconds)
    _rows(owed).update(confirm_due_at=later)


def _missed(owed: Owed, found: Look, pauses_s: Sequence[float]) -> list[UUID]:
    now = timezone.now()
    with transaction.atomic():
        row = InferenceRequest.objects.select_for_update().filter(pk=owed.request_id).first()
        if row is None or row.confirm_due_at != owed.due_at:
            return []
        misses = row.confirm_misses + 1
        over = misses > len(pauses_s)
        log.log(
            logging.ERROR if over else logging.WARNING,
            "reported_result_not_found",
            request_id=str(row.pk),
            lab=row.lab,
            answers=misses,
            detail=found.detail,
        )
        if not over:
            later = now + timedelta(seconds=pauses_s[misses - 1])
            _rows(owed).update(confirm_due_at=later, confirm_misses=misses)
            return []
        _rows(owed).update(confirm_due_at=None, confirm_misses=0)
        changed = record(row.pk, ResultMissing(at=now, detail=found.detail))
    return [row.pk] if changed else []


def _rows(owed: Owed) -> QuerySet[InferenceRequest]:
    return InferenceRequest.objects.filter(pk=owed.request_id, confirm_due_at=owed.due_at)
