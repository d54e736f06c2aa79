"""What must be true of a real job's run once it is over, and of all runs of a request at rest."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from consumer.amqp.acks import LegalAck
from consumer.errors import LabError, LabStopping, Retry
from consumer.jobs.job import MAX_HOLDS
from messages.events import (
    InferenceAccepted,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRetryScheduled,
    RunEvent,
)
from messages.failures import FailureCode
from messages.request import InferenceRequested
from messages.topology import RETRY_TIERS, retry_exchange
from tests.model.job_fakes import ENDS, NotKept
from tests.model.job_faults import Ours
from tests.model.job_run import JobRun, Killed
from tests.model.job_runs import Runs
from tests.model.promises import row_after
from web.inference.states import State
from web.inference.triggers import CancelAsked, ResultFound

#: The end that each ack of a job promises.
PROMISED: dict[LegalAck, type[RunEvent]] = {
    LegalAck.STORED: InferenceCompleted,
    LegalAck.FAILED: InferenceFailed,
    LegalAck.CANCELLED: InferenceCancelled,
    LegalAck.RETRY: InferenceRetryScheduled,
}

#: Codes of passing faults.
PASSING = frozenset(error.code for error in Retry.__subclasses__())

TOO_LONG = FailureCode.DEADLINE_EXCEEDED


def check_run(world: Runs, run: JobRun) -> None:
    """All of the following, for a run that is over."""
    check_order(run)
    check_end(run)
    check_copy(run)
    check_uploads(run)
    check_reason(run)
    check_result(world, run)


def check_order(run: JobRun) -> None:
    """`accepted` before anything is done, and each event after the one before."""
    assert run.calls[0][0] == "tell"
    events = run.sender.events
    assert [e.sequence for e in events] == list(range(len(events)))
    assert all(before.position < after.position for before, after in pairwise(events))
    assert [isinstance(e, InferenceAccepted) for e in events] == [not e.sequence for e in events]


def check_end(run: JobRun) -> None:
    """An ack follows the one end that was told and confirmed; without an ack nothing does."""
    sent = [message for _, _, message in run.sender.sent]
    ends = [event for event in run.sender.events if isinstance(event, ENDS)]
    assert len({type(event) for event in ends}) <= 1
    assert run.sender.events[len(run.sender.events) - len(ends) :] == ends, "told last"
    if run.outcome is None:
        assert isinstance(run.error, LabStopping | Ours | Killed), run.error
        # A stop while the end is told leaves open whether the broker has it; before, nothing is.
        struck = bool(run.met) and run.met[-1][1] is run.error
        assert not ends or (struck and run.calls[-1][0] in {"tell end", "told end"})
    else:
        assert run.error is None
        assert type(sent[-1]) is PROMISED[run.outcome]
        assert run.sender.confirmed == len(sent)
        if run.outcome is not LegalAck.STORED:
            # An end of an older run than the one in hand could be taken for out of date.
            assert ends[-1].delivery == run.count_at_confirm
            assert all(one.delivery < other.delivery for one, other in pairwise(ends))
    for place, fault in run.met:
        # Nothing is done any more, and above all nothing is told.
        assert isinstance(fault, LabError | NotKept) or place == len(run.calls) - 1


def check_copy(run: JobRun) -> None:
    """The next try is in its tier before anything is told of it."""
    sent = run.sender.sent
    kinds = [type(message) for _, _, message in sent]
    copies = [place for place, kind in enumerate(kinds) if kind is InferenceRequested]
    scheduled = InferenceRetryScheduled in kinds
    assert len(copies) <= 1
    assert bool(copies) >= scheduled
    for place in copies:
        exchange, key, copy = sent[place]
        asked, spent = run.request, run.request.spent
        assert exchange == retry_exchange(asked.pool, list(RETRY_TIERS)[spent])
        assert key == asked.routing_key
        assert copy == asked.model_copy(update={"attempt": asked.attempt + 1, "retries": spent + 1})
        assert set(kinds[place + 1 :]) <= {InferenceRetryScheduled}
        assert set(kinds[:place]) == {InferenceAccepted}


def check_uploads(run: JobRun) -> None:
    """Before the first upload cancels are asked for, and one that was heard is obeyed; then none.

    So it is again after the archive was away, whatever was stored before.
    """
    asked = late = False
    for call, cancelled in run.calls:
        match call:
            case "probe":
                asked = late = False
            case "hear":
                assert not asked
                asked = True
            case "store":
                assert asked
                assert late or not cancelled
                late = True
    assert not (late and run.outcome is LegalAck.CANCELLED)
    # What is stored is not computed again.
    assert ("found", "read") not in pairwise(call for call, _ in run.calls if call != "hint")


def check_reason(run: JobRun) -> None:
    """A run ends as the last fault that it met says, or as it was asked to."""
    codes = [code_of(fault) for _, fault in run.met if isinstance(fault, LabError | NotKept)][-1:]
    answers = run.watch.answers
    assert len(answers) <= MAX_HOLDS
    last = run.sender.events[-1] if run.sender.events else None
    match last:
        case InferenceCancelled():
            assert run.held.cancelled.is_set()
        case InferenceRetryScheduled(code=code) | InferenceFailed(code=code) if code in PASSING:
            assert [last.code] == codes
            if last.code is FailureCode.ARCHIVE_UNAVAILABLE:
                # An archive that is away costs no attempt.
                assert answers[-1:] == [False] or len(answers) == MAX_HOLDS
            spent = run.request.spent >= len(RETRY_TIERS)
            assert isinstance(last, InferenceFailed) == spent
        case InferenceFailed():
            assert last.code in codes or (run.overdue and last.code is TOO_LONG)


def check_result(world: Runs, run: JobRun) -> None:
    """What is told is what the archive holds, whoever computed it."""
    for told in run.sender.events:
        if isinstance(told, InferenceCompleted):
            primary, report = world.primary, world.report
            assert primary is not None
            assert told.volume_voxels == primary.voxels
            assert told.model.version == f"0.0.{primary.author}"
            assert told.tumor_detected == (primary.voxels > 0)
            ids = [told.seg_instance_id, told.sr_instance_id]
            if told.tumor_detected:
                assert report is not None
                assert ids == [world.ids[primary.uid], world.ids[report.uid]]
            else:
                assert ids == [None, world.ids[primary.uid]]


def check_archive(world: Runs) -> None:
    """At any moment: one primary, at most one report, and that tells of it."""
    primary, report = world.primary, world.report
    assert set(world.ids) == {file.uid for file in (primary, report) if file}
    if report is not None:
        assert primary is not None
        assert (report.author, report.voxels) == (primary.author, primary.voxels)
        assert report.voxels > 0


def check_rest(world: Runs, random: Random, shuffles: int = 5) -> State:
    """Whatever the order in which it hears of it, the site knows one outcome: it is returned."""
    results = [event for event in world.told if isinstance(event, InferenceCompleted)]
    found: list[ResultFound] = []
    if results:
        # A report is only that: the site looks, and takes what the archive holds.
        assert world.primary is not None
        figures = {"volume_voxels": world.primary.voxels}
        found = [ResultFound(at=results[0].at, figures=figures, lab="archive")]
    states = set()
    for _ in range(shuffles):
        hints = random.sample(world.hinted, random.randint(0, len(world.hinted)))
        mixed = [*world.told, *hints, *random.choices(world.told, k=random.randrange(4))]
        random.shuffle(mixed)
        asked = [CancelAsked(at=mixed[0].at, unsent=False)] if world.cancel_asked else []
        row = row_after([*asked, *mixed, *found])
        states.add(row.state)
        assert row.state is not State.COMPLETED or row.result == found[0].figures
    if not world.cancel_asked:
        assert states == {State.COMPLETED if results else State.FAILED}
    elif results:
        assert states <= {State.COMPLETED, State.CANCELLED}
    else:
        assert states == {State.CANCELLED}
    return states.pop()


def code_of(fault: BaseException) -> FailureCode:
    """What a run says of it; a file that was not kept is missed when it is read back."""
    return fault.code if isinstance(fault, LabError) else FailureCode.ARCHIVE_UNAVAILABLE
