"""What was reported is looked for: in time, again for what is new, and never without end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from structlog.testing import capture_logs

from messages.failures import FailureCode
from tests.integration.web_requests import a_run
from tests.unit.test_reconcile_rules import ago, row
from web.confirming.failing import Failing
from web.confirming.look import StoredObjects
from web.confirming.owed import Owed, due, postpone, settle
from web.confirming.pace import Pace
from web.inference.again import send_again
from web.inference.models import InferenceRequest
from web.inference.record import record_event
from web.inference.report import AGAIN, AT_ONCE, BETWEEN, SOON
from web.inference.states import State

pytestmark = pytest.mark.django_db

PACE = Pace()

#: Looks until a report is taken for untrue, and all of them.
LOOKS = len(PACE.pauses_s) + 1
ALL_LOOKS = LOOKS + len(PACE.late_s)

NOTHING = StoredObjects(detail="nothing is there")


def reported(one: InferenceRequest) -> None:
    """A lab says that the result is stored."""
    with transaction.atomic():
        record_event(a_run(one.pk)[-1])
    one.refresh_from_db()


def owed(one: InferenceRequest) -> Owed:
    assert one.confirm_due_at is not None
    return Owed(one.pk, one.confirm_due_at)


def looked(one: InferenceRequest, found: StoredObjects = NOTHING) -> timedelta | None:
    """A look is due and finds that; how long after it the next one is due."""
    InferenceRequest.objects.filter(pk=one.pk).update(confirm_due_at=ago(1))
    one.refresh_from_db()
    settle(owed(one), found, PACE)
    one.refresh_from_db()
    return None if one.confirm_due_at is None else one.confirm_due_at - timezone.now()


def test_further_reports_draw_no_look_forward_and_let_the_answers_be_counted_anew() -> None:
    at = timezone.now() + timedelta(seconds=20)
    one = row(State.REPORTED, age=20, confirm_due_at=at, confirm_misses=2)
    for _ in range(3):
        reported(one)
        assert (one.confirm_due_at, one.confirm_misses) == (at, 0)


def test_a_report_that_comes_while_the_last_look_runs_is_looked_for_itself() -> None:
    one = row(State.REPORTED, age=50, confirm_due_at=ago(1), confirm_misses=LOOKS - 1)
    running = owed(one)
    reported(one)
    # What it has found is of the moment before.
    assert settle(running, NOTHING, PACE) == []
    one.refresh_from_db()
    assert (one.state, one.confirm_misses) == (State.REPORTED, 0)
    assert one.confirm_due_at is not None
    assert one.confirm_due_at <= timezone.now() + timedelta(seconds=1)
    for _ in range(LOOKS):
        assert one.state == State.REPORTED
        looked(one)
    assert (one.state, one.failure_code) == (State.FAILED, FailureCode.RESULT_NOT_FOUND)


def test_what_the_running_look_finds_counts_whatever_is_reported_meanwhile() -> None:
    one = row(State.REPORTED, age=50, confirm_due_at=ago(1))
    running = owed(one)
    reported(one)
    assert settle(running, StoredObjects(figures={"volume_ml": 1.0}), PACE) == [one.pk]
    one.refresh_from_db()
    assert (one.state, one.confirm_due_at) == (State.COMPLETED, None)


def test_a_lab_that_reports_again_and_again_keeps_no_reader_waiting() -> None:
    one = row(State.REPORTED, age=301, confirm_due_at=ago(1), confirm_misses=LOOKS - 1)
    running = owed(one)
    reported(one)
    assert settle(running, NOTHING, PACE) == [one.pk]
    one.refresh_from_db()
    assert one.state == State.FAILED
    # And what it names is looked for all the same.
    assert one.confirm_due_at is not None
    assert one.confirm_due_at > timezone.now() + AGAIN
    reported(one)
    assert one.confirm_due_at <= timezone.now()


def test_reports_of_what_has_ended_make_some_looks_at_once_and_then_one_in_ten_minutes() -> None:
    one = row(State.FAILED, age=50_000, failure_code=FailureCode.RESULT_NOT_FOUND)
    at_once = 0
    with capture_logs() as logs:
        for _ in range(50):
            reported(one)
            assert one.confirm_due_at is not None
            if one.confirm_due_at <= timezone.now() + SOON:
                looked(one)
                at_once += 1
    assert at_once == AT_ONCE
    assert one.confirm_due_at is not None
    ahead = one.confirm_due_at - timezone.now()
    assert timedelta(minutes=1) < ahead <= BETWEEN
    levels = [one["log_level"] for one in logs if one["event"] == "reported_result_not_found"]
    assert levels == ["warning", *["info"] * (at_once - 1)]
    # When that look has found nothing either, and when no late one is left.
    for _ in range(ALL_LOOKS):
        looked(one)
        reported(one)
        assert one.confirm_due_at is not None
        assert timedelta(0) < one.confirm_due_at - timezone.now() <= BETWEEN


def test_reports_while_looks_for_what_has_ended_run_make_no_more_of_them() -> None:
    one = row(State.DEAD, age=50_000)
    reports = 0
    while one.confirm_due_at is None or one.confirm_due_at <= timezone.now() + AGAIN:
        InferenceRequest.objects.filter(pk=one.pk).update(confirm_due_at=ago(1))
        one.refresh_from_db()
        running = owed(one)
        reported(one)
        reports += 1
        # What it has found is of the moment before.
        assert settle(running, NOTHING, PACE) == []
        one.refresh_from_db()
        assert one.confirm_due_at is not None
        assert one.confirm_due_at > timezone.now()
    assert reports == AT_ONCE + 1


def test_a_request_that_is_asked_for_again_counts_its_answers_from_the_beginning() -> None:
    one = row(State.DEAD, age=50_000, confirm_misses=500)
    assert send_again(one.pk, by_staff=True)
    with transaction.atomic():
        record_event(a_run(one.pk)[-1].model_copy(update={"attempt": 2}))
    one.refresh_from_db()
    assert (one.state, one.confirm_misses) == (State.REPORTED, 0)
    assert one.confirm_due_at is not None
    assert one.confirm_due_at <= timezone.now()


def test_what_comes_late_is_looked_for_with_growing_pauses_for_about_a_day() -> None:
    one = row(State.REPORTED, age=50, confirm_due_at=ago(1))
    pauses = [looked(one) for _ in range(ALL_LOOKS)]
    assert (one.state, one.confirm_misses) == (State.FAILED, ALL_LOOKS)
    assert pauses[-1] is None
    seconds = [pause.total_seconds() for pause in pauses[:-1] if pause is not None]
    assert len(seconds) == ALL_LOOKS - 1
    assert seconds == sorted(seconds)
    assert 24 * 3600 < sum(seconds) < 26 * 3600


def test_a_late_look_is_one_of_hours_and_a_look_for_a_reader_is_none() -> None:
    later = timezone.now() + timedelta(hours=11)
    row(State.FAILED, failure_code=FailureCode.RESULT_NOT_FOUND, confirm_due_at=later)
    # A clock was set since.
    early = row(State.REPORTED, confirm_due_at=later)
    assert [one.request_id for one in due("lab", (), 10)] == [early.pk]


def test_what_a_late_look_finds_completes_the_request() -> None:
    one = row(State.REPORTED, age=50, confirm_due_at=ago(1))
    for _ in range(ALL_LOOKS - 1):
        looked(one)
    assert one.state == State.FAILED
    assert looked(one, StoredObjects(figures={"volume_ml": 1.0})) is None
    assert (one.state, one.failure_code) == (State.COMPLETED, "")


def test_a_failure_of_the_archive_in_between_forgets_no_answer() -> None:
    now = timezone.now()
    one = row(State.REPORTED, confirm_due_at=now, confirm_misses=2)
    postpone(Owed(one.pk, now), 5)
    one.refresh_from_db()
    assert one.confirm_misses == 2
    assert one.confirm_due_at is not None
    assert one.confirm_due_at > now


def test_what_has_failed_for_long_enough_ends_the_request_at_once_and_is_looked_for_later() -> None:
    one = row(State.REPORTED, age=700, confirm_due_at=ago(1))
    next_look = looked(one, StoredObjects(detail="Orthanc answered 500", fails=True))
    assert (one.state, one.failure_code) == (State.FAILED, FailureCode.RESULT_NOT_FOUND)
    assert one.failure_detail == "Orthanc answered 500"
    assert next_look is not None


def test_a_clock_that_was_set_back_lets_no_lab_keep_a_reader_waiting() -> None:
    ahead = timezone.now() + timedelta(hours=1)
    one = row(State.REPORTED, confirm_due_at=ago(1), confirm_misses=LOOKS - 1)
    InferenceRequest.objects.filter(pk=one.pk).update(changed_at=ahead)
    one.refresh_from_db()
    running = owed(one)
    reported(one)
    assert settle(running, NOTHING, PACE) == [one.pk]


def test_the_time_for_which_the_archive_was_away_is_no_failure_at_one_result() -> None:
    failing = Failing()
    assert [failing.failed(at) for at in (100.0, 110.0, 130.0)] == [0.0, 10.0, 30.0]
    failing.away()
    # An hour later, once more and again.
    assert [failing.failed(at) for at in (3700.0, 3705.0)] == [30.0, 35.0]
