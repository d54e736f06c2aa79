"""Results whose input, or which themselves, may have changed: compared a few at a time.

`compared_at` is the queue: a result that is to be compared soon has none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

import structlog
from django.db import InterfaceError, OperationalError
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from web.inference.compare import (
    ComparingStopped,
    Held,
    compared,
    held_of,
    known,
    note_compared,
)
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveError
from web.orthanc.time_budget import MOST_UNANSWERED, within

log = structlog.get_logger(__name__)

#: The database does not answer: nothing that one row is to blame for.
DATABASE_ERRORS = (InterfaceError, OperationalError)

#: Results that are compared in one step: two calls for all of them, and more only for those whose
#: series differ from what they were.
RESULTS = 25

#: Seconds after which a result is compared again although nothing was told: a deletion is not.
AGAIN_SECONDS = 30.0

#: Seconds for one comparison, which may ask for the MD5s of thousands of files: about 0.5 ms each
#: where the archive is near.
COMPARE_SECONDS = 30.0


def mark(study_ids: Collection[str], stored: Collection[str] = ()) -> None:
    """Let the results of these studies be compared soon.

    `stored` are series into which something was stored. The archive's index tells that to the
    second only, so what was known of them is forgotten and their files are compared.
    """
    if not study_ids:
        return
    rows = _results().filter(study_id__in=study_ids)
    rows.update(compared_at=None)
    if stored:
        anew = [
            row.pk
            for row in rows.only("inputs")
            if any(item["series_id"] in stored for item in row.inputs)
        ]
        rows.filter(pk__in=anew).update(input_fingerprint="")


def compare_due(
    orthanc: Orthanc,
    limit: int = RESULTS,
    again_s: float = AGAIN_SECONDS,
    is_over: Callable[[], bool] = lambda: False,
    is_stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Compare the results that are due, the longest waiting first; return how many changed.

    At least one of them, whatever the time. One that cannot be compared keeps no other waiting: it
    goes to the back. After `MOST_UNANSWERED` in a row the rest is left for the next time.
    """
    due = timezone.now() - timedelta(seconds=again_s)
    waiting = _results().filter(Q(compared_at=None) | Q(compared_at__lt=due))
    rows = list(waiting.order_by(F("compared_at").asc(nulls_first=True))[:limit])
    held = _held_together(rows, orthanc) if rows else None
    changed, unanswered, to_the_back = 0, 0, []
    for row in rows:
        try:
            with within(COMPARE_SECONDS):
                found = compared(row, held or held_of([row], orthanc), orthanc, is_stopping)
            if found == known(row):
                to_the_back.append(row.pk)
            else:
                changed += note_compared(row.pk, found)
            unanswered = 0
        except ComparingStopped:
            break
        except DATABASE_ERRORS:
            raise
        except ArchiveError as exc:
            log.warning("result_not_compared", request_id=str(row.pk), detail=str(exc))
            to_the_back.append(row.pk)
            unanswered += 1
        except Exception:
            # A row of another version, or a damaged one: it says nothing of the archive.
            log.exception("result_not_compared", request_id=str(row.pk))
            to_the_back.append(row.pk)
        if unanswered == MOST_UNANSWERED or is_over():
            break
    # Nearly always all of them: in one statement, for each commit waits for the disk.
    _results().filter(pk__in=to_the_back).update(compared_at=timezone.now())
    return changed


def _held_together(rows: Sequence[InferenceRequest], orthanc: Orthanc) -> Held | None:
    """What the archive holds of all of them, in two calls; None where each has to be asked for.

    One row of which nothing can be asked, or one resource that the archive cannot describe, would
    otherwise speak for all.
    """
    try:
        with within(COMPARE_SECONDS):
            return held_of(rows, orthanc)
    except (ArchiveError, AttributeError, KeyError, TypeError):
        return None


def _results() -> QuerySet[InferenceRequest]:
    return InferenceRequest.objects.filter(
        state=State.COMPLETED, withdrawn_at=None, result__isnull=False
    )
