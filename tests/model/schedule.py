"""Everything that can happen, as a state machine: one rule for each thing that can be next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from random import Random
from typing import TypeVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.model import promises
from tests.model.job import Job
from tests.model.job_faults import Away, Lasting, Ours, Passing
from tests.model.site import Row
from tests.model.world import World
from web.inference.states import State

T = TypeVar("T")

#: What a job can meet while it works. `Away` with an archive that is there is one fault of it.
FAULTS = (Passing, Lasting, Away, Ours)

#: Chooses one of several, whatever there is at that moment.
which = st.integers(0, 5)
labs = st.integers(0, 1)
#: How far something goes before something else happens. A job has about a dozen steps.
steps = st.integers(0, 5)
faults = st.sampled_from(FAULTS)

#: Seconds that pass. The longer ones only while no lab is storing: `reconciler.STORING_SECONDS` is
#: what a run that nobody hears of any more may need for that.
SHORT = (1, 11, 31)
LONG = (130, 700, 3700, 5000, 700_000)


class Going(Enum):
    """How a lab leaves the broker."""

    #: SIGKILL.
    DIES = auto()
    #: Its work goes on; it was frozen, or its network was away.
    CUT_OFF = auto()
    #: The broker would not wait longer for it, and a newer one does not count that.
    TIMED_OUT = auto()
    #: SIGTERM, and the grace is over.
    STOPS = auto()
    #: The same with a broker that does not count this way back.
    STOPS_UNCOUNTED = auto()


class Schedules(RuleBasedStateMachine):
    """A small world, and what hypothesis or chance can do to it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.site = self.world.site
        self.broker = self.world.broker
        self.random = Random(0)

    @initialize(
        requests=st.integers(1, 3),
        lesions=st.integers(0, 7),
        arriving=st.integers(0, 7),
        published=st.booleans(),
        seed=st.integers(0, 999),
    )
    def begin(self, requests: int, lesions: int, arriving: int, published: bool, seed: int) -> None:
        self.random = Random(seed)
        for number in range(requests):
            request_id = UUID(int=number + 1)
            self.site.submit(request_id, arriving=bool(arriving >> number & 1))
            if lesions >> number & 1:
                self.world.archive.without_lesion.add(request_id)
        for lab in self.world.labs:
            lab.connect()
        if published:
            self.world.relay()

    # The reader, staff, and time.

    @precondition(lambda self: self.rows(cancellable))
    @rule(n=which)
    def reader_cancels(self, n: int) -> None:
        self.site.cancel(pick(self.rows(cancellable), n).request_id)

    @precondition(lambda self: self.rows(dead))
    @rule(n=which)
    def staff_replays(self, n: int) -> None:
        self.site.send_again(pick(self.rows(dead), n).request_id, by_staff=True)
        self.world.relay()

    @rule(seconds=st.sampled_from(SHORT))
    def a_moment_passes(self, seconds: int) -> None:
        self._pass(seconds)

    @precondition(lambda self: not self.storing())
    @rule(seconds=st.sampled_from(LONG))
    def time_passes(self, seconds: int) -> None:
        self._pass(seconds)

    @precondition(lambda self: self.site.arriving)
    @rule(n=which, fits=st.booleans())
    def last_image_arrives(self, n: int, fits: bool) -> None:
        request_id = pick(sorted(self.site.arriving), n)
        self.site.arriving.remove(request_id)
        if not fits:
            self.site.unfit.add(request_id)

    # The site.

    @rule(listens=st.booleans(), hints=st.booleans())
    def site_works(self, listens: bool, hints: bool) -> None:
        self.world.relay()
        if listens:
            self.world.listen()
        if hints:
            for lab in self.world.labs:
                self.world.show_progress(lab)

    @precondition(lambda self: self.site.waiting())
    @rule(n=which)
    def relay_takes(self, n: int) -> None:
        self.site.lease(pick(self.site.waiting(), n))

    @precondition(lambda self: self.site.flying)
    @rule(n=which)
    def relay_publishes(self, n: int) -> None:
        self.site.publish(pick(list(self.site.flying), n))

    @precondition(lambda self: self.site.flying)
    @rule(n=which)
    def relay_dies(self, n: int) -> None:
        del self.site.flying[pick(list(self.site.flying), n)]

    @precondition(lambda self: any(self.site.flying.values()))
    @rule(n=which)
    def relay_marks(self, n: int) -> None:
        published = [written for written, done in self.site.flying.items() if done]
        self.site.mark(pick(published, n))

    @precondition(lambda self: self.broker.replies)
    @rule(n=which, again=st.booleans())
    def site_hears_one(self, n: int, again: bool) -> None:
        event = pick(self.broker.replies, n)
        if not again:
            self.broker.replies.remove(event)
        self.site.record_event(event)

    @precondition(lambda self: self.broker.dead)
    @rule(n=which)
    def site_reads_a_letter(self, n: int) -> None:
        self.world.move_letter(pick(self.broker.dead, n))

    @rule(beats=st.booleans())
    def reconciler_looks(self, beats: bool) -> None:
        if beats:
            self._beat()
        for row in self.site.rows.values():
            self.world.reconciler.look(row)

    @precondition(lambda self: self.rows(to_confirm))
    @rule(n=which)
    def site_confirms(self, n: int) -> None:
        self.world.reconciler.confirm(pick(self.rows(to_confirm), n))

    @precondition(lambda self: self.rows(known))
    @rule(n=which)
    def somebody_claims(self, n: int) -> None:
        self.world.claim(pick(self.rows(known), n))

    @precondition(lambda self: self.rows(to_sweep))
    @rule(n=which)
    def sweep_begins(self, n: int) -> None:
        self.world.reconciler.begin_sweep(pick(self.rows(to_sweep), n))

    @precondition(lambda self: self.world.reconciler.looks)
    @rule(n=which)
    def sweep_ends(self, n: int) -> None:
        self.world.reconciler.end_sweep(pick(self.world.reconciler.looks, n))

    # The labs.

    @rule(lab=labs, n=which, steps=steps)
    def lab_works(self, lab: int, n: int, steps: int) -> None:
        self._take(lab, n)
        self._work(lab, n, steps)

    @precondition(lambda self: self.broker.ready or any(lab.hand for lab in self.world.labs))
    @rule(lab=labs, n=which, steps=steps, fault=faults, more=st.integers(0, 3))
    def job_meets_a_fault(
        self, lab: int, n: int, steps: int, fault: type[Exception], more: int
    ) -> None:
        self._take(lab, n)
        job = self._work(lab, n, steps)
        if job and job.working:
            if fault is Ours:
                self.world.end_of([job])
            job.lab.work(job, fault)
            self._go_on(job, more)

    @precondition(lambda self: self.broker.ready or any(lab.hand for lab in self.world.labs))
    @rule(lab=labs, n=which, steps=steps, how=st.sampled_from(Going), back=st.booleans())
    def lab_goes(self, lab: int, n: int, steps: int, how: Going, back: bool) -> None:
        self._take(lab, n)
        self._work(lab, n, steps)
        gone = self.world.labs[lab]
        if how not in {Going.CUT_OFF, Going.TIMED_OUT}:
            self.world.end_of(gone.hand)
        match how:
            case Going.DIES:
                gone.die()
            case Going.CUT_OFF | Going.TIMED_OUT:
                gone.cut_off(counted=how is Going.CUT_OFF)
            case Going.STOPS | Going.STOPS_UNCOUNTED:
                gone.stop(counted=how is Going.STOPS)
        if back:
            gone.connect()

    @precondition(lambda self: not all(lab.connected for lab in self.world.labs))
    @rule(lab=labs)
    def lab_connects(self, lab: int) -> None:
        if not self.world.labs[lab].connected:
            self.world.labs[lab].connect()

    @rule(lab=labs, told=st.booleans())
    def lab_hears_cancels(self, lab: int, told: bool) -> None:
        if told:
            self.world.relay()
        self.world.labs[lab].hear_cancels()

    @rule()
    def heartbeats(self) -> None:
        self._beat()

    @rule(lab=labs)
    def progress_is_lost(self, lab: int) -> None:
        self.world.labs[lab].hints.clear()

    @rule(away=st.booleans())
    def archive_goes_or_returns(self, away: bool) -> None:
        if away:
            self.world.archive.away = True
        else:
            self.world.archive_returns()

    # The broker loses what it was told to keep: an operator purges a queue.

    @precondition(lambda self: self.broker.ready)
    @rule(n=which)
    def request_is_purged(self, n: int) -> None:
        copy = pick(self.broker.ready, n)
        self.broker.ready.remove(copy)
        self.world.unheard.add(copy.request_id)

    @precondition(lambda self: self.broker.replies)
    @rule(n=which)
    def reply_is_purged(self, n: int) -> None:
        event = pick(self.broker.replies, n)
        # Of a request that is being cancelled it may be the only word of an object that is in the
        # archive: only the last look, hours later, would find that.
        if self.site.rows[event.request_id].snapshot.cancel_asked_at is None:
            self.broker.replies.remove(event)

    @invariant()
    def promises_hold(self) -> None:
        promises.check_identities(self.world)
        for row in self.site.rows.values():
            promises.check_shape(row)
            promises.check_history(row)
            promises.check_result(self.world, row)
            promises.check_held(self.world, row)
            promises.check_told(self.world, row)
            promises.check_swept(self.world, row)

    def teardown(self) -> None:
        """All faults end, and the world comes to rest with one outcome for each request."""
        rests = self.world.come_to_rest()
        assert rests, [row.snapshot for row in self.site.rows.values()]
        self.promises_hold()
        for row in self.site.rows.values():
            promises.check_rest(self.world, row)
            promises.check_any_order(self.world, row, self.random)

    def storing(self) -> bool:
        return any(job.too_late for lab in self.world.labs for job in lab.hand)

    def rows(self, kind: Callable[[Row], bool]) -> list[Row]:
        return [row for row in self.site.rows.values() if kind(row)]

    def _beat(self) -> None:
        for lab in self.world.labs:
            if lab.connected:
                self.world.reconciler.hear(lab.name, lab.current)

    def _take(self, number: int, n: int) -> None:
        lab = self.world.labs[number]
        if self.broker.ready and lab.takes_more:
            lab.take(pick(self.broker.ready, n))

    def _work(self, number: int, n: int, steps: int) -> Job | None:
        lab = self.world.labs[number]
        if not lab.hand:
            return None
        job = pick(lab.hand, n)
        self._go_on(job, steps)
        return job

    def _go_on(self, job: Job, steps: int) -> None:
        for _ in range(steps):
            if job in job.lab.hand:
                job.lab.work(job)

    def _pass(self, seconds: int) -> None:
        self.world.clock.advance(seconds)
        self.broker.expire_tiers(self.world.clock.now())


def cancellable(row: Row) -> bool:
    return not row.over and row.state is not State.CANCELLING


def dead(row: Row) -> bool:
    return row.state is State.DEAD


def known(row: Row) -> bool:
    """Whether a lab can have learnt its identity."""
    return row.snapshot.published_at is not None


def to_confirm(row: Row) -> bool:
    return row.look_owed


def to_sweep(row: Row) -> bool:
    return row.sweep_due_at is not None


def pick(items: Sequence[T], n: int) -> T:
    return items[n % len(items)]
