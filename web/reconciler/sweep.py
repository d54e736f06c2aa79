"""A cancelled request leaves nothing in the archive: it is looked at until that is so.

Nor does one that failed because the archive filed its result in another study: labs delete
nothing, and what lies there is ours, wherever that is.

Why nothing escapes:

- A lab that stores and lives tells it (`completed`, or the `cancelled` of a later run): every
  event about a cancelled request makes a look due, also one that was heard before.
- A lab that stores and dies has not acknowledged its delivery: another run accepts it, and that
  is an event.
- A lab that was cut off while it stored has lost its delivery to another run, which is told to
  stop and says so; then it stores, and dies before it can tell. Nobody knows. For this one there
  is a last look, when no run that was ever heard of can still be storing.

A look that an event has made due meanwhile is not cleared: the value itself is compared.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog
from django.db.models import Q, QuerySet
from django.utils import timezone

from messages.failures import FailureCode
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.orthanc.archive import Orthanc, archive
from web.orthanc.errors import ArchiveError
from web.orthanc.objects import remove_objects

log = structlog.get_logger(__name__)

#: Requests that one call looks at, so that it ends: two questions to the archive for each.
LIMIT = 100

#: Times that the archive is looked at in a row before others have their turn.
LOOKS = 3

#: Seconds that a run may need for storing after its deadline, which it no longer obeys then.
STORING_SECONDS = 600


class Sweeper:
    """Looks at the archive for what is due; remembers whether it has said that it is away."""

    def __init__(self, orthanc: Orthanc | None = None) -> None:
        self._orthanc = orthanc
        self._away = False

    def sweep(self, limit: int) -> int:
        """As `sweep_due`."""
        for row in _due().order_by("sweep_due_at")[:limit]:
            try:
                clean = self._clean(row)
            except ArchiveError as exc:
                self._say_away(exc)
                # Behind the others: one that the archive fails each time keeps nobody waiting.
                _plan(row, timezone.now())
                break
            except Exception:
                # A fault of ours at this one: no other may stay in the archive for it.
                log.exception("sweep_failed", request_id=str(row.pk))
                _plan(row, timezone.now())
                continue
            self._away = False
            _plan(row, _last_look(row) if clean else timezone.now())
        return _due().count()

    def _clean(self, row: InferenceRequest) -> bool:
        """Whether the archive was found without anything of the request in the end."""
        orthanc = self._orthanc or archive()
        misfiled = row.state == State.FAILED
        return any(
            not remove_objects(row.pk, row.study_uid, orthanc, everywhere=misfiled)
            for _ in range(LOOKS)
        )

    def _say_away(self, error: ArchiveError) -> None:
        if not self._away:
            log.warning("sweep_waits", error=type(error).__name__, detail=str(error))
        self._away = True


_of_this_process = Sweeper()


def sweep_due(limit: int = LIMIT) -> int:
    """Remove what such requests have left; return how many looks are still due.

    Not inside a transaction: it speaks with the archive. Any number of processes may do it at
    once. What cannot be done now stays due.
    """
    return _of_this_process.sweep(limit)


def _due() -> QuerySet[InferenceRequest]:
    # The state as well: nothing of a result that is wanted is ever removed.
    misfiled = Q(state=State.FAILED, failure_code=FailureCode.RESULT_MISFILED)
    swept = InferenceRequest.objects.filter(Q(state=State.CANCELLED) | misfiled)
    return swept.filter(sweep_due_at__lte=timezone.now())


def _last_look(row: InferenceRequest) -> datetime | None:
    """When to look once more although nothing is there; None when that was now.

    A run that was heard of ends with its deadline, but for the storing.
    """
    last = row.changed_at + timedelta(seconds=row.deadline_s + STORING_SECONDS)
    return last if last > timezone.now() else None


def _plan(row: InferenceRequest, at: datetime | None) -> None:
    """Set the next look unless an event has set one meanwhile."""
    seen = InferenceRequest.objects.filter(pk=row.pk, sweep_due_at=row.sweep_due_at)
    seen.update(sweep_due_at=at)
