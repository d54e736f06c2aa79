"""The models: bundles that can be described, with weights that are there, and load."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from consumer.bundle import Bundle, BundleInvalid, find_bundles
from consumer.checks.line import Line, bad, ok, skipped
from consumer.children.workbench import Workbench
from consumer.errors import LabError

#: A weights file as configurations and metadata name it.
_NAMED = re.compile(r"models/([\w.-]+\w)")

#: How a file begins that Git LFS has not fetched.
_LFS_POINTER = b"version https://git-lfs"


def check_bundles(model_path: Path) -> tuple[dict[str, Bundle], list[Line]]:
    """The bundles under MODEL_PATH that can be used, and what is to be said of each."""
    try:
        bundles = find_bundles(model_path)
    except BundleInvalid as error:
        fix = "MODEL_PATH must be a MONAI bundle with configs/ and models/, or a folder of such"
        return {}, [bad("model", str(error), fix)]
    faults = {name: _weights_fault(bundle.path) for name, bundle in bundles.items()}
    lines = [
        bad("model", f"{name}: {fault}", "copy the bundle again, its weights included")
        if fault
        else ok("model", _described(bundles[name]))
        for name, fault in faults.items()
    ]
    return {name: bundle for name, bundle in bundles.items() if not faults[name]}, lines


def _described(bundle: Bundle) -> str:
    model = bundle.descriptor
    roles = ", ".join(model.roles)
    return f"{model.name} {model.version}, sha256 {model.sha256[:12]}, takes {roles}"


def _weights_fault(bundle: Path) -> str | None:
    """What is wrong with the files in models/ that the bundle names; one may name none."""
    named: set[str] = set()
    for config in (bundle / "configs").glob("*.json"):
        named.update(_NAMED.findall(config.read_text("utf-8", errors="replace")))
    for name in sorted(named):
        file = bundle / "models" / name
        if not file.is_file():
            return f"the weights models/{name} are missing"
        with file.open("rb") as opened:
            begin = opened.read(len(_LFS_POINTER))
        if not begin:
            return f"the weights models/{name} are empty"
        if begin == _LFS_POINTER:
            return f"models/{name} is a pointer of Git LFS and not the weights"
    return None


def check_device(bench: Workbench, bundles: Mapping[str, Bundle], device: str) -> Iterator[Line]:
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
