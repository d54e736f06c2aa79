"""A call that is cancelled, overdue or stopped ends with its process; its neighbours go on."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from consumer.children.child import Child
from consumer.children.process import Process
from consumer.errors import (
    DeadlineExceeded,
    InferenceTimeout,
    LabStopping,
    RequestCancelled,
)
from consumer.stop_conditions import StopConditions
from infra.local.process import wait_until
from tests import child_work

#: Seconds for a call that does nothing, on a busy machine.
PATIENCE = 60.0

#: Seconds in which a killed process must be gone. On a machine that does nothing else it takes
#: about 0.3, and the promise is 1.
GONE_SECONDS = 2.5


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child("test", on_timeout=lambda s: InferenceTimeout(f"{s:.1f} s"))
    yield child
    child.stop()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@dataclass
class Ends:
    """What may end a call."""

    cancelled: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)

    def stop_conditions(self) -> StopConditions:
        return StopConditions(cancelled=self.cancelled, stopping=self.stopping)


class CancelledAtLook(StopConditions):
    """Cancelled from the given look on: each number is another moment of the call."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._left = number

    def check(self) -> None:
        self._left -= 1
        if self._left <= 0:
            raise RequestCancelled("the request was cancelled")


def is_gone(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


def is_busy(child: Child) -> bool:
    """Whether the process of the child has begun a call."""
    process = child._process
    return process is not None and process.began


def overdue(_: Ends) -> StopConditions:
    stop_conditions = StopConditions()
    stop_conditions.set_deadline(1)
    return stop_conditions


def ended(ends: Ends) -> StopConditions:
    return ends.stop_conditions()


@pytest.mark.parametrize(
    ("halt_of", "end", "error"),
    [
        (ended, lambda ends: ends.cancelled.set(), RequestCancelled),
        (ended, lambda ends: ends.stopping.set(), LabStopping),
        (overdue, lambda ends: time.sleep(1.0), DeadlineExceeded),
    ],
    ids=["cancel", "stop", "deadline"],
)
@pytest.mark.parametrize("work", [child_work.compute, child_work.sleep], ids=["in C", "asleep"])
def test_what_ends_a_run_kills_the_process_that_works_for_it(
    child: Child,
    halt_of: Callable[[Ends], StopConditions],
    end: Callable[[Ends], None],
    error: type[Exception],
    work: Callable[..., None],
) -> None:
    pid = child.call(PATIENCE, StopConditions(), child_work.pid)
    ends = Ends()
    arguments = () if work is child_work.compute else (600.0,)
    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(child.call, PATIENCE, halt_of(ends), work, *arguments)
        wait_until(lambda: is_busy(child) or call.done(), "begin the call", 30)
        end(ends)
        began = time.monotonic()
        with pytest.raises(error):
            call.result(PATIENCE)
        wait_until(lambda: is_gone(pid), "kill the child", GONE_SECONDS)
        spent = time.monotonic() - began
    print(f"gone after {spent:.2f} s")
    assert spent < GONE_SECONDS
    assert child.call(PATIENCE, StopConditions(), child_work.pid) != pid


@pytest.mark.parametrize(
    ("work", "look"),
    [
        # At the first look nothing has begun. The second finds the dying process alive, or comes
        # when its death is known.
        *((child_work.die, look) for look in (1, 2)),
        *((child_work.sleep, look) for look in range(1, 6)),
    ],
)
@pytest.mark.parametrize("warm", [True, False])
def test_a_cancel_at_any_moment_of_a_call_is_a_cancel_and_no_crash(
    child: Child, work: Callable[..., None], look: int, warm: bool
) -> None:
    """A cold child is still starting at the first looks, a warm one dies between two of them."""
    if warm:
        child.call(PATIENCE, StopConditions(), child_work.pid)
    arguments = () if work is child_work.die else (600.0,)
    with pytest.raises(RequestCancelled):
        child.call(PATIENCE, CancelledAtLook(look), work, *arguments)
    assert child.call(PATIENCE, StopConditions(), child_work.double, 21) == 42


def test_a_cancel_between_two_steps_of_a_call_is_a_cancel(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may fall between the look at the process and the hand-over to it."""
    ends = Ends()
    running = child._running

    def cancelled() -> Process:
        process = running()
        ends.cancelled.set()
        return process

    monkeypatch.setattr(child, "_running", cancelled)
    with pytest.raises(RequestCancelled):
        child.call(PATIENCE, ends.stop_conditions(), child_work.sleep, 600.0)
    monkeypatch.undo()
    assert child.call(PATIENCE, StopConditions(), child_work.double, 1) == 2


def test_who_waits_for_a_turn_gives_it_up_and_does_not_touch_the_call_under_way(
    child: Child, threads: ThreadPoolExecutor
) -> None:
    pid = child.call(PATIENCE, StopConditions(), child_work.pid)
    working = threads.submit(child.call, PATIENCE, StopConditions(), child_work.pid_after, 3.0)
    wait_until(lambda: is_busy(child), "begin the call", 30)
    ends = Ends()
    waiting = threads.submit(child.call, PATIENCE, ends.stop_conditions(), child_work.pid)
    ends.cancelled.set()
    with pytest.raises(RequestCancelled):
        waiting.result(PATIENCE)
    assert working.result(PATIENCE) == pid


def test_the_call_that_waits_behind_a_cancelled_one_gets_a_fresh_process(
    child: Child, threads: ThreadPoolExecutor
) -> None:
    pid = child.call(PATIENCE, StopConditions(), child_work.pid)
    ends = Ends()
    cancelled = threads.submit(
        child.call, PATIENCE, ends.stop_conditions(), child_work.sleep, 600.0
    )
    wait_until(lambda: is_busy(child), "begin the call", 30)
    waiting = threads.submit(child.call, PATIENCE, StopConditions(), child_work.pid)
    ends.cancelled.set()
    with pytest.raises(RequestCancelled):
        cancelled.result(PATIENCE)
    assert waiting.result(PATIENCE) != pid


def test_cancels_at_random_moments_never_hurt_the_neighbour(child: Child) -> None:
    """Two job threads share the child: one is cancelled again and again, the other never."""
    done = threading.Event()

    def cancelled_again_and_again() -> int:
        number = 0
        while not done.is_set():
            ends = Ends()
            timer = threading.Timer(0.02 * (number % 40), ends.cancelled.set)
            timer.start()
            with suppress(RequestCancelled):
                child.call(PATIENCE, ends.stop_conditions(), child_work.pid_after, 0.3)
            timer.join()
            number += 1
        return number

    with ThreadPoolExecutor(1) as pool:
        other: Future[int] = pool.submit(cancelled_again_and_again)
        try:
            for value in range(25):
                assert child.call(PATIENCE, StopConditions(), child_work.double, value) == 2 * value
        finally:
            done.set()
        assert other.result(PATIENCE) > 0


def test_a_process_outlives_the_thread_that_called_it_first(child: Child) -> None:
    """The kernel would take that thread for its parent."""
    with ThreadPoolExecutor(1) as pool:
        pid = pool.submit(child.call, PATIENCE, StopConditions(), child_work.pid).result(PATIENCE)
    assert child.call(PATIENCE, StopConditions(), child_work.pid) == pid
