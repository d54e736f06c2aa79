"""A real job (`consumer.jobs.job.Job`) on recording fakes, which stops at each call of one.

What a schedule does then happens before the call goes on: another run works, the archive goes
away, a cancel is heard, the work is given again, a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from consumer.amqp.acks import LegalAck
from consumer.errors import ArchiveUnavailable, GeometryMismatch, LabError, LabStopping
from consumer.stop_conditions import StopConditions
from messages.request import InferenceRequested
from tests.model.job_fakes import (
    Mood,
    NotKept,
    RunSender,
    RunWatch,
    RunWorkbench,
    SharedArchive,
)
from tests.model.job_faults import Ours
from tests.model.paced import Paced
from tests.unit.job_bench import Bench, Once

if TYPE_CHECKING:
    from tests.model.job_runs import Runs

#: Calls that the archive answers, and those of the children.
OF_ARCHIVE = frozenset({"download", "check", "find", "found", "store", "stored", "fetch"})
OF_CHILDREN = frozenset({"read", "segment", "package", "measure"})

#: Calls in which whoever stops the lab ends the wait, besides those that check the stop conditions.
WAITS = frozenset({"tell", "told", "tell end", "told end", "hear", "probe", "wait"})

#: Calls of a run that goes on and on: twenty holds, each of a whole analysis, are less.
MOST_CALLS = 2000


class Killed(BaseException):
    """SIGKILL: nothing in the job may act on it."""


class JobRun:
    """One job: what it is told, what it calls, and what it ends in."""

    def __init__(
        self, world: Runs, lab: str, asked: InferenceRequested, *, count: int, voxels: int
    ) -> None:
        self._world = world
        self.lab = lab
        self.request = asked
        self.held = Once(count, unheard=self._hear)
        #: The broker counts the newest delivery as this lab's.
        self.owns = True
        #: It counts, too, that it takes that delivery back.
        self.counted = True
        #: Its deadline has passed.
        self.overdue = False
        #: A cancel is on its way to it.
        self.cancel_waits = False
        #: Name of each call, and whether the cancel was heard before it.
        self.calls: list[tuple[str, bool]] = []
        #: What the calls have failed with, and at which of them.
        self.met: list[tuple[int, BaseException]] = []
        #: The delivery count when the last message was confirmed.
        self.count_at_confirm = count
        self.outcome: LegalAck | None = None
        self.error: BaseException | None = None
        self.sender = RunSender(step=self._call, on_sent=world.hear, on_hint=world.hinted.append)
        self.watch = RunWatch(step=self._call, mood=lambda: world.mood)
        self.workbench = RunWorkbench(self._call, author=world.next_author(), voxels=voxels)
        self._bench = Bench(lab=lab, sender=self.sender, watch=self.watch)
        self._bench.archive = SharedArchive(self._call, objects=world.objects, ids=world.ids)
        self._bench.workbench = self.workbench
        self._paced = Paced(self._work)
        self._paced.start()

    @property
    def at(self) -> str | None:
        """The call at which it stands; None when it is over."""
        return self._paced.at

    @property
    def stop_conditions(self) -> StopConditions | None:
        """What ends it, as far as a fake was handed that."""
        return self.workbench.stop_conditions or self.watch.stop_conditions

    def go_on(self) -> None:
        """Go on to the next call."""
        self._paced.go_on()

    def go(self, far: int | str) -> None:
        """Go on for so many calls, or to the next call of that name, if it comes to one."""
        if isinstance(far, str):
            self._go_to(lambda call: call == far)
        for _ in range(far if isinstance(far, int) else 0):
            if self.at is not None:
                self.go_on()

    def meet(self, fault: BaseException) -> None:
        """Let a call fail: the one at which it stands, or the next one that can fail so."""
        if self._go_to(lambda call: can_fail(call, fault)):
            self.met.append((len(self.calls) - 1, fault))
            self._paced.go_on(fault)

    def finish(self) -> None:
        """Go to the end."""
        self._go_to(lambda _: False)

    def _go_to(self, place: Callable[[str], bool]) -> bool:
        while self.at is not None and not place(self.at):
            waits = self.at == "wait"
            self.go_on()
            if waits and self.at == "wait":
                # The archive is away: it would wait for ever.
                return False
        return self.at is not None

    def pass_deadline(self) -> None:
        """Its time is up."""
        if self.stop_conditions is not None:
            self.overdue = True
            self.stop_conditions.set_deadline(0)

    def stop(self, *, counted: bool) -> None:
        """The grace of its lab is over; not every broker counts that the work comes back."""
        self.counted = counted
        self._bench.stopping.set()

    def _work(self) -> None:
        try:
            self.outcome = self._bench.job().handle(self.request, self.held)
        except BaseException as error:  # noqa: BLE001 - it is looked at, whatever it is
            self.error = error

    def _call(self, name: str) -> None:
        self.calls.append((name, self.held.cancelled.is_set()))
        assert len(self.calls) < MOST_CALLS, "the run never ends"
        self._paced.pause(name)
        if name.startswith("told"):
            self.count_at_confirm = self.held.count
        fault: LabError | None = None
        if name in OF_ARCHIVE and self._world.mood is not Mood.WELL:
            fault = ArchiveUnavailable("HTTP 500")
        if name == "read" and self._world.hopeless:
            fault = GeometryMismatch("slice 3")
        if fault is not None:
            self.met.append((len(self.calls) - 1, fault))
            raise fault

    def _hear(self) -> None:
        self._call("hear")
        if self.cancel_waits:
            self.held.cancelled.set()


def can_fail(call: str, fault: BaseException) -> bool:
    """Whether this call can fail so in the lab."""
    match fault:
        case Killed():
            return True
        case NotKept():
            return call == "store"
        case LabError():
            return call in OF_ARCHIVE | OF_CHILDREN
        case LabStopping():
            return call in OF_ARCHIVE | OF_CHILDREN | WAITS
        case Ours():
            return call != "hint"
    return False
