"""What of one request may lie in the archive, and how it must agree with itself and the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import SegmentationStorage

from tests.faults.fault import Fault
from tests.faults.stored import StoredObject, derived_uids

#: What the measurement report states (TID 1500): code value, the page's figure, and by how much
#: the two may differ: half of the report's last decimal.
_STATED = (("118565006", "volume_ml", 0.00006), ("L0JK", "longest_diameter_mm", 0.006))

#: Code value of CID 240 for a finding that is absent.
_ABSENT = "272519000"

#: Figures of the page that are nothing where nothing was found.
_NOTHING = ("volume_voxels", "volume_ml", "longest_diameter_mm", "slices_with_tumor")


def archive_faults(
    name: str, shown: dict[str, Any], objects: Sequence[StoredObject], *, invented: bool = False
) -> list[Fault]:
    """At most one primary and one report, under the derived UIDs, and they agree with the page.

    `shown` is the request as a fresh load shows it, `objects` what is stored of it. `invented`:
    its outcome was told by the row and names objects of another request; only that may differ.
    """
    primary, report = ([o for o in objects if o.uid == uid] for uid in derived_uids(name))
    if len(primary) > 1 or len(report) > 1:
        return [Fault(f"{name}: {len(primary)} primaries and {len(report)} reports")]
    state = shown.get("state")
    if state == "cancelled" and objects:
        return [Fault(f"{name} was cancelled and is in the archive")]
    if state in {"failed", "dead"} and _whole(primary, report):
        # The page denies what a viewer shows. `completed` beats both wherever it is known: a lab
        # that finds its result stored tells it, and the site asks the archive before it ends a
        # request by time (docs/decisions/0018). Only an archive that is away for ten minutes may
        # hide a result from it, and no row or soak takes one away for so long.
        return [Fault(f"{name} is {state}, and its whole result is in the archive")]
    if state != "completed":
        # A primary without its report may stay: the tries were spent before the report was stored.
        return []
    if not primary:
        return [Fault(f"{name} is completed without a primary object")]
    result = shown.get("result") or {}
    if primary[0].dataset.Modality == "SEG":
        found = _lesion(result, primary[0], report)
        linked = {"seg_instance_id": primary, "sr_instance_id": report}
    else:
        found = _no_lesion(result, primary[0], report)
        linked = {"seg_instance_id": [], "sr_instance_id": primary}
    if not invented:
        found += _links(result, linked)
    return [Fault(f"{name}: {sentence}") for sentence in found]


def _whole(primary: Sequence[StoredObject], report: Sequence[StoredObject]) -> bool:
    """Whether a result is complete: an SR alone, which says that nothing was found, or both."""
    return bool(primary) and (bool(report) or primary[0].dataset.Modality == "SR")


def _lesion(
    result: dict[str, Any], primary: StoredObject, report: Sequence[StoredObject]
) -> list[str]:
    found = []
    if not result.get("tumor_detected"):
        found.append("the archive has a SEG, the page says no lesion")
    voxels = int(np.count_nonzero(primary.dataset.pixel_array))
    if voxels != result.get("volume_voxels"):
        found.append(f"SEG {voxels} voxels, page {result.get('volume_voxels')}")
    if not report:
        return [*found, "completed without a measurement report"]
    content = list(_content(report[0].dataset))
    stated = {
        item.ConceptNameCodeSequence[0].CodeValue: float(item.MeasuredValueSequence[0].NumericValue)
        for item in content
        if item.ValueType == "NUM"
    }
    for code, key, tolerance in _STATED:
        if code not in stated:
            found.append(f"the report has no {key}")
        elif abs(stated[code] - result.get(key, -1.0)) > tolerance:
            found.append(f"report {stated[code]}, page {result.get(key)} ({key})")
    measured = {
        str(reference.ReferencedSOPInstanceUID)
        for item in content
        for reference in item.get("ReferencedSOPSequence", ())
        if reference.ReferencedSOPClassUID == SegmentationStorage
    }
    if measured != {primary.uid}:
        named = ", ".join(sorted(measured)) or "no SEG"
        found.append(f"the report measures {named}, and the SEG is {primary.uid}")
    return found


def _no_lesion(
    result: dict[str, Any], primary: StoredObject, report: Sequence[StoredObject]
) -> list[str]:
    found = []
    values = [
        item.ConceptCodeSequence[0].CodeValue
        for item in _content(primary.dataset)
        if item.ValueType == "CODE"
    ]
    if _ABSENT not in values:
        found.append("the primary object is neither a SEG nor the report that nothing was found")
    if result.get("tumor_detected") is not False:
        found.append("the archive says no lesion, the page says one")
    elif figures := [key for key in _NOTHING if result.get(key)]:
        found.append(f"the page says no lesion and has figures: {', '.join(figures)}")
    if report:
        found.append("no lesion, and a measurement report beside it")
    return found


def _links(result: dict[str, Any], linked: dict[str, Any]) -> Iterator[str]:
    """Where the page leads to, against what lies there."""
    for key, objects in linked.items():
        stored = objects[0].instance_id if objects else None
        if result.get(key) != stored:
            yield f"the page leads to {result.get(key)} ({key}), stored is {stored}"


def _content(item: Any) -> Iterator[pydicom.Dataset]:
    """Every content item of a report, at any depth."""
    for one in item.get("ContentSequence", ()):
        yield one
        yield from _content(one)
