"""What must hold after every fault: one outcome, one result, and everybody is told the same."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import pydicom
import requests

from infra.local.process import ServiceFailed, wait_until
from messages import identity, topology
from tests.faults.world import PATIENCE, Click, World

#: TID 1500: what the measurement report says, by code value.
_VOLUME, _DIAMETER = "118565006", "L0JK"


#: Seconds for which all must be at rest: a quorum queue counts what is unacknowledged every 5 s.
_REST_SECONDS = 6.0


@dataclass(frozen=True)
class Fault:
    """One thing that must hold and does not."""

    sentence: str

    def __str__(self) -> str:
        return self.sentence


def verdict(world: World, allowed: frozenset[str], letters: int) -> list[Fault]:
    """Wait until all is at rest, and return what is wrong: nothing, if all is well.

    `allowed` are the outcomes that the row's requests may have, `letters` the dead letters that
    belong there.
    """
    found: list[Fault] = []
    for click in world.clicks:
        found += _outcome(world, click, allowed)
    try:
        wait_until(_Rest(world), "come to rest", PATIENCE)
    except ServiceFailed:
        found.append(Fault(f"messages are left: {_busy(world)}"))
    for click in world.clicks:
        found += _archive(world, click)
    found += _letters(world, letters)
    return found


class _Rest:
    """Whether the queues have been empty for a while: their counts lag."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: float | None = None

    def __call__(self) -> bool:
        if not self._world.idle():
            self._since = None
            return False
        self._since = self._since or time.monotonic()
        return time.monotonic() - self._since > _REST_SECONDS


def _outcome(world: World, click: Click, allowed: frozenset[str]) -> list[Fault]:
    name = click.request_id
    try:
        world.wait_state(click, "completed", "failed", "cancelled", "dead")
    except ServiceFailed:
        return [Fault(f"{name} has no outcome: {world.state(click).get('state')}")]
    shown = world.state(click)
    found = []
    if shown["state"] not in allowed:
        found.append(Fault(f"{name} ended {shown['state']}: {shown.get('failure')}"))
    try:
        wait_until(
            lambda: (click.witness.last or {}).get("version", 0) >= world.state(click)["version"],
            "tell the open page",
            60.0,
        )
    except ServiceFailed:
        found.append(Fault(f"{name}: the open page was not told"))
    last = click.witness.last or {}
    if last.get("state") != world.state(click)["state"]:
        found.append(Fault(f"{name}: the socket says {last.get('state')}, a load {shown['state']}"))
    if len(click.witness.ends) > 1:
        found.append(Fault(f"{name}: the open page saw several outcomes: {click.witness.ends}"))
    return found


def _archive(world: World, click: Click) -> list[Fault]:
    return archive_faults(click.request_id, world.state(click), _objects(world, click))


def archive_faults(name: str, shown: dict[str, Any], objects: list[pydicom.Dataset]) -> list[Fault]:
    """At most one primary and one report, under the derived UIDs, and they agree with the page.

    `shown` is the request as a fresh load shows it, `objects` what its study holds beside images.
    """
    stored = {uid: [o for o in objects if o.SOPInstanceUID == uid] for uid in _uids(name)}
    primary, report = (stored[uid] for uid in _uids(name))
    found = []
    if len(primary) > 1 or len(report) > 1:
        found.append(Fault(f"{name}: {len(primary)} primaries and {len(report)} reports"))
    if shown["state"] == "cancelled" and (primary or report):
        found.append(Fault(f"{name} was cancelled and is in the archive"))
    if shown["state"] != "completed":
        return found
    if len(primary) != 1:
        return [*found, Fault(f"{name} is completed without a primary object")]
    result = shown["result"]
    if primary[0].Modality == "SEG":
        found += _agreement(name, result, primary[0], report)
    elif result["tumor_detected"]:
        found.append(Fault(f"{name}: the report says no lesion, the page says one"))
    return found


def _agreement(
    name: str, result: dict[str, Any], seg: pydicom.Dataset, report: list[pydicom.Dataset]
) -> list[Fault]:
    found = []
    voxels = int(np.count_nonzero(seg.pixel_array))
    if voxels != result["volume_voxels"]:
        found.append(Fault(f"{name}: SEG {voxels} voxels, page {result['volume_voxels']}"))
    if len(report) != 1:
        return [*found, Fault(f"{name} is completed without a measurement report")]
    told = _measurements(report[0])
    for code, key in ((_VOLUME, "volume_ml"), (_DIAMETER, "longest_diameter_mm")):
        if code in told and abs(told[code] - result[key]) > 0.006:
            found.append(Fault(f"{name}: report {told[code]}, page {result[key]} ({key})"))
    if _VOLUME not in told:
        found.append(Fault(f"{name}: the report has no volume"))
    return found


def _measurements(report: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for item in report.get("ContentSequence", ()):
        if item.ValueType == "NUM":
            code = item.ConceptNameCodeSequence[0].CodeValue
            found[code] = float(item.MeasuredValueSequence[0].NumericValue)
        found |= _measurements(item)
    return found


def _uids(request_id: str) -> tuple[str, str]:
    key = UUID(request_id)
    return identity.primary_instance_uid(key), identity.report_instance_uid(key)


def _objects(world: World, click: Click) -> list[pydicom.Dataset]:
    """Everything in the study that is no image."""
    found = []
    for series in _get(world, f"/studies/{click.study.study_id}/series").json():
        if series["MainDicomTags"]["Modality"] == "MR":
            continue
        for instance in series["Instances"]:
            file = _get(world, f"/instances/{instance}/file").content
            found.append(pydicom.dcmread(io.BytesIO(file)))
    return found


def _get(world: World, path: str) -> requests.Response:
    node = world.stack.orthanc
    answer = requests.get(node.url + path, auth=(node.user, node.password), timeout=30)
    answer.raise_for_status()
    return answer


def _letters(world: World, expected: int) -> list[Fault]:
    # The site moves each letter into a row; what lies in the queue was not moved.
    left = world.queues().get(topology.DEAD_QUEUE, (0, 0))[0]
    found = [Fault(f"{left} letters lie in mri.dead")] if left else []
    count = world.letters()
    if count != expected:
        found.append(Fault(f"{count} dead letters, {expected} belong there"))
    return found


def _busy(world: World) -> dict[str, tuple[int, int]]:
    return {
        name: counts
        for name, counts in world.queues().items()
        if counts[0] and name != topology.PROGRESS_QUEUE
    }
