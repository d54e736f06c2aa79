"""A child process may crash, hang, die idle or be stopped; the lab goes on or ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from consumer.children.child import Child
from consumer.children.process import Process
from consumer.children.wire import ChildRaised
from consumer.errors import InferenceTimeout, LabStopping, OutOfMemory, TooLarge, WorkerCrashed
from consumer.stop_conditions import StopConditions
from infra.local.process import wait_until
from infra.local.settings import REPOSITORY
from tests import child_work, slow_child

#: Seconds for a call that does nothing, on a busy machine.
PATIENCE = 60.0


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child("test", on_timeout=lambda s: InferenceTimeout(f"{s:.1f} s"))
    yield child
    child.stop()


def is_gone(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


def test_a_call_returns_what_the_function_returns_and_the_process_stays(child: Child) -> None:
    assert child.call(PATIENCE, StopConditions(), child_work.double, 21) == 42
    assert child.call(PATIENCE, StopConditions(), child_work.pid) == child.call(
        PATIENCE, StopConditions(), child_work.pid
    )


def test_a_crash_is_told_and_the_next_call_gets_a_fresh_process(child: Child) -> None:
    first = child.call(PATIENCE, StopConditions(), child_work.pid)
    with pytest.raises(WorkerCrashed):
        child.call(PATIENCE, StopConditions(), child_work.die)
    assert child.call(PATIENCE, StopConditions(), child_work.pid) != first


def test_a_hang_is_ended_after_the_timeout_and_the_process_with_it(child: Child) -> None:
    first = child.call(PATIENCE, StopConditions(), child_work.pid)
    with pytest.raises(InferenceTimeout):
        child.call(0.5, StopConditions(), child_work.sleep, 600.0)
    wait_until(lambda: is_gone(first), "kill the child", 10)
    assert child.call(PATIENCE, StopConditions(), child_work.double, 1) == 2


def test_a_child_that_dies_while_idle_is_replaced(child: Child) -> None:
    first = child.call(PATIENCE, StopConditions(), child_work.pid)
    os.kill(first, signal.SIGKILL)

    def answers() -> bool:
        with suppress(WorkerCrashed):
            return child.call(PATIENCE, StopConditions(), child_work.pid) != first
        return False

    wait_until(answers, "answer again", 30)


def test_what_the_function_raises_arrives(child: Child) -> None:
    # By its class alone: what a library says may quote a file.
    with pytest.raises(ChildRaised, match=r"^RuntimeError$"):
        child.call(PATIENCE, StopConditions(), child_work.fail)
    with pytest.raises(OutOfMemory):
        child.call(PATIENCE, StopConditions(), child_work.exhaust)


def test_a_stop_ends_a_call_under_way_and_refuses_every_later_one(child: Child) -> None:
    pid = child.call(PATIENCE, StopConditions(), child_work.pid)
    ended: list[LabStopping] = []

    def call() -> None:
        try:
            child.call(PATIENCE, StopConditions(), child_work.sleep, 600.0)
        except LabStopping as error:
            ended.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    wait_until(child._turn.locked, "begin the call", 10)
    child.stop()
    thread.join(timeout=10)
    assert not thread.is_alive(), "the call outlived the stop"
    assert len(ended) == 1
    with pytest.raises(LabStopping):
        child.call(PATIENCE, StopConditions(), child_work.double, 1)
    wait_until(lambda: is_gone(pid), "kill the child", 10)


def test_a_stop_between_two_steps_of_a_call_is_a_stop_and_no_crash(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a busy lab a stop may fall between the look at the process and the hand-over to it."""
    running = child._running

    def stopped() -> Process:
        process = running()
        child.stop()
        return process

    monkeypatch.setattr(child, "_running", stopped)
    with pytest.raises(LabStopping):
        child.call(PATIENCE, StopConditions(), child_work.pid)


def test_a_child_dies_with_its_parent() -> None:
    script = (
        "from consumer.children.child import Child\n"
        "from consumer.errors import InferenceTimeout\n"
        "from consumer.stop_conditions import StopConditions\n"
        "from tests import child_work\n"
        "if __name__ == '__main__':\n"
        "    child = Child('test', on_timeout=InferenceTimeout)\n"
        "    print(child.call(60, StopConditions(), child_work.pid), flush=True)\n"
        "    child.call(600, StopConditions(), child_work.sleep, 600.0)\n"
    )
    with subprocess.Popen(
        (sys.executable, "-c", script), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    began = time.monotonic()
    wait_until(lambda: is_gone(pid), "die with its parent", 10)
    assert time.monotonic() - began < 10


def test_who_is_too_slow_is_asked_once_more_in_a_fresh_process() -> None:
    child = Child("test", on_timeout=InferenceTimeout, on_slow_again=lambda s: TooLarge(f"{s} s"))
    try:
        first = child.call(PATIENCE, StopConditions(), child_work.pid)
        with pytest.raises(TooLarge):
            child.call(0.5, StopConditions(), child_work.sleep, 600.0)
        assert child.call(PATIENCE, StopConditions(), child_work.pid) != first
    finally:
        child.stop()


def test_who_was_slow_once_is_answered(tmp_path: Path) -> None:
    child = Child("test", on_timeout=InferenceTimeout, on_slow_again=lambda s: TooLarge(f"{s} s"))
    try:
        child.call(PATIENCE, StopConditions(), child_work.pid)
        assert child.call(1.0, StopConditions(), slow_child.slow_once, str(tmp_path / "was")) == 7
    finally:
        child.stop()


def test_a_clock_that_is_set_two_hours_on_ends_no_call(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a clock that was wrong is set once the network is there."""
    child.call(PATIENCE, StopConditions(), child_work.pid)
    clock, began = time.time, threading.Event()

    def stepped() -> float:
        return clock() + (7200.0 if began.is_set() else 0.0)

    monkeypatch.setattr(time, "time", stepped)
    timer = threading.Timer(0.5, began.set)
    timer.start()
    try:
        assert child.call(PATIENCE, StopConditions(), child_work.pid_after, 2.0) > 0
        assert began.is_set()
    finally:
        timer.cancel()


def test_a_clock_that_is_set_back_lets_no_call_take_longer(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    child.call(PATIENCE, StopConditions(), child_work.pid)
    clock, at = time.time, time.monotonic()
    # An hour back for every second: no time passes by it.
    monkeypatch.setattr(time, "time", lambda: clock() - 3600.0 * (time.monotonic() - at))
    with pytest.raises(InferenceTimeout):
        child.call(0.5, StopConditions(), child_work.sleep, PATIENCE)
