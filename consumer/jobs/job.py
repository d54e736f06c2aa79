"""One request, from its delivery to a legal ack."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from consumer.amqp.acks import LegalAck
from consumer.errors import ArchiveUnavailable, LabError, Reject, RequestCancelled, Retry
from consumer.jobs.analysis import Analysis
from consumer.jobs.lab import Lab
from consumer.jobs.run import DeliveredRequest, Run
from consumer.stop_conditions import StopConditions
from messages.events import (
    InferenceAccepted,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRetryScheduled,
    RunEvent,
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

    def handle(self, request: InferenceRequested, delivered: DeliveredRequest) -> LegalAck:
        """Carry the request to one of its ends and return the reason to acknowledge it.

        Every return happens after the broker has confirmed what the reason promises. Raises
        `LabStopping` when the lab stops first; the delivery then stays the broker's.
        """
        stop_conditions = StopConditions(cancelled=delivered.cancelled, stopping=self._lab.stopping)
        run = Run(request, delivered=delivered, lab=self._lab.name, stop_conditions=stop_conditions)
        with structlog.contextvars.bound_contextvars(
            request_id=str(request.request_id), attempt=request.attempt, delivery=delivered.count
        ):
            log.info("accepted", action="job.accepted", model=request.model)
            self._announcer.publish(run.event(InferenceAccepted))
            stop_conditions.set_deadline(request.deadline_s)
            try:
                completed = self._complete(run)
            except RequestCancelled:
                return self._cancel(run)
            except Retry as error:
                return self._try_later(run, error)
            except Reject as error:
                return self._fail(run, error)
            self._announcer.publish(completed)
            log.info("completed", action="job.completed", **run.stage_seconds)
            return LegalAck.STORED

    def _complete(self, run: Run) -> InferenceCompleted:
        """Do the work of the run, and do it again after the archive was away: no attempt spent.

        Only an archive that does not answer its probe is waited for. One that answers and fails
        the same request each time has the budget of every passing fault.
        """
        holds = 0
        while True:
            run.stop_conditions.check()
            try:
                return Analysis(self._lab, run).complete()
            except ArchiveUnavailable as error:
                # The reader's cancel and the deadline end the waiting, also when an upload had
                # begun: it may lie in the archive, and the site sweeps after each `cancelled`.
                run.stop_conditions.heed_cancel_and_deadline()
                if holds == MAX_HOLDS or not self._lab.archive_watch.wait_if_away(
                    run.stop_conditions
                ):
                    raise
                holds += 1
                log.info("repeated", action="job.repeat", holds=holds, detail=error.detail)

    def _cancel(self, run: Run) -> LegalAck:
        self._publish_end(run, InferenceCancelled)
        log.info("cancelled", action="job.cancelled", **run.stage_seconds)
        return LegalAck.CANCELLED

    def _try_later(self, run: Run, error: LabError) -> LegalAck:
        """Put a copy into the next tier; when the tiers are spent, fail with this last code."""
        request, tiers = run.request, list(RETRY_TIERS.items())
        # Not by the attempt: a replay raises that too, and begins with a whole budget.
        if request.spent >= len(tiers):
            return self._fail(run, error)
        tier, seconds = tiers[request.spent]
        raised = {"attempt": request.attempt + 1, "retries": request.spent + 1}
        copy = request.model_copy(update=raised)
        self._announcer.put_into_tier(copy, tier)
        next_at = datetime.now(UTC) + timedelta(seconds=seconds)
        self._publish_end(run, InferenceRetryScheduled, code=error.code, next_at=next_at)
        log.warning(
            "tried again later", action="job.retry", code=error.code, tier=tier, detail=error.detail
        )
        return LegalAck.RETRY

    def _fail(self, run: Run, error: LabError) -> LegalAck:
        raised = {"error": error.raised} if error.raised else {}
        log.error("failed", action="job.failed", code=error.code, detail=error.detail, **raised)
        self._publish_end(
            run,
            InferenceFailed,
            code=error.code,
            detail=error.detail[:500],
            stage_seconds=run.stage_seconds,
        )
        return LegalAck.FAILED

    def _publish_end(self, run: Run, kind: type[RunEvent], **fields: Any) -> None:
        """Publish an end under the delivery that is in hand once the broker has confirmed it.

        The broker may be in alarm for hours. If the work came back under a newer delivery
        meanwhile, another lab may have published `accepted` in between, and the site takes an end
        of the older run for out of date; the ack that follows would leave it without any. Twice it
        is harmless. `completed` needs none of this: it ignores order.
        """
        published = -1
        while published != run.delivery:
            event = run.event(kind, **fields)
            self._announcer.publish(event)
            published = event.delivery
