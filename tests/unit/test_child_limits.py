"""What the kernel holds a child to, and how a call ends that passes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from consumer.children.child import Child
from consumer.children.wire import ChildRaised
from consumer.children.workbench import Limits, Workbench
from consumer.errors import InferenceTimeout, TooLarge, WorkerCrashed
from consumer.sandbox.confinement import ReaderLimits, confine
from consumer.stop_conditions import StopConditions
from tests import child_work

#: Seconds for a call that does nothing, on a busy machine.
PATIENCE = 60.0

MIB = 1024**2

ALLOWED = ReaderLimits(memory_bytes=200 * MIB, volume_bytes=MIB)


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child(
        "test",
        on_timeout=lambda s: InferenceTimeout(f"{s:.1f} s"),
        on_exhausted=lambda: TooLarge("too much for a fresh process"),
        prepare=partial(confine, ALLOWED),
    )
    yield child
    child.stop()


@pytest.fixture
def bench() -> Iterator[Workbench]:
    bench = Workbench(Limits(reading=PATIENCE, inference=PATIENCE, reader=ALLOWED))
    yield bench
    bench.stop()


def test_what_needs_more_memory_than_a_fresh_process_may_take_is_too_large(child: Child) -> None:
    assert child.call(PATIENCE, StopConditions(), child_work.seize, 100 * MIB) == 100 * MIB
    with pytest.raises(TooLarge, match="a fresh process"):
        child.call(PATIENCE, StopConditions(), child_work.seize, 300 * MIB)
    assert child.call(PATIENCE, StopConditions(), child_work.double, 21) == 42


def test_memory_that_earlier_calls_kept_is_no_reason_to_refuse(child: Child) -> None:
    first = child.call(PATIENCE, StopConditions(), child_work.pid)
    assert child.call(PATIENCE, StopConditions(), child_work.hoard, 120 * MIB) == 120 * MIB
    # The second needs the same again, and finds it in another process.
    assert child.call(PATIENCE, StopConditions(), child_work.hoard, 120 * MIB) == 120 * MIB
    assert child.call(PATIENCE, StopConditions(), child_work.pid) != first


def test_a_file_larger_than_the_volume_cannot_be_written(child: Child, tmp_path: Path) -> None:
    path = tmp_path / "file"
    child.call(PATIENCE, StopConditions(), child_work.write_file, str(path), 2 * MIB)
    assert path.stat().st_size == MIB
    with pytest.raises(ChildRaised, match=r"^OSError$"):
        child.call(PATIENCE, StopConditions(), child_work.grow_file, str(path), MIB + 1)


def test_the_children_of_a_lab_can_leave_no_core_dump(bench: Workbench) -> None:
    reader = bench._reader.call(PATIENCE, StopConditions(), child_work.limits)
    assert reader["RLIMIT_CORE"] <= 1
    assert reader["RLIMIT_FSIZE"] == MIB
    assert reader["RLIMIT_NOFILE"] <= 256
    assert reader["RLIMIT_DATA"] > ALLOWED.memory_bytes
    assert bench._segmenter.call(PATIENCE, StopConditions(), child_work.limits)["RLIMIT_CORE"] <= 1


def test_a_decoder_that_crashes_costs_its_process_and_no_other(bench: Workbench) -> None:
    segmenter = bench._segmenter.call(PATIENCE, StopConditions(), os.getpid)
    with pytest.raises(WorkerCrashed):
        bench._reader.call(PATIENCE, StopConditions(), child_work.fault)
    assert bench._reader.call(PATIENCE, StopConditions(), child_work.double, 2) == 4
    assert bench._segmenter.call(PATIENCE, StopConditions(), os.getpid) == segmenter
