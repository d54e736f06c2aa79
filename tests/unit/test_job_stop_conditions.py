"""What ends a job before its work is done: at which steps, and in which legal ack."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Timer

import pytest

from consumer.amqp.acks import LegalAck
from consumer.errors import ArchiveUnavailable, LabStopping, RequestCancelled
from consumer.jobs.job import MAX_HOLDS
from consumer.orthanc.archive_watch import ArchiveWatch
from consumer.stop_conditions import StopConditions
from messages.events import (
    InferenceAccepted,
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRetryScheduled,
)
from messages.failures import FailureCode
from tests.unit.job_bench import BEFORE_UPLOAD, FROM_UPLOAD, Bench, NeverAway, Once, request

CANCELLED = [InferenceAccepted, InferenceCancelled]
COMPLETED = [InferenceAccepted, InferenceCompleted]


def at(step: str, do: Callable[[], None]) -> Callable[[str], None]:
    """A hook that acts the first time that `step` is reached."""
    left = [do]

    def hook(name: str) -> None:
        if name == step and left:
            left.pop()()

    return hook


@pytest.fixture
def held() -> Once:
    return Once()


@pytest.mark.parametrize("step", BEFORE_UPLOAD)
def test_a_cancel_during_a_step_ends_the_job_and_stores_nothing(held: Once, step: str) -> None:
    bench = Bench(hook=at(step, held.cancelled.set))
    assert bench.job().handle(request(), held) is LegalAck.CANCELLED
    assert bench.told == CANCELLED
    assert "store" not in bench.steps
    # These fakes are deaf: the real archive and the real children look at each call, so that not
    # even the other series and the look for a stored result come after a cancel.
    assert set(bench.steps) <= set(BEFORE_UPLOAD[: max(2, BEFORE_UPLOAD.index(step) + 1)])


@pytest.mark.parametrize("step", BEFORE_UPLOAD)
def test_a_step_that_was_broken_off_for_a_cancel_ends_the_job(held: Once, step: str) -> None:
    bench = Bench(fails={step: RequestCancelled("the request was cancelled")})
    assert bench.job().handle(request(), held) is LegalAck.CANCELLED
    assert bench.told == CANCELLED
    assert bench.steps[-1] == step


def test_a_request_that_is_cancelled_before_it_begins_is_not_looked_into(held: Once) -> None:
    held.cancelled.set()
    bench = Bench()
    assert bench.job().handle(request(model="unknown"), held) is LegalAck.CANCELLED
    assert bench.told == CANCELLED
    assert bench.steps == []


def test_a_cancel_that_the_broker_still_has_is_heard_before_the_first_upload(held: Once) -> None:
    held.unheard = held.cancelled.set
    bench = Bench()
    assert bench.job().handle(request(), held) is LegalAck.CANCELLED
    assert bench.told == CANCELLED
    assert bench.steps[-1] == "package"


@pytest.mark.parametrize("step", FROM_UPLOAD)
def test_a_cancel_after_the_upload_began_is_too_late(held: Once, step: str) -> None:
    bench = Bench(hook=at(step, held.cancelled.set))
    assert bench.job().handle(request(), held) is LegalAck.STORED
    assert bench.told == COMPLETED


def test_a_redelivered_request_whose_result_is_stored_may_still_be_cancelled(held: Once) -> None:
    bench = Bench(hook=at("find", held.cancelled.set))
    bench.archive.holds(b"SEG")
    assert bench.job().handle(request(), held) is LegalAck.CANCELLED
    assert "store" not in bench.steps


def test_the_report_of_a_stored_result_is_an_upload_of_its_own(held: Once) -> None:
    held.unheard = held.cancelled.set
    bench = Bench()
    bench.archive.holds(b"SEG")
    assert bench.job().handle(request(), held) is LegalAck.CANCELLED
    assert "store" not in bench.steps


def test_cancels_are_heard_once_in_a_run(held: Once) -> None:
    heard: list[int] = []
    held.unheard = lambda: heard.append(1)
    bench = Bench()
    assert bench.job().handle(request(), held) is LegalAck.STORED
    assert bench.steps.count("store") == 2, "result and report"
    assert heard == [1]


def pass_the_deadline() -> None:
    time.sleep(1.05)


@pytest.mark.parametrize("step", BEFORE_UPLOAD)
def test_a_job_over_its_deadline_fails_wherever_it_is(held: Once, step: str) -> None:
    bench = Bench(hook=at(step, pass_the_deadline))
    assert bench.job().handle(request(deadline_s=1), held) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is FailureCode.DEADLINE_EXCEEDED
    assert bench.told == [InferenceAccepted, InferenceFailed]
    assert "store" not in bench.steps


def test_a_deadline_that_passes_after_the_upload_began_is_not_obeyed(held: Once) -> None:
    # Five seconds: the steps before must not take that long on a busy machine.
    bench = Bench(hook=at("fetch", lambda: time.sleep(5.1)))
    assert bench.job().handle(request(deadline_s=5), held) is LegalAck.STORED


@pytest.mark.parametrize("step", [*BEFORE_UPLOAD, *FROM_UPLOAD[:1]])
def test_a_stop_leaves_the_delivery_to_the_broker(held: Once, step: str) -> None:
    bench = Bench()
    bench.hook = at(step, bench.stopping.set)
    with pytest.raises(LabStopping):
        bench.job().handle(request(), held)
    assert bench.told == [InferenceAccepted]


class Returning(NeverAway):
    """An archive that was away each time, and came back."""

    def wait_if_away(self, stop_conditions: StopConditions) -> bool:
        super().wait_if_away(stop_conditions)
        return True


@pytest.mark.parametrize("step", [*BEFORE_UPLOAD, *FROM_UPLOAD])
def test_an_archive_that_was_away_costs_no_attempt(held: Once, step: str) -> None:
    bench = Bench(watch=Returning())

    def away() -> None:
        raise ArchiveUnavailable("away")

    bench.hook = at(step, away)
    assert bench.job().handle(request(), held) is LegalAck.STORED
    assert bench.told == COMPLETED
    assert isinstance(bench.last, InferenceCompleted)
    assert (bench.last.attempt, bench.last.delivery) == (1, 0)
    assert bench.last.sequence > 0


def test_an_archive_that_answers_its_probe_and_not_the_request_costs_one(held: Once) -> None:
    bench = Bench(fails={"fetch": ArchiveUnavailable("HTTP 500")})
    assert bench.job().handle(request(), held) is LegalAck.RETRY
    assert bench.steps.count("find") == 1
    assert isinstance(bench.watch, NeverAway)
    assert bench.watch.asked == 1


def test_other_faults_do_not_ask_for_the_archive(held: Once) -> None:
    bench = Bench(fails={"segment": LabStopping("the lab is stopping")})
    with pytest.raises(LabStopping):
        bench.job().handle(request(), held)
    assert isinstance(bench.watch, NeverAway)
    assert bench.watch.asked == 0


def test_an_archive_that_comes_and_goes_has_a_budget(held: Once) -> None:
    bench = Bench(watch=Returning(), fails={"find": ArchiveUnavailable("away again")})
    assert bench.job().handle(request(), held) is LegalAck.RETRY
    assert isinstance(bench.last, InferenceRetryScheduled)
    assert bench.steps.count("find") == MAX_HOLDS + 1


@contextmanager
def archive_away(ending: Event | None = None) -> Iterator[ArchiveWatch]:
    """The real watch of an archive that never answers."""

    def probe() -> None:
        raise ArchiveUnavailable("away")

    watch = ArchiveWatch(probe, ending=ending)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def test_a_job_that_waits_for_the_archive_hears_its_cancel(held: Once) -> None:
    with archive_away() as watch:
        bench = Bench(watch=watch, fails={"download": ArchiveUnavailable("away")})
        Timer(0.5, held.cancelled.set).start()
        assert bench.job().handle(request(), held) is LegalAck.CANCELLED
    assert bench.told == CANCELLED


def test_a_job_that_waits_for_the_archive_has_its_deadline(held: Once) -> None:
    with archive_away() as watch:
        bench = Bench(watch=watch, fails={"download": ArchiveUnavailable("away")})
        assert bench.job().handle(request(deadline_s=1), held) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is FailureCode.DEADLINE_EXCEEDED


def test_a_job_that_waits_for_the_archive_is_left_to_the_broker_at_a_stop(held: Once) -> None:
    with archive_away() as watch:
        bench = Bench(watch=watch, fails={"download": ArchiveUnavailable("away")})
        Timer(0.5, watch.stop).start()
        with pytest.raises(LabStopping):
            bench.job().handle(request(), held)
    assert bench.told == [InferenceAccepted]


def test_a_cancel_ends_the_wait_for_an_archive_that_went_away_in_the_first_upload(
    held: Once,
) -> None:
    with archive_away() as watch:
        bench = Bench(watch=watch, fails={"store": ArchiveUnavailable("broke off")})
        Timer(0.5, held.cancelled.set).start()
        assert bench.job().handle(request(), held) is LegalAck.CANCELLED
    assert bench.told == CANCELLED


def test_the_deadline_ends_the_wait_for_an_archive_that_went_away_in_the_first_upload(
    held: Once,
) -> None:
    with archive_away() as watch:
        bench = Bench(watch=watch, fails={"store": ArchiveUnavailable("broke off")})
        # Five seconds: the steps before must not take that long on a busy machine.
        assert bench.job().handle(request(deadline_s=5), held) is LegalAck.FAILED
    assert "store" in bench.steps
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is FailureCode.DEADLINE_EXCEEDED


def test_a_cancel_during_the_work_that_is_done_again_after_a_failed_upload_is_heard(
    held: Once,
) -> None:
    bench = Bench(watch=Returning())

    def hook(step: str) -> None:
        if step == "store":
            raise ArchiveUnavailable("broke off")
        if step == "segment" and "store" in bench.steps:
            held.cancelled.set()

    bench.hook = hook
    assert bench.job().handle(request(), held) is LegalAck.CANCELLED
    assert bench.steps.count("store") == 1


def test_each_first_upload_asks_for_cancels_anew(held: Once) -> None:
    """The one that failed said nothing of a cancel that came while the archive was away."""
    heard: list[int] = []
    held.unheard = lambda: heard.append(1)

    def away() -> None:
        raise ArchiveUnavailable("broke off")

    bench = Bench(watch=Returning(), hook=at("store", away))
    assert bench.job().handle(request(), held) is LegalAck.STORED
    assert heard == [1, 1]


def test_a_job_that_waits_for_the_archive_leaves_a_lab_that_ends_at_once(held: Once) -> None:
    """Its grace is for work that is under way."""
    ending = Event()
    with archive_away(ending) as watch:
        bench = Bench(watch=watch, fails={"download": ArchiveUnavailable("away")})
        Timer(0.5, ending.set).start()
        with pytest.raises(LabStopping):
            bench.job().handle(request(), held)
    assert not bench.stopping.is_set()
    assert bench.told == [InferenceAccepted]


def test_a_lab_that_ends_still_asks_whether_the_archive_is_away(held: Once) -> None:
    """A passing fault goes into its tier: that is an end, and nobody needs to do it again."""
    ending = Event()
    ending.set()
    watch = ArchiveWatch(lambda: None, ending=ending)
    watch.start()
    try:
        bench = Bench(watch=watch, fails={"download": ArchiveUnavailable("HTTP 500")})
        assert bench.job().handle(request(), held) is LegalAck.RETRY
    finally:
        watch.stop()
