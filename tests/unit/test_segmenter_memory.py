"""Too little memory is a passing fault, wherever in a bundle it shows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from consumer.bundle import read_bundle
from consumer.children import segmenter
from consumer.children.segmenter import SegmentationJob
from consumer.errors import ModelFailed, OutOfMemory
from consumer.memory import MemoryFile, create_array, open_array
from infra.local.settings import REPOSITORY

SHAPE = (4, 2, 4, 4)


def run(
    directory: Path, name: str, expression: str, labels: tuple[str, ...] = ("tumor",)
) -> npt.NDArray[np.uint8]:
    """The mask of a bundle whose inference is this expression and whose channels have `labels`."""
    path = directory / name
    shutil.copytree(REPOSITORY / "tests" / "bundles" / "held", path)
    config = path / "configs" / "inference.json"
    inference = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**inference, "run": [expression]}), encoding="utf-8")
    meta = path / "configs" / "metadata.json"
    metadata = json.loads(meta.read_text(encoding="utf-8"))
    channels = {str(number): label for number, label in enumerate(labels)}
    metadata["network_data_format"]["outputs"]["pred"]["channel_def"] = channels
    meta.write_text(json.dumps(metadata), encoding="utf-8")
    with MemoryFile("volumes") as volumes, MemoryFile("mask") as mask:
        create_array(volumes.path, SHAPE, np.float32)
        segmenter.segment(
            SegmentationJob(
                bundle=read_bundle(path),
                device="cpu",
                volumes_path=volumes.path,
                mask_path=mask.path,
                shape=SHAPE,
                affine_lps=tuple(map(tuple, np.eye(4).tolist())),
                threshold=0.5,
            )
        )
        return np.array(open_array(mask.path, SHAPE[1:], np.uint8))


@pytest.mark.parametrize(
    ("name", "expression"),
    [
        # More than any machine has: refused without a page of it being touched.
        ("cpu", "$torch.empty(2**60, dtype=torch.uint8)"),
        ("gpu", "$(_ for _ in ()).throw(torch.OutOfMemoryError())"),
        ("python", "$bytearray(2**60)"),
    ],
)
def test_a_bundle_that_finds_no_memory_may_find_some_later(
    tmp_path: Path, name: str, expression: str
) -> None:
    with pytest.raises(OutOfMemory):
        run(tmp_path, f"no-memory-{name}", expression)


def test_a_bundle_that_fails_otherwise_fails_for_good(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed) as caught:
        run(tmp_path, "divides-by-zero", "$1 / 0")
    # A reader is shown the detail: the class is for the log.
    assert "Error" not in caught.value.detail
    assert caught.value.raised
