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

#: Looks without a result after which a report of what has ended makes none due at once any more.
#: Those of the first report are among them; a further run of it may report soon after.
AT_ONCE = 6

#: Until the look then. A lab can report all that its pool ever asked for, without end.
BETWEEN = timedelta(minutes=10)

#: So long after the first report of a request further ones let the answers be counted anew. What is
#: reported later is looked for as well, and keeps no reader waiting.
COUNTED_ANEW = timedelta(minutes=5)


def owe_look(row: InferenceRequest, report: InferenceCompleted) -> None:
    """Let the archive be asked for what was reported. Call it with the row locked.

    The time at which a look is due is what it is known by: a look that finds nothing decides only
    while this is still the time that it had when it began.
    """
    row.reported_seconds = dict(report.stage_seconds)
    now, before = timezone.now(), (row.confirm_due_at, row.confirm_misses)
    if row.state != State.REPORTED:
        _owe_late_look(row, now)
    elif row.confirm_due_at is None or _counts_anew(row, now):
        _owe_soon(row, now)
        row.confirm_misses = 0
    moved = before != (row.confirm_due_at, row.confirm_misses)
    columns = ["confirm_due_at", "confirm_misses"] if moved else []
    row.save(update_fields=[*columns, "reported_seconds"])


def _owe_soon(row: InferenceRequest, now: datetime) -> None:
    due = row.confirm_due_at
    if due is None or due > now + SOON:
        row.confirm_due_at = now
    elif due <= now:
        row.confirm_due_at = now + AGAIN


def _owe_late_look(row: InferenceRequest, now: datetime) -> None:
    """No reader waits for it: a few looks at once, counted with all answers, then a slow pace."""
    due = row.confirm_due_at
    if row.confirm_misses < AT_ONCE:
        _owe_soon(row, now)
        if due is not None and due <= now:
            # What a look that has begun finds is not counted then.
            row.confirm_misses += 1
    elif due is None or due <= now or due > now + BETWEEN:
        row.confirm_due_at = now + BETWEEN


def _counts_anew(row: InferenceRequest, now: datetime) -> bool:
    """Whether no reader has waited for long: nothing moves while it is `reported`.

    A change that lies ahead is by a clock that was set since.
    """
    return timedelta(0) <= now - row.changed_at <= COUNTED_ANEW
