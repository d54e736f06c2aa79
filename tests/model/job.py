"""One run of a request in a lab, after `consumer.job` and `consumer.analysis`, in steps.

Whatever lies between two yields happens at once. Between them everything else can happen: a cancel
is heard, the connection goes, another lab stores its result, the lab dies.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

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
from messages.topology import RETRY_TIERS
from tests.model.broker import Copy

if TYPE_CHECKING:
    from tests.model.lab import Lab

#: Seconds that a run may take before it begins to store.
DEADLINE_SECONDS = 3600

REPORT_ID = "-".join(["0123abcd"] * 5)

_masks = count(1)


class Passing(Exception):
    """As `consumer.errors.Retry`."""


class Lasting(Exception):
    """As `consumer.errors.Reject`."""

    code = FailureCode.GEOMETRY_MISMATCH


class TooLong(Lasting):
    """As `consumer.errors.DeadlineExceeded`."""

    code = FailureCode.DEADLINE_EXCEEDED


class Cancelled(Exception):
    """As `consumer.errors.RequestCancelled`."""


class Job:
    """A piece of work in hand: its deliveries, and how far it is."""

    def __init__(self, lab: Lab, delivery: Copy) -> None:
        self.lab = lab
        self.request_id = delivery.request_id
        self.attempt = delivery.attempt
        self.deliveries = [delivery]
        self.cancelled = False
        #: Neither cancel nor deadline is obeyed any more: the first upload has begun.
        self.too_late = False
        #: A fault can strike: not while an end is told.
        self.working = False
        self._sequence = count()
        self._deadline: datetime | None = None
        self._steps = self._handle()

    @property
    def delivery_count(self) -> int:
        """The newest of those under which it is in hand."""
        return max(copy.count for copy in self.deliveries)

    def step(self, fault: type[Exception] | None = None) -> bool:
        """Go on, or meet a fault; False when there is nothing left to do but the ack."""
        try:
            self._steps.throw(fault()) if fault else next(self._steps)
        except StopIteration:
            return False
        return True

    def _handle(self) -> Iterator[None]:
        self._tell(InferenceAccepted)
        self._deadline = self.lab.clock.now() + timedelta(seconds=DEADLINE_SECONDS)
        yield
        try:
            mask = yield from self._complete()
        except Cancelled:
            self._tell(InferenceCancelled)
        except Passing:
            yield from self._try_later()
        except Lasting as error:
            self._fail(error.code)
        else:
            self._tell_completed(mask)
        yield

    def _complete(self) -> Iterator[None]:
        archive, request_id = self.lab.archive, self.request_id
        try:
            self.working = True
            self._progress(Stage.DOWNLOADING)
            yield
            self._check()
            stored = request_id in archive.primaries
            yield
            if not stored:
                self._check()
                self._progress(Stage.INFERRING)
                yield
                self._check()
                yield from self._begin_upload()
                archive.store_primary(request_id, next(_masks))
            self._progress(Stage.UPLOADING)
            yield
            self._check()
            if request_id not in archive.primaries:
                raise Passing
            mask = archive.primaries[request_id]
            yield
            if request_id not in archive.without_lesion:
                yield from self._begin_upload()
                archive.store_report(request_id, mask)
                yield
                if request_id not in archive.reports:
                    raise Passing
            return mask
        finally:
            self.working = False

    def _begin_upload(self) -> Iterator[None]:
        if self.too_late:
            return
        # Without a connection it waits for the next one.
        while not self.lab.hear_cancels():
            yield
        self._check()
        self.too_late = True
        yield

    def _check(self) -> None:
        if self.too_late:
            return
        if self.cancelled:
            raise Cancelled
        if self._deadline and self.lab.clock.now() >= self._deadline:
            raise TooLong

    def _try_later(self) -> Iterator[None]:
        if self.attempt > len(RETRY_TIERS):
            self._fail(FailureCode.UPLOAD_REJECTED)
            return
        copy = Copy(self.request_id, self.attempt + 1)
        until = self.lab.broker.put_into_tier(copy, self.lab.clock.now())
        yield
        self._tell(InferenceRetryScheduled, code=FailureCode.UPLOAD_REJECTED, next_at=until)

    def _fail(self, code: FailureCode) -> None:
        self._tell(InferenceFailed, code=code, detail="told by the model", stage_seconds={})

    def _tell_completed(self, mask: int) -> None:
        self._tell(InferenceCompleted, **figures(mask))

    def _progress(self, stage: Stage) -> None:
        self.lab.hints.append(self._event(InferenceProgressed, stage=stage, done=0, total=1))

    def _tell(self, kind: type[RunEvent], **fields: Any) -> None:
        self.lab.broker.replies.append(self._event(kind, **fields))

    def _event(self, kind: type[RunEvent], **fields: Any) -> RunEvent:
        return kind(
            request_id=self.request_id,
            attempt=self.attempt,
            delivery=self.delivery_count,
            sequence=next(self._sequence),
            lab=self.lab.name,
            at=self.lab.clock.now(),
            **fields,
        )


def figures(mask: int) -> dict[str, Any]:
    """What `completed` tells of a stored mask: its number is its volume."""
    return {
        "sr_instance_id": REPORT_ID,
        "tumor_detected": False,
        "volume_voxels": mask,
        "volume_ml": 0,
        "longest_diameter_mm": 0,
        "slices": 1,
        "slices_with_tumor": 0,
        "model": ModelReference(name="m", version="1", sha256="0" * 64),
        "stage_seconds": {},
    }
