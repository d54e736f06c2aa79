"""What the bundle tests/bundles/held computes, in numpy: a lab that loads no torch.

For tests of broker, archive and site. What torch and MONAI do is tested with them elsewhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import numpy as np

from consumer.bundle import Bundle, sha256_of
from consumer.children.segmenter import DeviceFacts, SegmentationJob
from consumer.errors import ModelUnavailable
from consumer.memory import create_array, open_array

#: Seconds between two looks whether the bundle is still held.
LOOK_SECONDS = 0.02

#: Share of the greatest gain from which a voxel is marked, as in the bundle's configuration.
SHARE = 0.6


def start() -> None:
    """Nothing has to be loaded."""


def look_at(device: str) -> DeviceFacts:
    return DeviceFacts(usable=device == "cpu", text=f"{device}, numpy")


def load_all(bundles: Iterable[Bundle], _device: str) -> None:
    for bundle in bundles:
        if sha256_of(bundle.path) != bundle.descriptor.sha256:
            raise ModelUnavailable(f"the files of bundle {bundle.descriptor.name} changed")


def segment(job: SegmentationJob) -> None:
    root = job.bundle.path
    (root / "pid").write_text(str(os.getpid()))
    with (root / "began").open("a") as began:
        began.write("x")
    while (root / "hold").exists():
        time.sleep(LOOK_SECONDS)
    volumes = np.asarray(open_array(job.volumes_path, job.shape, np.float32))
    gain = volumes[1] - volumes[0]
    found = (gain >= SHARE * gain.max()).astype(np.uint8)
    create_array(job.mask_path, job.shape[1:], np.uint8)[:] = found
