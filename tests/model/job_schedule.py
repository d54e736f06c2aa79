"""What can happen to the runs of one request while they stand at a call, as a state machine."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from consumer.errors import LabStopping, Reject, Retry
from tests.model import job_promises as promises
from tests.model.job_fakes import Mood, NotKept
from tests.model.job_faults import Ours
from tests.model.job_run import OF_ARCHIVE, OF_CHILDREN, WAITS, JobRun, Killed
from tests.model.job_runs import Runs

T = TypeVar("T")

#: How far a run goes before something else happens: so many calls, or up to the next one of a name.
FAR: tuple[int | str, ...] = (0, 1, 2, 5, 13, *sorted(OF_ARCHIVE | OF_CHILDREN | WAITS))

LABS = ("a", "b")

#: What a call can fail with, if `job_run.can_fail` says that this one can.
FAULTS: tuple[type[Exception], ...] = (
    *Retry.__subclasses__(),
    *Reject.__subclasses__(),
    LabStopping,
    Ours,
    NotKept,
)

#: Voxels that a run finds: nothing, or something.
VOXELS = (0, 3, 8)

#: Chooses one of several, whatever there is at that moment.
which = st.integers(0, 5)
far = st.sampled_from(FAR)
labs = st.sampled_from(LABS)
faults = st.sampled_from(FAULTS)

#: Rounds within which everything must be worked off: a run out of each tier, and some more.
ROUNDS = 20


class JobRuns(RuleBasedStateMachine):
    """The runs of one request, and what hypothesis can do to them."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Runs(retries=0, hopeless=False)
        self.random = Random(0)
        #: Runs that were looked at after their end.
        self.checked: set[int] = set()

    @initialize(
        retries=st.sampled_from([0, None]),
        twice=st.booleans(),
        hopeless=st.booleans(),
        seed=st.integers(0, 999),
    )
    def begin(self, retries: int | None, twice: bool, hopeless: bool, seed: int) -> None:
        self.world = Runs(retries=retries, hopeless=hopeless)
        self.random = Random(seed)
        if twice:
            # A relay that died between publishing and noting it.
            self.world.ready *= 2

    @precondition(lambda self: self.world.ready)
    @rule(n=which, lab=labs, voxels=st.sampled_from(VOXELS), far=far)
    def lab_takes(self, n: int, lab: str, voxels: int, far: int | str) -> None:
        self.world.take(n, lab, voxels).go(far)

    @precondition(lambda self: self.world.live)
    @rule(n=which, far=far)
    def run_goes_on(self, n: int, far: int | str) -> None:
        self.run(n).go(far)

    @precondition(lambda self: self.world.live)
    @rule(n=which, far=far, fault=faults, more=far)
    def call_fails(self, n: int, far: int | str, fault: type[Exception], more: int | str) -> None:
        run = self.run(n)
        run.go(far)
        run.meet(fault("injected"))
        run.go(more)

    @precondition(lambda self: self.world.live)
    @rule(n=which, far=far, back=st.booleans())
    def connection_is_lost(self, n: int, far: int | str, back: bool) -> None:
        run = self.run(n)
        run.go(far)
        lost = self.world.lose(run)
        if lost and back and run.at is not None:
            # Before another lab gets it.
            self.world.take(len(self.world.ready) - 1, run.lab, voxels=0)

    @precondition(lambda self: self.world.live)
    @rule(n=which, far=far)
    def lab_is_killed(self, n: int, far: int | str) -> None:
        run = self.run(n)
        run.go(far)
        run.meet(Killed())

    @precondition(lambda self: self.world.live)
    @rule(n=which, far=far, more=far, counted=st.booleans())
    def lab_stops(self, n: int, far: int | str, more: int | str, counted: bool) -> None:
        run = self.run(n)
        run.go(far)
        run.stop(counted=counted)
        run.go(more)

    @precondition(lambda self: not self.world.cancel_asked)
    @rule()
    def reader_cancels(self) -> None:
        self.world.cancel()

    @precondition(lambda self: self.world.hearing)
    @rule(n=which, far=far)
    def cancel_is_heard(self, n: int, far: int | str) -> None:
        run = pick(self.world.hearing, n)
        run.go(far)
        run.held.cancelled.set()

    @precondition(lambda self: self.world.limited)
    @rule(n=which, far=far)
    def deadline_passes(self, n: int, far: int | str) -> None:
        run = pick(self.world.limited, n)
        run.go(far)
        run.pass_deadline()

    @rule(mood=st.sampled_from(Mood))
    def archive_becomes(self, mood: Mood) -> None:
        self.world.mood = mood

    @precondition(lambda self: self.world.tiers)
    @rule()
    def tiers_expire(self) -> None:
        self.world.expire_tiers()

    @precondition(lambda self: self.world.newest.attempt < 6)
    @rule()
    def site_sends_again(self) -> None:
        self.world.send_again()

    @invariant()
    def promises_hold(self) -> None:
        promises.check_archive(self.world)
        for number, run in enumerate(self.world.runs):
            if run.at is None and number not in self.checked:
                self.checked.add(number)
                promises.check_run(self.world, run)
                if run.outcome is None:
                    self.world.lose(run)

    def teardown(self) -> None:
        """Nothing goes wrong any more, and everything is worked off."""
        try:
            self.rest()
            promises.check_rest(self.world, self.random)
        finally:
            for run in self.world.live:
                run.meet(Killed())

    def rest(self) -> None:
        self.world.mood = Mood.WELL
        for _ in range(ROUNDS):
            for run in self.world.live:
                run.finish()
            self.promises_hold()
            self.world.expire_tiers()
            if not self.world.ready:
                return
            while self.world.ready:
                self.world.take(0, "a", voxels=5)
        raise AssertionError("the request is still on its way")

    def run(self, n: int) -> JobRun:
        return pick(self.world.live, n)


def pick(items: Sequence[T], n: int) -> T:
    return items[n % len(items)]
