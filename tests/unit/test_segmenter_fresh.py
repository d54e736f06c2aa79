"""What a model raises ends its process, and the job is tried once more in a fresh one."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from consumer.bundle import read_bundle
from consumer.children.segmenter import SegmentationJob
from consumer.children.workbench import Limits, Workbench
from consumer.errors import ModelFailed
from consumer.stop_conditions import StopConditions
from tests import sticky_runner
from tests.unit.job_bench import HELD

#: Seconds for a child that starts on a busy machine.
PATIENCE = 60.0


@pytest.fixture
def bench() -> Iterator[Workbench]:
    bench = Workbench(Limits(reading=PATIENCE, inference=PATIENCE), sticky_runner)
    yield bench
    bench.stop()


@pytest.fixture
def job(tmp_path: Path) -> SegmentationJob:
    folder = tmp_path / "held"
    shutil.copytree(HELD, folder)
    return SegmentationJob(
        bundle=read_bundle(folder),
        device="cpu",
        volumes_path="",
        mask_path="",
        shape=(4, 1, 1, 1),
        affine_lps=tuple(map(tuple, np.eye(4).tolist())),
        threshold=0.5,
    )


def processes(job: SegmentationJob) -> list[str]:
    """The process of each try."""
    return (job.bundle.path / "pids").read_text().split()


@pytest.mark.parametrize("broken", ["run", "load"])
def test_a_fault_that_stays_in_a_process_costs_no_request(
    bench: Workbench, job: SegmentationJob, broken: str
) -> None:
    bench.segment(job, StopConditions())
    (job.bundle.path / "once").write_text(broken)
    with capture_logs() as lines:
        bench.segment(job, StopConditions())
    (line,) = (one for one in lines if one.get("action") == "job.fresh_segmenter")
    assert line["error"] == "AcceleratorError"
    bench.segment(job, StopConditions())
    first, failed, again, next_one = processes(job)
    assert first == failed
    assert failed != again
    assert again == next_one


def test_what_is_raised_in_a_fresh_process_too_is_the_models(
    bench: Workbench, job: SegmentationJob
) -> None:
    (job.bundle.path / "always").touch()
    with pytest.raises(ModelFailed) as caught:
        bench.segment(job, StopConditions())
    assert len(set(processes(job))) == 2
    # The sentence goes to readers; the class of the error to the log.
    assert "Error" not in caught.value.detail
    assert caught.value.raised == "AcceleratorError"
    (job.bundle.path / "always").unlink()
    bench.segment(job, StopConditions())
    assert len(set(processes(job))) == 3


def test_an_answer_that_is_none_is_not_asked_for_again(
    bench: Workbench, job: SegmentationJob
) -> None:
    (job.bundle.path / "answers").touch()
    with pytest.raises(ModelFailed):
        bench.segment(job, StopConditions())
    assert len(processes(job)) == 1


def test_an_error_keeps_its_two_words_on_the_way_from_a_child() -> None:
    error = ModelFailed("a sentence", raised="KeyError")
    error = pickle.loads(pickle.dumps(error))  # noqa: S301 - as a child's answer is
    assert (error.detail, error.raised) == ("a sentence", "KeyError")
