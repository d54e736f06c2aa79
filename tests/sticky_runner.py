"""A model runner whose process stays broken after one fault, as a GPU's does after an assertion.

A module of its own: the child imports it by name. Its orders lie in the folder of the bundle.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from consumer.bundle import Bundle
from consumer.children.segmenter import DeviceFacts, SegmentationJob
from consumer.errors import ModelFailed, ModelUnavailable

#: What the fault of an earlier call has left behind.
_broken: list[str] = []


def start() -> None:
    """Nothing has to be loaded."""


def look_at(device: str) -> DeviceFacts:
    return DeviceFacts(usable=True, text=device)


def load_all(bundles: Iterable[Bundle], _device: str) -> None:
    for bundle in bundles:
        if "load" in _broken:
            raise ModelUnavailable(f"bundle {bundle.descriptor.name}", raised="RuntimeError")


def segment(job: SegmentationJob) -> None:
    """Note the process; fail for good after the file `once`, each time with `always`."""
    root = job.bundle.path
    with (root / "pids").open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    if (root / "answers").exists():
        raise ModelFailed("answered with values that are no numbers")
    once = root / "once"
    if once.exists():
        _broken.append(once.read_text())
        once.unlink()
    if _broken or (root / "always").exists():
        raise ModelFailed("raised an error on this input", raised="AcceleratorError")
