"""Events that no lab has sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from infra.demo.stack import LAB
from messages.events import (
    InferenceAccepted,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceProgressed,
    InferenceRetryScheduled,
    ModelReference,
    RunEvent,
    Stage,
)
from messages.failures import FailureCode


def a_completed(request_id: UUID) -> InferenceCompleted:
    """The news of a result of a lab that found nothing."""
    return InferenceCompleted(
        request_id=request_id,
        attempt=1,
        delivery=0,
        sequence=4,
        lab=LAB,
        at=datetime.now(UTC),
        sr_instance_id="-".join(["0badcafe"] * 5),
        tumor_detected=False,
        volume_voxels=0,
        volume_ml=0,
        longest_diameter_mm=0,
        slices=6,
        slices_with_tumor=0,
        model=ModelReference(name="held", version="0.0.1", sha256="0" * 64),
        stage_seconds={},
    )


def a_progressed(request_id: UUID) -> InferenceProgressed:
    """The news that an inference goes on."""
    return InferenceProgressed(
        request_id=request_id,
        attempt=1,
        delivery=0,
        sequence=1,
        lab=LAB,
        at=datetime.now(UTC),
        stage=Stage.INFERRING,
        done=0,
        total=1,
    )


def one_of_each(request_id: UUID) -> list[RunEvent]:
    """Every kind of event about the request."""
    now = datetime.now(UTC)
    common: dict[str, Any] = {"request_id": request_id, "lab": LAB, "at": now}
    first: dict[str, Any] = {**common, "attempt": 1, "delivery": 0}
    code = FailureCode.OUT_OF_MEMORY
    return [
        InferenceAccepted(sequence=0, **first),
        InferenceRetryScheduled(sequence=1, code=code, next_at=now, **first),
        InferenceFailed(sequence=2, code=code, detail="", stage_seconds={}, **first),
        InferenceCancelled(sequence=3, **first),
        a_completed(request_id),
        a_progressed(request_id),
    ]
