"""Results whose input, or which themselves, may have changed: compared a few at a time.

`compared_at` is the queue: a result that is to be compared soon has none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta

from django.db.models import F, Q, QuerySet
from django.utils import timezone

from web.archive.orthanc import Orthanc
from web.inference.compare import compared, held_of, known, note_compared
from web.inference.models import InferenceRequest
from web.inference.states import State

#: Results that are compared in one step: two calls for all of them, and more only for those whose
#: series differ from what they were.
RESULTS = 25

#: Seconds after which a result is compared again although nothing was told: a deletion is not.
AGAIN_SECONDS = 30.0


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
) -> int:
    """Compare the results that are due, the longest waiting first; return how many changed.

    At least one of them, whatever the time. Raises `ArchiveUnavailable`.
    """
    due = timezone.now() - timedelta(seconds=again_s)
    waiting = _results().filter(Q(compared_at=None) | Q(compared_at__lt=due))
    rows = list(waiting.order_by(F("compared_at").asc(nulls_first=True))[:limit])
    if not rows:
        return 0
    held = held_of(rows, orthanc)
    changed, as_before = 0, []
    for row in rows:
        found = compared(row, held, orthanc)
        if found == known(row):
            as_before.append(row.pk)
        else:
            changed += note_compared(row.pk, found)
        if is_over():
            break
    # Nearly always all of them: in one statement, for each commit waits for the disk.
    _results().filter(pk__in=as_before).update(compared_at=timezone.now())
    return changed


def _results() -> QuerySet[InferenceRequest]:
    return InferenceRequest.objects.filter(
        state=State.COMPLETED, withdrawn_at=None, result__isnull=False
    )
