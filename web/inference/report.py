"""A lab's report makes a look into the archive due. Synchronous."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone

from messages.events import InferenceCompleted
from web.inference.models import InferenceRequest
from web.inference.states import State

#: A look that is due within this time is soon enough for what was reported now: not drawn forward
#: by each of many reports, it costs the archive no more than one report does.
SOON = timedelta(seconds=30)

#: Until the next look where one is due already: it may have begun before this report, and a lab
#: that reports without end makes no more than one look a second.
AGAIN = timedelta(seconds=1)

#: So long after the first report of a request further ones let the answers be counted anew. What is
#: reported later is looked for as well, and keeps no reader waiting.
COUNTED_ANEW = timedelta(minutes=5)


def owe_look(row: InferenceRequest, report: InferenceCompleted) -> None:
    """Let the archive be asked for what was reported. Call it with the row locked.

    The time at which a look is due is what it is known by: a look that finds nothing decides only
    while this is still the time that it had when it began.
    """
    row.reported_seconds = dict(report.stage_seconds)
    now, due = timezone.now(), row.confirm_due_at
    if due is not None and not _counts_anew(row, now):
        row.save(update_fields=["reported_seconds"])
        return
    if due is None or due > now + SOON:
        row.confirm_due_at = now
    elif due <= now:
        row.confirm_due_at = now + AGAIN
    row.confirm_misses = 0
    row.save(update_fields=["confirm_due_at", "confirm_misses", "reported_seconds"])


def _counts_anew(row: InferenceRequest, now: datetime) -> bool:
    """Whether no reader waits for it, or not for long: nothing moves while it is `reported`.

    A change that lies ahead is by a clock that was set since.
    """
    waited = now - row.changed_at
    return row.state != State.REPORTED or timedelta(0) <= waited <= COUNTED_ANEW
