"""What a lab tells of a run. Past tense; published to ``mri.events.<pool>``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field

from messages import identity
from messages.envelope import (
    MAX_DELIVERIES,
    MAX_INTEGER,
    Attempt,
    Count,
    Message,
    Moment,
    Name,
    OrthancId,
    Seconds,
    Sentence,
    Sha256,
    Value,
    Word,
)
from messages.failures import FailureCode


class Stage(StrEnum):
    """The part of a run that is under way."""

    #: The series come from the archive and become volumes.
    DOWNLOADING = "downloading"
    #: The bundle computes the mask.
    INFERRING = "inferring"
    #: The result is packaged, stored, read back and checked.
    UPLOADING = "uploading"


#: Seconds by stage name, by the lab's monotonic clock: no step of a clock changes them.
StageSeconds = Annotated[dict[Name, Seconds], Field(max_length=32)]


class RunEvent(Message):
    """Common part of all events of a request: which run of it, and where in that run."""

    #: Routing key on ``mri.events.<pool>``.
    ROUTING_KEY: ClassVar[str]

    request_id: UUID
    #: Ours: 1, 2, ... raised by every retry and replay.
    attempt: Attempt
    #: How often the broker has given the message out before, as `messages.identity.delivery_of`
    #: reads it: 0 at first, raised by every way back.
    delivery: Annotated[int, Field(ge=0, le=MAX_DELIVERIES)]
    #: Rises by one with each event of a run, from 0.
    sequence: Count
    lab: Name
    #: By the lab's clock, which may be wrong: the site goes by the time at which it hears.
    at: Moment

    @property
    def event_id(self) -> UUID:
        """The same for every copy of the same event, whoever sends it."""
        return identity.event_id(self.request_id, self.attempt, self.delivery, self.sequence)

    @property
    def position(self) -> tuple[int, int, int]:
        """(attempt, delivery, sequence): the order in which events of a request apply."""
        return (self.attempt, self.delivery, self.sequence)


class InferenceAccepted(RunEvent):
    """A lab holds the delivery and begins."""

    TYPE: ClassVar[str] = "inference.accepted"
    ROUTING_KEY: ClassVar[str] = "request.accepted"


class InferenceProgressed(RunEvent):
    """A stage goes on. Best effort: it may be lost, late or dropped."""

    TYPE: ClassVar[str] = "inference.progressed"
    ROUTING_KEY: ClassVar[str] = "request.progressed"

    stage: Stage
    done: Count
    total: Count


class InferenceRetryScheduled(RunEvent):
    """A passing fault ended the run; a copy of the request waits in a retry tier."""

    TYPE: ClassVar[str] = "inference.retry_scheduled"
    ROUTING_KEY: ClassVar[str] = "request.retry_scheduled"

    code: FailureCode
    next_at: Moment


class ModelReference(Value):
    """Which model computed a result."""

    name: Name
    version: Word
    #: Of all files of the bundle, in a fixed order.
    sha256: Sha256


class InferenceCompleted(RunEvent):
    """The result is stored in the archive, was read back, and these are its figures."""

    TYPE: ClassVar[str] = "inference.completed"
    ROUTING_KEY: ClassVar[str] = "request.completed"

    #: Orthanc's id of the DICOM SEG; None when nothing was found.
    seg_instance_id: OrthancId | None = None
    #: Orthanc's id of the measurement report, or of the report that says that nothing was found.
    sr_instance_id: OrthancId
    tumor_detected: bool
    volume_voxels: Count
    #: At most a cubic metre.
    volume_ml: Annotated[float, Field(ge=0, le=1_000_000)]
    #: At most ten metres.
    longest_diameter_mm: Annotated[float, Field(ge=0, le=10_000)]
    #: Slices of the first series.
    slices: Annotated[int, Field(ge=1, le=MAX_INTEGER)]
    slices_with_tumor: Count
    model: ModelReference
    #: `messages.input_digest` of what the stored result was computed from, as it states it itself.
    #: None: it was stored before results stated it, or by a lab that does not say.
    input_sha256: Sha256 | None = None
    #: Seconds by stage name, in the order in which they ran.
    stage_seconds: StageSeconds

    @property
    def event_id(self) -> UUID:
        """One for each request: whichever run completes it, the outcome is the same."""
        return identity.completed_event_id(self.request_id)


class InferenceFailed(RunEvent):
    """The request ended without a result."""

    TYPE: ClassVar[str] = "inference.failed"
    ROUTING_KEY: ClassVar[str] = "request.failed"

    code: FailureCode
    #: For an operator; quotes no DICOM value beyond UIDs, slice numbers and distances.
    detail: Sentence
    stage_seconds: StageSeconds


class InferenceCancelled(RunEvent):
    """The lab stopped the request because it was asked to."""

    TYPE: ClassVar[str] = "inference.cancelled"
    ROUTING_KEY: ClassVar[str] = "request.cancelled"


#: Every event of a request, in the order of a run.
RUN_EVENTS: tuple[type[RunEvent], ...] = (
    InferenceAccepted,
    InferenceProgressed,
    InferenceRetryScheduled,
    InferenceCompleted,
    InferenceFailed,
    InferenceCancelled,
)
