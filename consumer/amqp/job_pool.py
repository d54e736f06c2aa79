"""The threads in which jobs run, what they hand back, and how many ended in a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import structlog

from consumer.amqp.acks import LegalAck
from consumer.amqp.errors import LabBroken
from consumer.amqp.in_flight import WorkItem
from consumer.errors import LabStopping

log = structlog.get_logger(__name__)

#: Threads beyond those of the jobs: for cancelled requests, messages put off, and jobs that still
#: run though the broker has given their delivery to another lab.
_SPARE_THREADS = 8

#: Faults of the lab without a success between them, after which it stops: a supervisor starts it
#: anew, and an engineer sees it. The queue's delivery limit is 20.
MAX_FAULTS = 5


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended; `reason` is None when its deliveries may not be settled."""

    item: WorkItem
    reason: LegalAck | None
    #: The lab itself is at fault.
    fault: bool = False


class JobPool:
    """Runs jobs. `wake` is called from a job's thread when there is an outcome."""

    def __init__(self, *, at_once: int, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._threads = ThreadPoolExecutor(at_once + _SPARE_THREADS, thread_name_prefix="job")
        self._outcomes: SimpleQueue[JobOutcome] = SimpleQueue()

    def begin(self, item: WorkItem) -> None:
        """Do its work in a thread."""
        item.begun = True
        self._threads.submit(self._run, item)

    def outcomes(self) -> Iterator[JobOutcome]:
        """What was handed back since the last call."""
        while True:
            try:
                yield self._outcomes.get_nowait()
            except Empty:
                return

    def shutdown_now(self) -> None:
        """Begin nothing more. Threads that run are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _run(self, item: WorkItem) -> None:
        reason: LegalAck | None = None
        fault = False
        try:
            reason = item.work()
        except LabStopping:
            log.info("job left to the broker", action="job.stopped")
        except Exception:
            fault = True
            log.exception("job ended in a fault of the lab", action="job.fault")
        self._outcomes.put(JobOutcome(item, reason, fault))
        self._wake()


class Faults:
    """How many jobs in a row ended in one."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def record_success(self) -> None:
        """A job ended as it should."""
        self._in_a_row = 0

    def record_fault(self) -> None:
        """A job ended in a fault. Raises `LabBroken` when it is one too many."""
        self._in_a_row += 1
        if self._in_a_row >= MAX_FAULTS:
            raise LabBroken(
                f"{self._in_a_row} jobs in a row ended in a fault of this lab; its log has them "
                "under the action job.fault"
            )
