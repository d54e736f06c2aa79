"""The legal changes of a request, in one place. Pure: no Django, no clock, no database.

::

    queued → published → accepted → downloading → inferring → uploading → completed
                             ↑ waiting ↓ (a newer run)
    cancelling → cancelled      failed      dead

Events come in any order, twice, and after a restart of whoever sent them. `change_for` compares
the run and the place in it, so that a row moves towards the outcome and never back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

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


class State(StrEnum):
    """Where a request is."""

    #: Written down with its outbox row; not yet confirmed by the broker.
    QUEUED = "queued"
    #: The broker has confirmed it; no lab has taken it.
    PUBLISHED = "published"
    #: A lab holds it.
    ACCEPTED = "accepted"
    #: The lab reads the series.
    DOWNLOADING = "downloading"
    #: The model computes.
    INFERRING = "inferring"
    #: The lab packages, stores and checks the result.
    UPLOADING = "uploading"
    #: The result is in the archive.
    COMPLETED = "completed"
    #: In a retry tier after a passing fault.
    WAITING = "waiting"
    #: The reader asked to stop; the lab has not confirmed it.
    CANCELLING = "cancelling"
    #: Stopped; nothing of it is in the archive.
    CANCELLED = "cancelled"
    #: Ended without a result, for a stated reason.
    FAILED = "failed"
    #: The broker gave it up; only staff can bring it back.
    DEAD = "dead"


#: States that no event but `completed` leaves.
TERMINAL = frozenset({State.COMPLETED, State.CANCELLED, State.FAILED, State.DEAD})


@dataclass(frozen=True)
class Snapshot:
    """What of a row decides and what can change. Names are those of the row's columns."""

    state: State
    #: Position of the last applied event; a new row is at (1, 0, -1).
    attempt: int = 1
    delivery: int = 0
    sequence: int = -1
    published_at: datetime | None = None
    accepted_at: datetime | None = None
    finished_at: datetime | None = None
    next_try_at: datetime | None = None
    #: ``{"stage", "done", "total"}`` of the run under way.
    progress: dict[str, Any] | None = None
    failure_code: str = ""
    #: For an operator.
    failure_detail: str = ""
    #: The figures of `completed`, and under which objects they are stored.
    result: dict[str, Any] | None = None
    lab: str = ""

    @property
    def run(self) -> tuple[int, int]:
        """(attempt, delivery): which run of the request was heard of last."""
        return (self.attempt, self.delivery)

    @property
    def position(self) -> tuple[int, int, int]:
        """(attempt, delivery, sequence) of the last applied event."""
        return (self.attempt, self.delivery, self.sequence)


@dataclass(frozen=True)
class Published:
    """The broker has confirmed the request."""

    at: datetime


@dataclass(frozen=True)
class DeadLettered:
    """The request, in this attempt, was found in ``mri.dead``."""

    attempt: int
    at: datetime


#: Everything that can happen to a request.
Happening = RunEvent | Published | DeadLettered


def change_for(row: Snapshot, what: Happening) -> Snapshot | None:
    """Return the row as it should be after `what`, or None when it stays as it is."""
    after: Snapshot | None = None
    match what:
        case InferenceCompleted():
            after = _completed(row, what)
        case Published():
            after = _published(row, what)
        case _ if row.state in TERMINAL:
            after = None
        case DeadLettered():
            after = _dead(row, what)
        case InferenceAccepted() | InferenceProgressed():
            after = _goes_on(row, what)
        case InferenceFailed() | InferenceRetryScheduled() | InferenceCancelled():
            after = _run_ended(row, what)
    return after


def _completed(row: Snapshot, event: InferenceCompleted) -> Snapshot | None:
    """The result is in the archive, whatever else was told: only a cancel outranks it."""
    if row.state in {State.COMPLETED, State.CANCELLED}:
        return None
    kept = {
        "seg_instance_id",
        "sr_instance_id",
        "tumor_detected",
        "volume_ml",
        "volume_voxels",
        "longest_diameter_mm",
        "slices",
        "slices_with_tumor",
        "model",
        "stage_seconds",
    }
    return replace(
        _moved(row, event),
        state=State.COMPLETED,
        accepted_at=row.accepted_at or event.at,
        finished_at=event.at,
        next_try_at=None,
        progress=None,
        failure_code="",
        failure_detail="",
        result=event.model_dump(mode="json", include=kept),
    )


def _published(row: Snapshot, what: Published) -> Snapshot | None:
    """The lab can be faster than the confirm: then only the time is noted."""
    if row.state is State.QUEUED:
        return replace(row, state=State.PUBLISHED, published_at=what.at)
    return None if row.published_at else replace(row, published_at=what.at)


def _dead(row: Snapshot, letter: DeadLettered) -> Snapshot | None:
    """A copy of an earlier attempt says nothing: a later one is under way."""
    if letter.attempt < row.attempt:
        return None
    return replace(
        row,
        state=State.DEAD,
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
        if row.state is State.WAITING and event.position <= row.position:
            return None
        return replace(
            _moved(row, event),
            state=State.CANCELLING if row.state is State.CANCELLING else State.WAITING,
            next_try_at=event.next_at,
            progress=None,
            failure_code=event.code,
        )
    ended = replace(_moved(row, event), finished_at=event.at, next_try_at=None, progress=None)
    if isinstance(event, InferenceCancelled):
        return replace(ended, state=State.CANCELLED, failure_code="", failure_detail="")
    return replace(ended, state=State.FAILED, failure_code=event.code, failure_detail=event.detail)


def _moved(row: Snapshot, event: RunEvent) -> Snapshot:
    """The row at the event's place, never at an earlier one, and with the lab that spoke."""
    attempt, delivery, sequence = max(row.position, event.position)
    return replace(row, attempt=attempt, delivery=delivery, sequence=sequence, lab=event.lab)
