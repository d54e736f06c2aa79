"""What must be true of a request: at any moment, after each change, and at rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from messages.events import (
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceProgressed,
    InferenceRetryScheduled,
    RunEvent,
)
from messages.failures import FailureCode
from tests.model.site import Row
from tests.model.world import World
from web.inference.changes import change_for
from web.inference.states import TERMINAL, Snapshot, State
from web.inference.triggers import (
    CancelAsked,
    CancelSettled,
    DeadLettered,
    ResultFound,
    SentAgain,
    TimedOut,
    Trigger,
)

#: How a request can end, for the reader.
WITHOUT_RESULT = {State.FAILED, State.DEAD}


def check_shape(row: Row) -> None:
    """What belongs to a state is there, and nothing else."""
    now = row.snapshot
    state = now.state
    assert not now.held_for or state is State.QUEUED, now
    assert bool(now.failure_code) == (state in {*WITHOUT_RESULT, State.WAITING}), now
    assert not now.failure_detail or state in WITHOUT_RESULT, now
    assert (now.finished_at is not None) == (state in TERMINAL), now
    assert (now.result is not None) == (state is State.COMPLETED), now
    assert (now.next_try_at is not None) == (state is State.WAITING), now
    assert now.progress is None or state not in {*TERMINAL, State.WAITING, State.QUEUED}, now
    stopped = {State.CANCELLING, State.CANCELLED}
    assert now.cancel_asked_at is not None or state not in stopped, now
    assert now.cancel_asked_at is None or state in {*stopped, State.COMPLETED}, now


def check_history(row: Row) -> None:
    """The version counts the changes; what is over stays so, but for a result or staff."""
    assert row.version == 1 + len(row.history)
    for before, what, after in row.history:
        assert after.position >= before.position, (before, what)
        assert before.state not in {State.COMPLETED, State.CANCELLED}, (before, what)
        if isinstance(what, InferenceFailed | InferenceRetryScheduled | InferenceCancelled):
            assert (what.attempt, what.delivery) >= before.run, (before, what)
        if isinstance(what, DeadLettered):
            assert what.attempt >= before.attempt, (before, what)
        if before.state in WITHOUT_RESULT:
            by_staff = isinstance(what, SentAgain) and what.by_staff
            replayed = before.state is State.DEAD and by_staff and after.state is State.QUEUED
            assert replayed or after.state is State.COMPLETED, (before, what)
        if before.state is State.REPORTED:
            not_found = after.failure_code == FailureCode.RESULT_NOT_FOUND
            same = after == replace(before, published_at=after.published_at)
            ends = after.state in {State.COMPLETED, State.CANCELLED}
            assert same or ends or not_found, (before, what)
        if before.state is State.CANCELLING:
            ends = {State.CANCELLING, State.CANCELLED, State.COMPLETED}
            assert after.state in ends, (before, what)


def check_result(world: World, row: Row) -> None:
    """What the page shows is what the archive holds."""
    if row.state is State.COMPLETED:
        assert row.snapshot.result is not None
        mask = row.snapshot.result["volume_voxels"]
        assert world.archive.primaries.get(row.request_id) == mask
        if row.request_id not in world.archive.without_lesion:
            assert world.archive.reports.get(row.request_id) == mask


def check_held(world: World, row: Row) -> None:
    """Nobody has seen a request of which images are still arriving."""
    if row.request_id in world.site.arriving:
        assert row.state in {State.QUEUED, State.CANCELLED, State.FAILED}, row.state
        assert not world.under_way(row.request_id)
    mine = [w for w in world.site.outbox if w.request_id == row.request_id and w.held]
    assert bool(mine) == bool(row.snapshot.held_for)
    assert not any(w.attempted for w in mine)


def check_told(world: World, row: Row) -> None:
    """All labs tell the same result, unless a cancel has removed one in between."""
    if row.state is not State.CANCELLED:
        heard = _heard(world, row)
        masks = {e.volume_voxels for e in heard if isinstance(e, InferenceCompleted)}
        assert len(masks) <= 1, masks


def check_identities(world: World) -> None:
    """No two runs of one message tell under the same identity: the second would pass for a copy."""
    assert not world.broker.confused


def check_swept(world: World, row: Row) -> None:
    """Of a cancelled request nothing stays while nobody has it in hand and no look is due.

    The last look, hours later, is for those of which nobody will ever hear (`World.unheard`).
    """
    due = row.sweep_due_at
    looked = due is None or due > world.clock.now()
    if row.state is State.CANCELLED and looked and row.request_id not in world.unheard:
        open_looks = any(look.row is row for look in world.reconciler.looks)
        if not open_looks and not world.under_way(row.request_id):
            assert not world.archive.holds(row.request_id)


def check_rest(world: World, row: Row) -> None:
    """One outcome; nothing of a cancelled request is left; a result that is told is there."""
    assert row.over
    if row.state is State.CANCELLED:
        assert not world.archive.holds(row.request_id)
        assert row.sweep_due_at is None
    elif _any(_heard(world, row), InferenceCompleted):
        assert row.state is State.COMPLETED
    assert not row.look_owed


def check_any_order(world: World, row: Row, random: Random, shuffles: int = 5) -> None:
    """The same events in another order, some of them twice, end alike for the reader.

    Where the newest run that was heard of has told its end and no other run its number. Otherwise
    (an end was purged, or was told under a delivery that was given again before the ack) it takes
    the reconciler.
    """
    events = _heard(world, row)
    if row.request_id in world.site.claimed:
        # What somebody has claimed ends it, or does not, by chance.
        return
    decided = [what for _, what, _ in row.history]
    asked = [what for what in decided if isinstance(what, CancelAsked)]
    timed_out = [what for what in decided if isinstance(what, TimedOut)]
    settled = [what for what in decided if isinstance(what, CancelSettled)]
    if not _ended(events) or (_any(events, InferenceCancelled) and not asked and not timed_out):
        # The second: a lab was told to stop because the row had failed. In an order in which it
        # has not, nobody would have told it.
        return
    mine = [copy for copy in world.letters if copy.request_id == row.request_id]
    letters = [DeadLettered(copy.attempt, row.changed_at) for copy in mine]
    for _ in range(shuffles):
        mixed = [*events, *letters]
        mixed += random.sample(mixed, random.randint(0, len(mixed)))
        random.shuffle(mixed)
        results = _any(events, InferenceCompleted)
        found = [ResultFound(at=row.changed_at, figures={}, lab="a")] if results else []
        end = row_after([*asked, *timed_out, *mixed, *settled, *found]).state
        if asked:
            assert end in ({State.CANCELLED, State.COMPLETED} if results else {State.CANCELLED})
        elif results:
            assert end is State.COMPLETED
        else:
            assert end in WITHOUT_RESULT, end


def row_after(happenings: Sequence[Trigger]) -> Snapshot:
    """A new row after all of them, where an outcome that was seen already changes nothing."""
    row, seen = Snapshot(state=State.QUEUED), set()
    for what in happenings:
        if isinstance(what, RunEvent) and not isinstance(what, InferenceProgressed):
            if what.event_id in seen:
                continue
            seen.add(what.event_id)
        row = change_for(row, what) or row
    return row


def _heard(world: World, row: Row) -> list[RunEvent]:
    return [event for event in world.site.heard if event.request_id == row.request_id]


def _ended(events: Sequence[RunEvent]) -> bool:
    newest = max(((e.attempt, e.delivery) for e in events), default=(0, 0))
    last = [e for e in events if (e.attempt, e.delivery) == newest]
    # Where a broker does not count a way back, one run's end can hide another's of its number.
    ends = _any(last, InferenceCompleted, InferenceFailed, InferenceCancelled)
    return ends and not _any(last, InferenceRetryScheduled)


def _any(events: Sequence[RunEvent], *kinds: type[RunEvent]) -> bool:
    return any(isinstance(event, kinds) for event in events)
