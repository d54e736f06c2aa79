"""The legal changes of a request, in one place. Pure: no Django, no clock, no database.

::

    queued → published → accepted → downloading → inferring → uploading → reported → completed
      ↑                      ↑ waiting ↓ (a newer run)
      ├── sent again: lost on its way, or replayed from `dead` by staff
      └── held, as long as images of a chosen series arrive; released, or refused → failed
    cancelling → cancelled      failed      dead

Events come in any order, twice, and after a restart of whoever sent them. `change_for` compares
the run and the place in it, so that a row moves towards the outcome and never back.

A lab's `completed` is a report: the request is `reported` until the site has seen the objects. What
has ended, or is being cancelled, stays as it is meanwhile; a result that is found completes it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from messages.events import (
    InferenceAccepted,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceProgressed,
    InferenceRetryScheduled,
    RunEvent,
)
from messages.failures import FailureCode
from web.inference.states import ACTIVE, TERMINAL, Snapshot, State
from web.inference.triggers import (
    CancelAsked,
    CancelSettled,
    DeadLettered,
    Published,
    Released,
    ReleaseRefused,
    ResultFound,
    ResultMissing,
    SentAgain,
    TimedOut,
    Trigger,
)


def change_for(row: Snapshot, what: Trigger) -> Snapshot | None:
    """Return the row as it should be after `what`, or None when it stays as it is."""
    after = _after(row, what)
    if after is None or after.state is State.QUEUED or not after.held_for:
        return after
    # It has ended, or a site of an older version, which holds nothing, has sent it.
    return replace(after, held_for="")


def _after(row: Snapshot, what: Trigger) -> Snapshot | None:
    match what:
        case InferenceCompleted():
            return _reported(row, what)
        case ResultFound():
            return _completed(row, what)
        case SentAgain():
            return _sent_again(row, what)
        case Published():
            return _published(row, what)
    return None if row.state in TERMINAL else _still_open(row, what)


def _still_open(row: Snapshot, what: Trigger) -> Snapshot | None:
    if row.state is State.REPORTED:
        return _while_reported(row, what)
    return _reported_by_lab(row, what) if isinstance(what, RunEvent) else _decided_here(row, what)


def _reported_by_lab(row: Snapshot, event: RunEvent) -> Snapshot | None:
    match event:
        case InferenceAccepted() | InferenceProgressed():
            return _goes_on(row, event)
        case InferenceFailed() | InferenceRetryScheduled() | InferenceCancelled():
            return _run_ended(row, event)
    return None


def _decided_here(row: Snapshot, what: Trigger) -> Snapshot | None:
    match what:
        case DeadLettered():
            return _dead(row, what)
        case CancelAsked():
            return _cancel_asked(row, what)
        case CancelSettled():
            return _cancelled(row, what.at) if row.state is State.CANCELLING else None
        case TimedOut():
            return _timed_out(row, what)
        case Released() | ReleaseRefused():
            return _released(row, what)
    # Above all a result that is missing: another report was looked for than that which this row
    # waits for.
    return None


def _reported(row: Snapshot, event: InferenceCompleted) -> Snapshot | None:
    """A report outranks every other event, and is itself only that.

    What is over or is being cancelled does not become open again by the word of a lab: nothing
    changes there before the result is found.
    """
    if row.state in {*TERMINAL, State.CANCELLING, State.REPORTED}:
        return None
    return replace(
        _moved(row, event),
        state=State.REPORTED,
        accepted_at=row.accepted_at or event.at,
        next_try_at=None,
        progress=None,
        failure_code="",
        failure_detail="",
    )


def _while_reported(row: Snapshot, what: Trigger) -> Snapshot | None:
    """The objects are looked for: no event and no limit of time ends that, but the reader can."""
    match what:
        case CancelAsked():
            # No lab has to let go of it. What is stored is removed.
            return _cancelled(replace(row, cancel_asked_at=what.at), what.at)
        case ResultMissing():
            return replace(
                row,
                state=State.FAILED,
                finished_at=what.at,
                failure_code=FailureCode.RESULT_NOT_FOUND,
                failure_detail=what.detail,
            )
    return None


def _completed(row: Snapshot, found: ResultFound) -> Snapshot | None:
    """The result is in the archive, whatever else was told: only what removes it outranks it.

    That is a cancel, and a run that was told where the archive had filed its objects.
    """
    if not row.can_complete:
        return None
    return replace(
        row,
        state=State.COMPLETED,
        accepted_at=row.accepted_at or found.at,
        finished_at=found.at,
        next_try_at=None,
        progress=None,
        failure_code="",
        failure_detail="",
        result=found.figures,
        lab=found.lab,
    )


def _published(row: Snapshot, what: Published) -> Snapshot | None:
    """The lab can be faster than the confirm: then only the time is noted."""
    if row.state is State.QUEUED:
        return replace(row, state=State.PUBLISHED, published_at=what.at)
    return None if row.published_at else replace(row, published_at=what.at)


def _sent_again(row: Snapshot, what: SentAgain) -> Snapshot | None:
    """A fresh start under the next attempt: what an earlier one still tells is out of date."""
    leaves = row.state is State.DEAD if what.by_staff else row.state in ACTIVE
    if not leaves or row.state is State.REPORTED:
        return None
    return replace(
        row,
        state=State.QUEUED,
        attempt=row.attempt + 1,
        delivery=0,
        sequence=-1,
        published_at=None,
        # What it may take counts from when a lab takes this attempt; until then it can expire.
        accepted_at=None,
        replayed_at=what.at if what.by_staff else row.replayed_at,
        finished_at=None,
        next_try_at=None,
        progress=None,
        failure_code="",
        failure_detail="",
        held_for="",
    )


def _cancel_asked(row: Snapshot, what: CancelAsked) -> Snapshot | None:
    """At once where no relay has the message; otherwise a lab, or its absence, settles it."""
    if row.state is State.CANCELLING:
        return None
    asked = replace(row, cancel_asked_at=what.at)
    if what.unsent:
        return _cancelled(asked, what.at)
    return replace(asked, state=State.CANCELLING, next_try_at=None, failure_code="")


def _cancelled(row: Snapshot, at: datetime) -> Snapshot:
    return replace(
        row,
        state=State.CANCELLED,
        finished_at=at,
        next_try_at=None,
        progress=None,
        failure_code="",
        failure_detail="",
    )


def _timed_out(row: Snapshot, what: TimedOut) -> Snapshot:
    """What the reader no longer wanted anyway ends as they wished."""
    if row.state is State.CANCELLING:
        return _cancelled(row, what.at)
    return replace(
        row,
        state=State.FAILED,
        finished_at=what.at,
        next_try_at=None,
        progress=None,
        failure_code=what.code,
        failure_detail=what.detail,
    )


def _released(row: Snapshot, what: Released | ReleaseRefused) -> Snapshot | None:
    """Once, and only what is held: two processes may find at once that all has arrived."""
    if row.state is not State.QUEUED or not row.held_for:
        return None
    released = replace(row, held_for="")
    if isinstance(what, Released):
        return released
    return replace(
        released,
        state=State.FAILED,
        finished_at=what.at,
        failure_code=what.code,
        failure_detail=what.detail,
    )


def _dead(row: Snapshot, letter: DeadLettered) -> Snapshot | None:
    """A copy of an earlier attempt says nothing: a later one is under way."""
    if letter.attempt < row.attempt:
        return None
    if row.state is State.CANCELLING:
        return _cancelled(row, letter.at)
    # A replay must not begin again under an attempt that somebody has told of.
    attempt, delivery, sequence = max(row.position, (letter.attempt, 0, -1))
    return replace(
        row,
        state=State.DEAD,
        attempt=attempt,
        delivery=delivery,
        sequence=sequence,
        finished_at=letter.at,
        next_try_at=None,
        progress=None,
        failure_code=FailureCode.WORKER_CRASHED,
        failure_detail="the request was found in mri.dead",
    )


def _goes_on(row: Snapshot, event: InferenceAccepted | InferenceProgressed) -> Snapshot | None:
    """A run begins or goes on: newer events only, and after a scheduled retry newer runs only."""
    newer_run = (event.attempt, event.delivery) > row.run
    if event.position <= row.position or (row.state is State.WAITING and not newer_run):
        return None
    if isinstance(event, InferenceAccepted):
        state, progress = State.ACCEPTED, None
    else:
        state = State(event.stage)
        progress = {"stage": str(event.stage), "done": event.done, "total": event.total}
    return replace(
        _moved(row, event),
        # A reader who asked to stop is told so until the lab has confirmed it.
        state=State.CANCELLING if row.state is State.CANCELLING else state,
        progress=progress,
        # Progress of a run whose `accepted` is still on its way tells the same.
        accepted_at=row.accepted_at or event.at,
        next_try_at=None,
        failure_code="",
        failure_detail="",
    )


def _run_ended(
    row: Snapshot, event: InferenceFailed | InferenceRetryScheduled | InferenceCancelled
) -> Snapshot | None:
    """An end counts when it is of the current run or a newer one.

    The run decides and not the sequence: from RabbitMQ 4.3 on a requeue does not raise the
    delivery, so a second run may count its events from zero under the same numbers.
    """
    if (event.attempt, event.delivery) < row.run:
        return None
    if isinstance(event, InferenceRetryScheduled):
        stays = row.state in {State.WAITING, State.CANCELLING}
        if stays and event.position <= row.position:
            return None
        # Who puts it off has taken it, whether or not they say so: its deadline runs from here.
        begun = row.accepted_at or event.at
        moved = replace(_moved(row, event), progress=None, accepted_at=begun)
        if row.state is State.CANCELLING:
            # The reader waits for no next try: the copy in the tier ends with the cancel.
            return moved
        return replace(
            moved, state=State.WAITING, next_try_at=event.next_at, failure_code=event.code
        )
    moved = _moved(row, event)
    if isinstance(event, InferenceCancelled) or row.state is State.CANCELLING:
        # A run that failed while the reader waited for its cancel: nobody wants a reason.
        return _cancelled(moved, event.at)
    ended = replace(moved, finished_at=event.at, next_try_at=None, progress=None)
    return replace(ended, state=State.FAILED, failure_code=event.code, failure_detail=event.detail)


def _moved(row: Snapshot, event: RunEvent) -> Snapshot:
    """The row at the event's place, never at an earlier one, and with the lab that spoke."""
    attempt, delivery, sequence = max(row.position, event.position)
    return replace(row, attempt=attempt, delivery=delivery, sequence=sequence, lab=event.lab)
