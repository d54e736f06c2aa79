"""Which reports are to be looked into, and what becomes of them. Synchronous.

Each row says when its next look is due, so that a site that was restarted goes on, and any number
of processes can do the same work: a look that another has made meanwhile has moved that time.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from web.confirming.look import StoredObjects, hands_out_images, look_for, record_stored
from web.confirming.pace import Pace
from web.inference.models import InferenceRequest
from web.inference.record import record, snapshot
from web.inference.states import State
from web.inference.triggers import ResultMissing
from web.orthanc.errors import ArchiveError, TooMuchAtOnce

log = structlog.get_logger(__name__)

#: No look lies further ahead than this, while a reader waits for it and afterwards; one that does
#: was planned by a clock that was set since.
_FAR, _FAR_LATE = timedelta(minutes=5), timedelta(hours=13)


#: Answers without a result that are counted, so that the column holds them.
_MOST_ANSWERS = 1000


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
    far = Q(confirm_due_at__gt=now + _FAR, state=State.REPORTED)
    far |= Q(confirm_due_at__gt=now + _FAR_LATE)
    rows = InferenceRequest.objects.filter(Q(confirm_due_at__lte=now) | far, pool=pool)
    rows = rows.exclude(pk__in=without)
    found = rows.order_by("confirm_due_at").values_list("pk", "confirm_due_at")[:limit]
    return [Owed(pk, at) for pk, at in found if at is not None]


def ask_archive(owed: Owed, turn: AbstractContextManager[object]) -> StoredObjects | None:
    """Look for the result; None where nothing could complete the request any more.

    What is there is read in its `turn`.
    Not inside a transaction. Raises `ArchiveError` where the archive says nothing at all, or had
    better be asked again.
    """
    row = InferenceRequest.objects.filter(pk=owed.request_id).first()
    if row is None or not snapshot(row).can_complete:
        return None
    try:
        return look_for(row, turn)
    except TooMuchAtOnce:
        raise
    except ArchiveError as exc:
        if not hands_out_images(row):
            raise
        detail = str(exc)
    except (OperationalError, InterfaceError):
        raise
    except Exception as exc:
        # Whoever stored the object may have made it for that. The text may quote what it read.
        log.exception("report_not_looked_into", request_id=str(row.pk))
        detail = f"the site cannot read it: {type(exc).__name__}"
    # Nobody waits for one that has ended: it is looked for again later anyway.
    return StoredObjects(detail=detail, fails=row.state == State.REPORTED)


def settle(owed: Owed, found: StoredObjects | None, pace: Pace) -> list[UUID]:
    """Write down what a look has found; return the requests that changed.

    Without a result there is another look after each of the pauses; then the report was not true,
    and what comes late is looked for with longer pauses. What fails has done so for long enough.
    """
    if found is not None and found.figures is not None:
        with transaction.atomic():
            changed = record_stored(owed.request_id, found)
            # Also one that a further report has made due meanwhile: it could bring nothing more.
            InferenceRequest.objects.filter(pk=owed.request_id).update(confirm_due_at=None)
        return changed
    if found is None:
        _rows(owed).update(confirm_due_at=None)
        return []
    return _missed(owed, found, pace)


def postpone(owed: Owed, seconds: float) -> None:
    """Ask the archive, which did not answer, again later: it has said nothing.

    What it has answered before counts all the same, or one failure in between each time would keep
    a report for ever.
    """
    later = timezone.now() + timedelta(seconds=seconds)
    _rows(owed).update(confirm_due_at=later)


def _missed(owed: Owed, found: StoredObjects, pace: Pace) -> list[UUID]:
    now, changed = timezone.now(), False
    with transaction.atomic():
        row = InferenceRequest.objects.select_for_update().filter(pk=owed.request_id).first()
        if row is None or row.confirm_due_at != owed.due_at:
            # Another process was faster, or what a report of meanwhile names is still to be sought.
            return []
        answers = row.confirm_misses + 1
        if found.fails:
            answers = max(answers, len(pace.pauses_s) + 1)
        beyond = answers - len(pace.pauses_s)
        if row.state == State.REPORTED:
            level = logging.WARNING if beyond < 1 else logging.ERROR
        else:
            # A lab can report all that its pool ever asked for, again and again.
            level = logging.WARNING if answers == 1 else logging.INFO
        log.log(
            level,
            "reported_result_not_found",
            request_id=str(row.pk),
            lab=row.lab,
            answers=answers,
            detail=found.detail,
        )
        pauses = [*pace.pauses_s, *pace.late_s]
        later = now + timedelta(seconds=pauses[answers - 1]) if answers <= len(pauses) else None
        if beyond == 1:
            changed = record(row.pk, ResultMissing(at=now, detail=found.detail))
        _rows(owed).update(confirm_due_at=later, confirm_misses=min(answers, _MOST_ANSWERS))
    return [row.pk] if changed else []


def _rows(owed: Owed) -> QuerySet[InferenceRequest]:
    return InferenceRequest.objects.filter(pk=owed.request_id, confirm_due_at=owed.due_at)
