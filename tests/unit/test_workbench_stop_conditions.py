"""A cancel during a real inference: torch and MONAI in the segmenter, a bundle that waits."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from consumer.bundle import read_bundle
from consumer.children.segmenter import SegmentationJob
from consumer.children.workbench import Limits, Workbench
from consumer.errors import RequestCancelled
from consumer.memory import MemoryFile, create_array, open_array
from consumer.stop_conditions import StopConditions
from infra.local.process import wait_until
from tests import child_work
from tests.unit.job_bench import HELD
from tests.unit.test_child_stop_conditions import GONE_SECONDS, is_gone

#: Seconds for torch, MONAI and a bundle to be loaded on a busy machine.
PATIENCE = 180.0
SHAPE = (4, 6, 16, 16)


@pytest.fixture
def bench() -> Iterator[Workbench]:
    bench = Workbench(Limits(reading=PATIENCE, inference=PATIENCE))
    yield bench
    bench.stop()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[SegmentationJob]:
    folder = tmp_path / "held"
    shutil.copytree(HELD, folder)
    with ExitStack() as memory:
        volumes, mask = (memory.enter_context(MemoryFile()) for _ in range(2))
        create_array(volumes.path, SHAPE, np.float32)
        yield SegmentationJob(
            bundle=read_bundle(folder),
            device="cpu",
            volumes_path=volumes.path,
            mask_path=mask.path,
            shape=SHAPE,
            affine_lps=tuple(map(tuple, np.eye(4).tolist())),
            threshold=0.5,
        )


def test_a_cancelled_inference_is_dead_within_a_second_and_the_next_one_works(
    bench: Workbench, job: SegmentationJob
) -> None:
    bench.load([job.bundle], "cpu")
    segmenter = bench._segmenter.call(PATIENCE, StopConditions(), child_work.pid)
    neighbour = bench._reader.call(PATIENCE, StopConditions(), child_work.pid)
    hold, began = job.bundle.path / "hold", job.bundle.path / "began"
    hold.touch()
    cancelled = Event()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(bench.segment, job, StopConditions(cancelled=cancelled))
        wait_until(began.exists, "begin the inference", PATIENCE)
        second = threads.submit(bench.segment, job, StopConditions())
        at = time.monotonic()
        cancelled.set()
        with pytest.raises(RequestCancelled):
            first.result(PATIENCE)
        wait_until(lambda: is_gone(segmenter), "kill the segmenter", GONE_SECONDS)
        print(f"gone after {time.monotonic() - at:.2f} s")
        hold.unlink()
        second.result(PATIENCE)
    assert open_array(job.mask_path, SHAPE[1:], np.uint8).any()
    assert bench._segmenter.call(PATIENCE, StopConditions(), child_work.pid) != segmenter
    assert bench._reader.call(PATIENCE, StopConditions(), child_work.pid) == neighbour
