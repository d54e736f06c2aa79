"""One run of a request in a lab, after `consumer.jobs.job` and `consumer.jobs.analysis`, in steps.

Whatever lies between two yields happens at once. Between them everything else can happen: a cancel
is heard, the connection goes, another lab stores its result, the archive goes away, the lab dies.
The real one stands in `job_run`, without a broker and a site around it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from consumer.jobs.job import MAX_HOLDS
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
from tests.model.job_faults import Away, Cancelled, Lasting, Passing, TooLong

if TYPE_CHECKING:
    from tests.model.lab import Lab

#: Seconds that a run may take before it begins to store.
DEADLINE_SECONDS = 3600

REPORT_ID = "-".join(["0123abcd"] * 5)

_masks = count(1)


class Job:
    """A piece of work in hand: its deliveries, and how far it is."""

    def __init__(self, lab: Lab, delivery: Copy) -> None:
        self.lab = lab
        self.request_id = delivery.request_id
        self.attempt = delivery.attempt
        self.spent = delivery.spent
        self.deliveries = [delivery]
        self.begun = False
        self.cancelled = False
        #: Neither cancel nor deadline is obeyed any more: an upload has begun.
        self.too_late = False
        #: An upload has ever begun: something may be stored.
        self.may_have_stored = False
        #: A fault can strike: not while an end is told, nor while it waits for the archive.
        self.working = False
        self._sequence = count()
        self._deadline: datetime | None = None
        self._steps = self._handle()

    @property
    def delivery_count(self) -> int:
        """The newest of those under which it is in hand."""
        return max(copy.delivery for copy in self.deliveries)

    def step(self, fault: type[Exception] | None = None) -> bool:
        """Go on, or meet a fault; False when there is nothing left to do but the ack."""
        self.begun = True
        try:
            self._steps.throw(fault()) if fault else next(self._steps)
        except StopIteration:
            return False
        return True

    def _handle(self) -> Generator[None, None, None]:
        yield from self._tell(InferenceAccepted)
        self._deadline = self.lab.clock.now() + timedelta(seconds=DEADLINE_SECONDS)
        try:
            mask = yield from self._complete()
        except Cancelled:
            yield from self._tell_end(InferenceCancelled)
        except Passing as error:
            yield from self._try_later(error.code)
        except Lasting as error:
            yield from self._fail(error.code)
        else:
            yield from self._tell(InferenceCompleted, **figures(mask))
        yield

    def _complete(self) -> Generator[None, None, int]:
        """Once more after each time that the archive was away: no attempt is spent."""
        holds = 0
        while True:
            self._check()
            try:
                return (yield from self._analyse())
            except Away:
                self.too_late = False
                yield
                if holds == MAX_HOLDS or not (yield from self._wait_if_away()):
                    raise
                holds += 1

    def _wait_if_away(self) -> Generator[None, None, bool]:
        was_away = self.lab.archive.away
        while self.lab.archive.away:
            self.lab.misses_archive = True
            self._check()
            yield
        return was_away

    def _analyse(self) -> Generator[None, None, int]:
        archive, request_id = self.lab.archive, self.request_id
        try:
            self.working = True
            self._progress(Stage.DOWNLOADING)
            yield
            self._reach_archive()
            stored = request_id in archive.primaries
            yield
            if not stored:
                self._check()
                self._progress(Stage.INFERRING)
                yield
                self._check()
                yield from self._begin_upload()
                self._reach_archive()
                archive.store_primary(request_id, next(_masks))
            self._progress(Stage.UPLOADING)
            yield
            self._reach_archive()
            if request_id not in archive.primaries:
                raise Passing
            mask = archive.primaries[request_id]
            yield
            if request_id not in archive.without_lesion:
                yield from self._begin_upload()
                self._reach_archive()
                archive.store_report(request_id, mask)
                yield
                self._reach_archive()
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
        self.too_late = self.may_have_stored = True
        yield

    def _reach_archive(self) -> None:
        self._check()
        if self.lab.archive.away:
            raise Away

    def _check(self) -> None:
        if self.too_late:
            return
        if self.cancelled:
            raise Cancelled
        if self._deadline and self.lab.clock.now() >= self._deadline:
            raise TooLong

    def _try_later(self, code: FailureCode) -> Iterator[None]:
        if self.spent >= len(RETRY_TIERS):
            yield from self._fail(code)
            return
        copy = Copy(self.request_id, self.attempt + 1, spent=self.spent + 1)
        until = self.lab.broker.put_into_tier(copy, self.lab.clock.now())
        yield
        yield from self._tell_end(InferenceRetryScheduled, code=code, next_at=until)

    def _fail(self, code: FailureCode) -> Iterator[None]:
        yield from self._tell_end(
            InferenceFailed, code=code, detail="told by the model", stage_seconds={}
        )

    def _progress(self, stage: Stage) -> None:
        self.lab.hints.append(self._event(InferenceProgressed, stage=stage, done=0, total=1))

    def _tell_end(self, kind: type[RunEvent], **fields: Any) -> Iterator[None]:
        """Again while the work came back under a newer delivery before the confirmation."""
        told = -1
        while told != self.delivery_count:
            told = self.delivery_count
            yield from self._tell(kind, **fields)

    def _tell(self, kind: type[RunEvent], **fields: Any) -> Iterator[None]:
        """The broker has it at once, and confirms it when it likes."""
        event = self._event(kind, **fields)
        newest = max(self.deliveries, key=lambda copy: copy.delivery)
        self.lab.broker.told(event, newest, self)
        self.lab.broker.replies.append(event)
        yield

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
