"""The legal changes of a request: no order and no duplication of events leads astray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from web.inference.changes import change_for
from web.inference.effects import Effect, effects_of
from web.inference.states import TERMINAL, Hold, Snapshot, State
from web.inference.triggers import (
    CancelAsked,
    CancelSettled,
    DeadLettered,
    Published,
    Released,
    ReleaseRefused,
    ResultFound,
    ResultMissing,
    SentAgain,
    TimedOut,
    Trigger,
)

REQUEST = UUID("6f0c1bd2-98a1-4b43-8a55-2a3f2f2b1c11")
AT = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
NEW = Snapshot(state=State.QUEUED)


def place(attempt: int, delivery: int, sequence: int) -> dict[str, object]:
    return {
        "request_id": REQUEST,
        "attempt": attempt,
        "delivery": delivery,
        "sequence": sequence,
        "lab": "lab1",
        "at": AT + timedelta(seconds=100 * attempt + 10 * delivery + sequence),
    }


def accepted(attempt: int = 1, delivery: int = 0, sequence: int = 0) -> InferenceAccepted:
    return InferenceAccepted(**place(attempt, delivery, sequence))


def progressed(stage: Stage, sequence: int, attempt: int = 1, delivery: int = 0) -> RunEvent:
    where = place(attempt, delivery, sequence)
    return InferenceProgressed(**where, stage=stage, done=1, total=4)


def completed(attempt: int = 1, delivery: int = 0, sequence: int = 9) -> InferenceCompleted:
    return InferenceCompleted(
        **place(attempt, delivery, sequence),
        seg_instance_id=None,
        sr_instance_id="-".join(["0123abcd"] * 5),
        tumor_detected=False,
        volume_voxels=0,
        volume_ml=0,
        longest_diameter_mm=0,
        slices=10,
        slices_with_tumor=0,
        model=ModelReference(name="m", version="1", sha256="0" * 64),
        stage_seconds={"inferring": 1.5},
    )


def failed(attempt: int = 1, delivery: int = 0, sequence: int = 9) -> InferenceFailed:
    return InferenceFailed(
        **place(attempt, delivery, sequence),
        code=FailureCode.GEOMETRY_MISMATCH,
        detail="slice 7 is missing",
        stage_seconds={},
    )


def retried(attempt: int = 1, delivery: int = 0, sequence: int = 5) -> InferenceRetryScheduled:
    return InferenceRetryScheduled(
        **place(attempt, delivery, sequence),
        code=FailureCode.ARCHIVE_UNAVAILABLE,
        next_at=AT + timedelta(seconds=30),
    )


def cancelled(attempt: int = 1, delivery: int = 0, sequence: int = 9) -> InferenceCancelled:
    return InferenceCancelled(**place(attempt, delivery, sequence))


#: What the archive holds; not what the event says.
FIGURES = {"volume_ml": 1.25, "stage_seconds": {"inferring": 1.5}}
FOUND = ResultFound(at=AT + timedelta(hours=1), figures=FIGURES, lab="lab2")
MISSING = ResultMissing(at=AT + timedelta(hours=1), detail="the study does not hold it")


def after(happenings: Sequence[Trigger], row: Snapshot = NEW) -> Snapshot:
    for what in happenings:
        row = change_for(row, what) or row
    return row


ONE_RUN = [
    Published(at=AT),
    accepted(),
    progressed(Stage.DOWNLOADING, 1),
    progressed(Stage.INFERRING, 2),
    progressed(Stage.UPLOADING, 3),
    completed(sequence=4),
    FOUND,
]


def test_a_run_in_order_passes_every_stage() -> None:
    row, seen = NEW, []
    for what in ONE_RUN:
        row = after([what], row)
        seen.append(row.state)

    assert seen == [
        State.PUBLISHED,
        State.ACCEPTED,
        State.DOWNLOADING,
        State.INFERRING,
        State.UPLOADING,
        State.REPORTED,
        State.COMPLETED,
    ]
    assert row.accepted_at == accepted().at
    assert row.finished_at == FOUND.at
    assert row.progress is None
    assert (row.result, row.lab) == (FIGURES, "lab2")


def test_what_a_lab_says_of_a_result_is_not_told_before_it_is_found() -> None:
    row = after(ONE_RUN[:-1])
    assert row.state is State.REPORTED
    assert (row.result, row.finished_at, row.progress) == (None, None, None)


def test_every_order_of_a_run_ends_in_completed_with_the_same_result() -> None:
    for order in permutations(ONE_RUN[:-1]):
        row = after([*order, FOUND])
        assert row.state is State.COMPLETED
        assert row.result == after(ONE_RUN).result
        assert row.published_at == AT
        assert row.accepted_at is not None


runs = st.tuples(st.integers(1, 4), st.integers(0, 3))


@st.composite
def anything_but_an_end_that_outranks(draw: st.DrawFn) -> Trigger:
    attempt, delivery = draw(runs)
    sequence = draw(st.integers(0, 8))
    return draw(
        st.sampled_from(
            [
                Published(at=AT),
                DeadLettered(attempt=attempt, at=AT),
                accepted(attempt, delivery, sequence),
                progressed(Stage.INFERRING, sequence, attempt, delivery),
                retried(attempt, delivery, sequence),
                failed(attempt, delivery, sequence),
            ]
        )
    )


@given(st.lists(anything_but_an_end_that_outranks(), max_size=25), st.data())
def test_with_a_completed_any_order_and_duplication_ends_in_completed(
    others: list[Trigger], data: st.DataObject
) -> None:
    attempt, delivery = data.draw(runs)
    mixed = [*others, completed(attempt, delivery)]
    twice = mixed + data.draw(st.lists(st.sampled_from(mixed), max_size=10))
    row = after([*data.draw(st.permutations(twice)), FOUND])

    assert row.state is State.COMPLETED
    assert row.result is not None
    assert row.failure_code == ""
    assert row.next_try_at is None


@given(st.lists(anything_but_an_end_that_outranks(), max_size=25))
def test_the_position_never_goes_back_and_a_terminal_state_stays(
    happenings: list[Trigger],
) -> None:
    row = NEW
    for what in happenings:
        before, row = row, after([what], row)
        assert row.position >= before.position
        if before.state in TERMINAL:
            assert row.state is before.state


@given(st.lists(anything_but_an_end_that_outranks(), max_size=15))
def test_the_same_event_twice_in_a_row_changes_nothing_more(happenings: list[Trigger]) -> None:
    row = after(happenings)
    for what in happenings[-1:]:
        assert after([what], row) == row


def test_a_cancelled_request_stays_cancelled_even_when_it_was_completed_too() -> None:
    assert after([cancelled(), completed()]).state is State.CANCELLED


@pytest.mark.parametrize("end", [failed(2), DeadLettered(attempt=2, at=AT)])
def test_completed_beats_failed_and_dead_from_whatever_run(end: Trigger) -> None:
    ended = after([accepted(2), end])
    reported = after([completed(1)], ended)
    # By the word of a lab nothing that has ended becomes open again.
    assert reported == ended
    assert Effect.CONFIRM in effects_of(ended, reported, completed(1))
    assert after([FOUND], reported).state is State.COMPLETED


def test_what_the_site_removes_is_not_completed_afterwards() -> None:
    misfiled = replace(NEW, state=State.FAILED, failure_code=FailureCode.RESULT_MISFILED)
    assert change_for(misfiled, completed(2)) is None
    assert change_for(misfiled, FOUND) is None
    # Nor is anything of it left, whatever comes, and however often.
    for what in (completed(2), failed(1), DeadLettered(attempt=1, at=AT), accepted(2)):
        assert Effect.SWEEP in effects_of(misfiled, misfiled, what)
        assert Effect.CONFIRM not in effects_of(misfiled, misfiled, what)
    before = replace(misfiled, state=State.UPLOADING, failure_code="")
    assert effects_of(before, misfiled, failed(1)) == {Effect.SWEEP}
    other = replace(misfiled, failure_code=FailureCode.TOO_LARGE)
    assert effects_of(before, other, failed(1)) == frozenset()


def test_a_failed_of_an_earlier_run_is_ignored() -> None:
    row = after([accepted(1, 0), accepted(1, 1), failed(1, 0, 30)])
    assert row.state is State.ACCEPTED
    assert after([failed(1, 1, 3)], row).state is State.FAILED


def test_a_failed_of_the_current_run_counts_although_its_sequence_began_anew() -> None:
    progress = progressed(Stage.INFERRING, 20)
    assert after([accepted(), progress, failed(1, 0, 3)]).state is State.FAILED


def test_a_waiting_request_leaves_only_with_a_newer_run() -> None:
    waiting = after([accepted(), retried(1, 0, 5)])
    assert waiting.state is State.WAITING
    assert waiting.next_try_at == AT + timedelta(seconds=30)
    assert waiting.failure_code == FailureCode.ARCHIVE_UNAVAILABLE

    assert after([progressed(Stage.UPLOADING, 8)], waiting) == waiting
    again = after([accepted(2)], waiting)
    assert again.state is State.ACCEPTED
    assert again.next_try_at is None
    assert again.failure_code == ""


def test_a_retry_of_what_was_never_accepted_starts_the_deadline_once() -> None:
    row = after([retried(sequence=0)], replace(NEW, state=State.PUBLISHED))
    assert row.accepted_at == retried(sequence=0).at
    assert after([retried(sequence=7)], row).accepted_at == row.accepted_at


def test_what_is_sent_again_has_its_whole_time_once_a_lab_takes_that_attempt() -> None:
    lost = after([accepted(), SentAgain(at=AT)])
    assert lost.accepted_at is None
    taken = accepted(attempt=2)
    assert after([accepted(sequence=3), taken], lost).accepted_at == taken.at


def test_progress_that_overtakes_accepted_still_notes_when_the_run_began() -> None:
    row = after([progressed(Stage.DOWNLOADING, 1), accepted()])
    assert row.state is State.DOWNLOADING
    assert row.accepted_at == progressed(Stage.DOWNLOADING, 1).at


def test_a_request_that_a_lab_holds_before_the_confirm_is_not_set_back_to_published() -> None:
    row = after([accepted(), Published(at=AT)])
    assert row.state is State.ACCEPTED
    assert row.published_at == AT


def test_a_request_that_is_being_cancelled_says_so_until_the_lab_confirms() -> None:
    cancelling = Snapshot(state=State.CANCELLING)
    row = after([accepted(), progressed(Stage.INFERRING, 1), retried()], cancelling)
    assert row.state is State.CANCELLING
    assert after([cancelled()], row).state is State.CANCELLED
    # A result that was stored before a lab heard of it is kept, where it is found in time.
    assert after([completed()], row) == row
    assert Effect.CONFIRM in effects_of(row, row, completed())
    assert after([completed(), FOUND], row).state is State.COMPLETED
    assert after([completed(), cancelled(), FOUND], row).state is State.CANCELLED


REPORTED = after(ONE_RUN[:-1])


@pytest.mark.parametrize(
    "what",
    [
        accepted(2),
        progressed(Stage.INFERRING, 9, attempt=3),
        retried(2),
        failed(2),
        cancelled(2),
        completed(2),
        DeadLettered(attempt=4, at=AT),
        TimedOut(at=AT, code=FailureCode.DEADLINE_EXCEEDED, detail=""),
        CancelSettled(at=AT),
        SentAgain(at=AT),
        SentAgain(at=AT, by_staff=True),
    ],
    ids=lambda what: type(what).__name__,
)
def test_while_a_result_is_looked_for_no_event_and_no_limit_of_time_ends_that(
    what: Trigger,
) -> None:
    assert after([what], REPORTED) == REPORTED


def test_a_cancel_while_a_result_is_looked_for_is_one_at_once_and_removes_it() -> None:
    asked = CancelAsked(at=AT, unsent=False)
    row = after([asked], REPORTED)
    assert (row.state, row.cancel_asked_at, row.finished_at) == (State.CANCELLED, AT, AT)
    # The lab that has reported it is done; another may have taken it since.
    assert effects_of(REPORTED, row, asked) == {Effect.SWEEP, Effect.STOP_LAB}
    assert change_for(row, FOUND) is None
    assert effects_of(row, row, completed()) == {Effect.SWEEP}


def test_a_report_without_a_result_fails_and_a_later_find_completes_it() -> None:
    row = after([MISSING], REPORTED)
    assert (row.state, row.failure_code) == (State.FAILED, "result_not_found")
    assert (row.finished_at, row.failure_detail) == (MISSING.at, MISSING.detail)
    # Whoever works on it may still bring what another has claimed.
    assert effects_of(REPORTED, row, MISSING) == frozenset()
    assert effects_of(row, row, accepted(2)) == frozenset()
    assert effects_of(row, row, completed()) == {Effect.CONFIRM}
    found = after([completed(), FOUND], row)
    assert (found.state, found.failure_code, found.failure_detail) == (State.COMPLETED, "", "")


@pytest.mark.parametrize("state", sorted(set(State) - {State.REPORTED}))
def test_that_a_result_is_missing_ends_nothing_but_a_report(state: State) -> None:
    row = replace(NEW, state=state)
    assert after([MISSING], row) == row


def test_a_dead_letter_of_an_earlier_attempt_says_nothing_of_a_later_one() -> None:
    row = after([accepted(2), DeadLettered(attempt=1, at=AT)])
    assert row.state is State.ACCEPTED
    dead = after([DeadLettered(attempt=2, at=AT)], row)
    assert dead.state is State.DEAD
    assert dead.failure_code == FailureCode.WORKER_CRASHED


def test_a_retry_of_a_request_that_is_being_cancelled_promises_no_next_try() -> None:
    row = after([accepted(), retried()], Snapshot(state=State.CANCELLING, cancel_asked_at=AT))
    assert row.position == retried().position
    assert row.next_try_at is None
    assert row.failure_code == ""


def test_a_replay_begins_after_the_attempt_that_died_although_nothing_was_heard_of_it() -> None:
    dead = after([accepted(1), DeadLettered(attempt=3, at=AT)])
    replayed = after([SentAgain(at=AT, by_staff=True)], dead)
    assert replayed.state is State.QUEUED
    assert replayed.position == (4, 0, -1)


def test_a_dead_letter_of_a_cancelled_request_makes_a_look_at_the_archive_due() -> None:
    row = Snapshot(state=State.CANCELLED, cancel_asked_at=AT, finished_at=AT)
    letter = DeadLettered(attempt=1, at=AT)
    assert change_for(row, letter) is None
    assert effects_of(row, row, letter) == {Effect.SWEEP}


@pytest.mark.parametrize("state", [State.CANCELLING, State.CANCELLED, State.FAILED])
def test_a_lab_that_begins_what_nobody_wants_is_told_to_stop(state: State) -> None:
    row = Snapshot(state=state)
    assert Effect.STOP_LAB in effects_of(row, row, accepted())
    assert Effect.STOP_LAB not in effects_of(row, row, progressed(Stage.INFERRING, 1))


HELD = Snapshot(state=State.QUEUED, held_for=Hold.SERIES_ARRIVING)


def test_a_held_request_is_released_once() -> None:
    released = change_for(HELD, Released(at=AT))
    assert released == NEW
    assert change_for(NEW, Released(at=AT)) is None


def test_a_held_request_that_cannot_be_analysed_fails_once_and_no_lab_is_told() -> None:
    refused = ReleaseRefused(at=AT, code=FailureCode.GEOMETRY_MISMATCH, detail="24 of 40")
    failed_row = change_for(HELD, refused)
    assert failed_row is not None
    assert (failed_row.state, failed_row.failure_code) == (State.FAILED, "geometry_mismatch")
    assert (failed_row.finished_at, failed_row.failure_detail) == (AT, "24 of 40")
    assert effects_of(HELD, failed_row, refused) == frozenset()
    assert change_for(failed_row, refused) is None
    assert change_for(NEW, refused) is None
    assert change_for(replace(NEW, state=State.PUBLISHED), refused) is None


@pytest.mark.parametrize(
    "what",
    [
        Published(at=AT),
        accepted(),
        completed(),
        failed(),
        CancelAsked(at=AT, unsent=True),
        TimedOut(at=AT, code=FailureCode.SERIES_INCOMPLETE, detail=""),
        SentAgain(at=AT),
        DeadLettered(attempt=1, at=AT),
    ],
    ids=lambda what: type(what).__name__,
)
def test_what_was_sent_or_has_ended_waits_for_nothing(what: Trigger) -> None:
    """A site of an older version, which holds nothing, may have sent it."""
    after = change_for(HELD, what)
    assert after is not None
    assert after.held_for == ""
