"""What the bundle tests/bundles/held computes, in numpy: a lab that loads no torch.

For tests of broker, archive and site. What torch and MONAI do is tested with them elsewhere, and
another bundle is theirs here too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from consumer.bundle import Bundle, sha256_of
from consumer.children import segmenter
from consumer.children.segmenter import DeviceFacts, SegmentationJob
from consumer.errors import ModelUnavailable
from consumer.memory import create_array, open_array
from infra.local.settings import REPOSITORY

#: The bundle that is computed here.
HELD = REPOSITORY / "tests" / "bundles" / "held"

#: What makes it that bundle: another configuration is for MONAI to run.
_CONFIGURATION = Path("configs") / "inference.json"

#: Seconds between two looks whether the bundle is still held.
LOOK_SECONDS = 0.02

#: Share of the greatest gain from which a voxel is marked, as in the bundle's configuration.
SHARE = 0.6


def computes(bundle: Path) -> bool:
    """Whether this is a copy of `HELD` as it is."""
    config = bundle / _CONFIGURATION
    return config.is_file() and config.read_bytes() == (HELD / _CONFIGURATION).read_bytes()


def start() -> None:
    """As for any bundle; no library is loaded yet."""
    segmenter.start()


def look_at(device: str) -> DeviceFacts:
    return DeviceFacts(usable=device == "cpu", text=f"{device}, numpy")


def load_all(bundles: Iterable[Bundle], device: str) -> None:
    for bundle in bundles:
        if not computes(bundle.path):
            segmenter.load(bundle, device)
        elif sha256_of(bundle.path) != bundle.descriptor.sha256:
            raise ModelUnavailable(f"the files of bundle {bundle.descriptor.name} changed")


def segment(job: SegmentationJob) -> None:
    root = job.bundle.path
    if not computes(root):
        segmenter.segment(job)
        return
    (root / "pid").write_text(str(os.getpid()))
    with (root / "began").open("a") as began:
        began.write("x")
    while (root / "hold").exists():
        time.sleep(LOOK_SECONDS)
    volumes = np.asarray(open_array(job.volumes_path, job.shape, np.float32))
    gain = volumes[1] - volumes[0]
    found = (gain >= SHARE * gain.max()).astype(np.uint8)
    create_array(job.mask_path, job.shape[1:], np.uint8)[:] = found
