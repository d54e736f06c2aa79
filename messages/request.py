"""What the clinic asks of a lab."""

from __future__ import annotations

from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field, model_validator

from messages.envelope import (
    MAX_ATTEMPTS,
    MAX_INTEGER,
    Attempt,
    Message,
    Name,
    OrthancId,
    Uid,
    Value,
)
from messages.topology import RULES


class PhaseSelector(Value):
    """Which instances of a series belong to the phase, where one series holds several phases."""

    #: DICOM keyword that tells the phases apart, for example ``TemporalPositionIdentifier``.
    keyword: Annotated[str, Field(pattern=r"^[A-Za-z]{1,64}$")]
    #: The value of that keyword in this phase, as text.
    value: Annotated[str, Field(pattern=r"^[0-9.:+-]{1,32}$")]


class InputSeries(Value):
    """One input of the model: a series in the archive, and the role that it plays."""

    role: Name
    series_id: OrthancId
    series_uid: Uid
    #: Instances that the series held when it was asked for; another number is `series_changed`.
    instance_count: Annotated[int, Field(ge=1, le=MAX_INTEGER)]
    phase_selector: PhaseSelector | None = None


class InferenceRequested(Message):
    """A reader asked for an analysis. Published to ``mri.requests`` under `routing_key`."""

    TYPE: ClassVar[str] = "inference.requested"

    request_id: UUID
    attempt: Attempt
    pool: Name
    model: Name
    #: A name; the lab's settings hold the URL.
    archive: Name = "default"
    study_uid: Uid
    inputs: Annotated[tuple[InputSeries, ...], Field(min_length=1, max_length=16)]
    #: Probability from which a voxel counts as lesion; None leaves it to the lab's setting.
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    #: Seconds that the request may take from its acceptance.
    deadline_s: Annotated[int, Field(ge=1, le=MAX_INTEGER)]
    #: Tries of the budget that passing faults have spent. Not the attempt, which a replay and a
    #: second sending raise as well; None from a sender that did not tell them apart.
    retries: Annotated[int, Field(ge=0, le=MAX_ATTEMPTS)] | None = None
    #: The latest completed request of the same study and model, whose result this one replaces;
    #: the lab names its report as the predecessor. None: the first, or a sender that does not say.
    supersedes: UUID | None = None
    #: Which request of its study this is, from 1, failed ones counted: results of a study are told
    #: apart by it in any viewer. The same each time the request is sent. None: a sender that does
    #: not count.
    number: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    #: Whether a rule asked for it and no reader: it travels by queues of its own, and waits while a
    #: reader waits.
    by_rule: bool = False

    @model_validator(mode="after")
    def _one_input_a_role(self) -> InferenceRequested:
        if len({item.role for item in self.inputs}) != len(self.inputs):
            raise ValueError("each role may be given once")
        return self

    @property
    def spent(self) -> int:
        """How much of the retry budget is spent."""
        return self.attempt - 1 if self.retries is None else self.retries

    @property
    def routing_key(self) -> str:
        """The key under which the request reaches its pool's queue, also by way of a retry tier."""
        key = f"{self.pool}.{self.model}"
        return f"{RULES}.{key}" if self.by_rule else key
