"""Where a request can be, and what of its row decides. Pure: no Django, no clock, no database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

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
    #: A lab has said that the result is stored; the site has not seen the objects itself.
    REPORTED = "reported"
    #: The result is in the archive, where the site has seen it.
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


#: States that no event of a lab leaves. A result that is found completes all of them but the
#: cancelled and the misfiled, of which the site removes what is stored.
TERMINAL = frozenset({State.COMPLETED, State.CANCELLED, State.FAILED, State.DEAD})

#: States in which the same of anybody is this request. Not `cancelling`: who changes their
#: mind again asks anew.
ACTIVE = frozenset(State) - TERMINAL - {State.CANCELLING}

#: States in which a lab that begins, or goes on, is told to stop (`Snapshot.unwanted`).
UNWANTED = frozenset({State.CANCELLING, State.CANCELLED, State.FAILED})


class Hold(StrEnum):
    """Why the message of a queued request is held back from the relays."""

    #: Images of a chosen series are still arriving in the archive.
    SERIES_ARRIVING = "series_arriving"


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
    #: The figures of the stored result, and under which objects they are stored.
    result: dict[str, Any] | None = None
    lab: str = ""
    #: When the reader asked to stop; kept beside a result that was stored before.
    cancel_asked_at: datetime | None = None
    #: When staff sent it again from `dead`: its time limits begin anew.
    replayed_at: datetime | None = None
    #: `Hold`, or empty; only of a queued request.
    held_for: str = ""

    @property
    def misfiled(self) -> bool:
        """Whether it failed because the archive filed its result in another study."""
        return self.state is State.FAILED and self.failure_code == FailureCode.RESULT_MISFILED

    @property
    def unwanted(self) -> bool:
        """Whether a lab that begins it, or goes on, is told to stop.

        Not where a report was not true: whoever works on it may still bring what was reported.
        """
        return self.state in UNWANTED and self.failure_code != FailureCode.RESULT_NOT_FOUND

    @property
    def can_complete(self) -> bool:
        """Whether a result that is found completes it."""
        done = self.state in {State.COMPLETED, State.CANCELLED}
        return not done and not self.misfiled

    @property
    def run(self) -> tuple[int, int]:
        """(attempt, delivery): which run of the request was heard of last."""
        return (self.attempt, self.delivery)

    @property
    def position(self) -> tuple[int, int, int]:
        """(attempt, delivery, sequence) of the last applied event."""
        return (self.attempt, self.delivery, self.sequence)
