"""The device, and whether the bundles load on it: asked in the segmenter's own process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from consumer.bundle import Bundle
from consumer.checks.line import Line, bad, ok, skipped
from consumer.children.workbench import Workbench
from consumer.errors import LabError


def check(bench: Workbench, bundles: Mapping[str, Bundle], device: str) -> Iterator[Line]:
    """Look at the device and load every bundle there, as the lab does at its start."""
    try:
        seen = bench.look_at(device)
    except LabError as error:
        fix = "install labrelay[consumer] anew; python -c 'import torch' must work"
        yield bad("device", error.detail, fix)
        yield skipped("loading", "device")
        return
    if not seen.usable:
        yield bad("device", f"DEVICE={device}: {seen.text}", seen.fix)
        yield skipped("loading", "device")
        return
    yield ok("device", seen.text)
    if not bundles:
        yield skipped("loading", "model")
    for name, bundle in bundles.items():
        yield _loads(bench, name, bundle, device)


def _loads(bench: Workbench, name: str, bundle: Bundle, device: str) -> Line:
    try:
        bench.load([bundle], device)
    except LabError as error:
        fix = "copy the bundle again; it must run with the torch and MONAI of this lab"
        return bad("loading", error.detail, fix)
    return ok("loading", f"{name} is ready on {device}")
