"""One request, from its delivery to a legal ack."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from consumer.amqp.acks import LegalAck
from consumer.analysis import Analysis
from consumer.errors import ArchiveUnavailable, LabError, Reject, RequestCancelled, Retry
from consumer.halt import Halt
from consumer.lab import Lab
from consumer.run import Held, Run
from messages.events import (
    InferenceAccepted,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRetryScheduled,
)
from messages.request import InferenceRequested
from messages.topology import RETRY_TIERS

#: Times that one run waits for an archive that went away. One that comes and goes so often fails
#: each run half-way, and that must cost an attempt: the tiers have a budget.
MAX_HOLDS = 20

log = structlog.get_logger(__name__)


class Job:
    """Carries requests through a lab; several at once, each in a thread of its own."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._announcer = lab.announcer

    def handle(self, request: InferenceRequested, held: Held) -> LegalAck:
        """Carry the request to one of its ends and return the reason to acknowledge it.

        Every return happens after the broker has confirmed what the reason promises. Raises
        `LabStopping` when the lab stops first; the delivery then stays the broker's.
        """
        halt = Halt(cancelled=held.cancelled, stopping=self._lab.stopping)
        run = Run(request, held=held, lab=self._lab.name, halt=halt)
        with structlog.contextvars.bound_contextvars(
            request_id=str(request.request_id), attempt=request.attempt, delivery=held.count
        ):
            log.info("accepted", action="job.accepted", model=request.model)
            self._announcer.tell(run.event(InferenceAccepted))
            halt.end_after(request.deadline_s)
            try:
                completed = self._complete(run)
            except RequestCancelled:
                return self._cancel(run)
            except Retry as error:
                return self._try_later(run, error)
            except Reject as error:
                return self._fail(run, error)
            self._announcer.tell(completed)
            log.info("completed", action="job.completed", **run.stage_seconds)
            return LegalAck.STORED

    def _complete(self, run: Run) -> InferenceCompleted:
        """Do the work of the run, and do it again after the archive was away: no attempt spent.

        Only an archive that does not answer its probe is waited for. One that answers and fails
        the same request each time has the budget of every passing fault.
        """
        holds = 0
        while True:
            run.halt.check()
            try:
                return Analysis(self._lab, run).complete()
            except ArchiveUnavailable as error:
                if holds == MAX_HOLDS or not self._lab.archive_watch.wait_if_away(run.halt):
                    raise
                holds += 1
                log.info("repeated", action="job.repeat", holds=holds, detail=error.detail)

    def _cancel(self, run: Run) -> LegalAck:
        self._announcer.tell(run.event(InferenceCancelled))
        log.info("cancelled", action="job.cancelled", **run.stage_seconds)
        return LegalAck.CANCELLED

    def _try_later(self, run: Run, error: LabError) -> LegalAck:
        """Put a copy into the next tier; when the tiers are spent, fail with this last code."""
        tiers = list(RETRY_TIERS.items())
        if run.request.attempt > len(tiers):
            return self._fail(run, error)
        tier, seconds = tiers[run.request.attempt - 1]
        copy = run.request.model_copy(update={"attempt": run.request.attempt + 1})
        self._announcer.put_into_tier(copy, tier)
        next_at = datetime.now(UTC) + timedelta(seconds=seconds)
        self._announcer.tell(run.event(InferenceRetryScheduled, code=error.code, next_at=next_at))
        log.warning(
            "tried again later", action="job.retry", code=error.code, tier=tier, detail=error.detail
        )
        return LegalAck.RETRY

    def _fail(self, run: Run, error: LabError) -> LegalAck:
        log.error("failed", action="job.failed", code=error.code, detail=error.detail)
        self._announcer.tell(
            run.event(
                InferenceFailed,
                code=error.code,
                detail=error.detail[:500],
                stage_seconds=run.stage_seconds,
            )
        )
        return LegalAck.FAILED
