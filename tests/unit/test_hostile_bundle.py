"""A bundle is code: what it can do in a real segmenter, and what torch still does there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumer.bundle import read_bundle
from consumer.children.segmenter import SegmentationJob
from consumer.children.workbench import Limits, Workbench
from consumer.errors import InferenceTimeout
from consumer.memory import MemoryFile, create_array, open_array
from consumer.sandbox.kernel import keep_memory_private
from consumer.stop_conditions import StopConditions
from infra.local.process import wait_until
from infra.local.settings import REPOSITORY
from tests.unit.test_hostile_child import (  # noqa: F401 - fixtures
    BEGIN,
    END,
    broker_and_archive,
    gone,
)

#: Seconds for torch, MONAI and a bundle to be loaded on a busy machine.
PATIENCE = 300.0

SHAPE = (4, 4, 8, 8)

#: Answer with nothing found.
NOTHING = "$@dataflow.update(pred=torch.zeros((1, 4, 8, 8)))"


@pytest.fixture
def memory() -> Iterator[tuple[MemoryFile, MemoryFile]]:
    with ExitStack() as open_:
        volumes, mask = (open_.enter_context(MemoryFile(name)) for name in ("volumes", "mask"))
        create_array(volumes.path, SHAPE, np.float32)[:] = 1.0
        volumes.seal()
        yield volumes, mask


def job_of(
    folder: Path, memory: tuple[MemoryFile, MemoryFile], *run: str, **more: Any
) -> SegmentationJob:
    """A job for a bundle that does these steps."""
    shutil.copytree(REPOSITORY / "tests" / "bundles" / "held", folder)
    config = folder / "configs" / "inference.json"
    inference = json.loads(config.read_text(encoding="utf-8"))
    inference["imports"] += ["$import tests.child_attack as child_attack"]
    inference.update(more)
    config.write_text(json.dumps({**inference, "run": list(run)}), encoding="utf-8")
    return SegmentationJob(
        bundle=read_bundle(folder),
        device="cpu",
        volumes_path=memory[0].path,
        mask_path=memory[1].path,
        shape=SHAPE,
        affine_lps=tuple(map(tuple, np.eye(4).tolist())),
        threshold=0.5,
    )


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workbench]:
    monkeypatch.setenv("ORTHANC_PASSWORD", BEGIN + END)
    keep_memory_private()
    bench = Workbench(Limits(reading=PATIENCE, inference=PATIENCE))
    yield bench
    bench.stop()


def test_a_bundle_gets_to_no_password_no_network_and_no_other_process(
    bench: Workbench,
    memory: tuple[MemoryFile, MemoryFile],
    tmp_path: Path,
    broker_and_archive: list[Any],  # noqa: F811
) -> None:
    report, order = tmp_path / "report", tmp_path / "order"
    words = {
        "begin": BEGIN,
        "end": END,
        "pids": [os.getpid()],
        "addresses": [list(one.getsockname()[:2]) for one in broker_and_archive],
    }
    order.write_text(json.dumps(words))
    attack = f"$child_attack.everything({str(report)!r}, {str(order)!r})"
    bench.segment(job_of(tmp_path / "hostile", memory, attack, NOTHING), StopConditions())
    assert json.loads(report.read_text()) == []


def test_a_bundle_cannot_change_the_voxels_that_the_report_is_made_from(
    bench: Workbench, memory: tuple[MemoryFile, MemoryFile], tmp_path: Path
) -> None:
    report = tmp_path / "report"
    forge = f"$child_attack.forges({str(report)!r})"
    bench.segment(job_of(tmp_path / "hostile", memory, forge, NOTHING), StopConditions())
    # The mask is the bundle's own to write, until it has answered.
    assert not [one for one in json.loads(report.read_text()) if "volumes" in one]
    assert (open_array(memory[0].path, SHAPE, np.float32) == 1.0).all()


def test_workers_of_a_bundle_load_its_data_and_end_with_its_timeout(
    memory: tuple[MemoryFile, MemoryFile], tmp_path: Path
) -> None:
    """With torch's DataLoader: its workers hand their arrays over as descriptors."""
    pids = tmp_path / "pids"
    loader = (
        "$torch.utils.data.DataLoader([torch.full((3,), float(n)) for n in range(8)],"
        " batch_size=2, num_workers=2, persistent_workers=True,"
        f" worker_init_fn=lambda n: open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n'))"
    )
    work = "$@dataflow.update(total=sum(float(batch.sum()) for batch in @loader))"
    answer = "$@dataflow.update(pred=torch.full((1, 4, 8, 8), float(@dataflow['total'] == 84.0)))"
    bench = Workbench(Limits(reading=PATIENCE, inference=PATIENCE))
    try:
        job = job_of(tmp_path / "working", memory, work, answer, loader=loader)
        bench.segment(job, StopConditions())
        assert open_array(memory[1].path, SHAPE[1:], np.uint8).all()
        workers = [int(pid) for pid in pids.read_text().split()]
        assert len(workers) == 2
    finally:
        bench.stop()
    wait_until(lambda: all(map(gone, workers)), "end the workers", 30)

    pids.unlink()
    slow = Workbench(Limits(reading=PATIENCE, inference=5.0))
    try:
        hangs = job_of(tmp_path / "hangs", memory, work, "$time.sleep(600)", loader=loader)
        with pytest.raises(InferenceTimeout):
            slow.segment(hangs, StopConditions())
        workers = [int(pid) for pid in pids.read_text().split()]
        assert len(workers) == 2
        wait_until(lambda: all(map(gone, workers)), "end the workers", 30)
    finally:
        slow.stop()
