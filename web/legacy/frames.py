"""A stored DICOM SEG as one picture for each slice of the series that the old front end shows.

That front end knows the series that it asked about: the first input of the request. A SEG may refer
to another phase of the same slices, whose InstanceNumbers may run the other way.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.errors import InvalidDicomError

from web.archive.errors import InstanceNotFound, NotInArchive, SeriesNotFound, UnreadableResult
from web.archive.orthanc import Orthanc
from web.archive.segmentation import Source, marked_in, sources
from web.archive.stack import Stack, read_stack
from web.inference.presentation import phase_of
from web.inference.withdraw import result_in

#: Results whose pictures a process keeps: some tens of kilobytes each.
_KEPT_RESULTS = 16


@dataclass(frozen=True)
class StoredSegmentation:
    """A SEG in the archive."""

    instance_id: str
    study_id: str


def stored_segmentation(orthanc: Orthanc, instance_id: str) -> StoredSegmentation:
    """Find a SEG; raises `NotInArchive` when nothing, or something else, is stored there."""
    series_id = orthanc.json("instances", instance_id)["ParentSeries"]
    series = orthanc.json("series", series_id)
    if series["MainDicomTags"].get("Modality") != "SEG":
        raise InstanceNotFound("the instance is no segmentation")
    return StoredSegmentation(instance_id, series["ParentStudy"])


def frames_of(orthanc: Orthanc, stored: StoredSegmentation) -> list[str]:
    """One PNG (8-bit grey, 0 or 255; base64) for each slice of the series, in its own order.

    That is the order by InstanceNumber in which the old front end shows the slices, and its rows
    and columns are those of the images. The series is that of the first input of the request whose
    result it is, and for the SEG of no request the one that it refers to. Slices without a mask are
    black. Raises the errors of `web.archive.errors`.
    """
    # Instances never change in the archive, but the series may still grow: its order is read.
    stack, marked = _asked(orthanc, stored) or (_referred(orthanc, stored),) * 2
    return list(_pictures(orthanc, stored.instance_id, stack, marked))


def _asked(orthanc: Orthanc, stored: StoredSegmentation) -> tuple[Stack, Stack] | None:
    """The series of the first input, and its slices that were that input: all, or one phase.

    None for the SEG of no request of this site, and where that series is no longer there. Raises
    `UnreadableResult` where the series is there and does not hold the phase any more: the front end
    would lay the slices of another one over it.
    """
    row = result_in(stored.study_id, stored.instance_id)
    if row is None or not row.inputs:
        return None
    first = row.inputs[0]
    try:
        stack = read_stack(orthanc, first["series_id"])
        phase = phase_of(first)
        return stack, stack if phase is None else read_stack(orthanc, first["series_id"], phase)
    except SeriesNotFound:
        return None
    except NotInArchive as exc:
        raise UnreadableResult("the first input is not in its series any more") from exc


@lru_cache(maxsize=_KEPT_RESULTS)
def _pictures(orthanc: Orthanc, instance_id: str, stack: Stack, marked: Stack) -> Sequence[str]:
    volume = marked_in(_file(orthanc, instance_id), marked).volume
    if volume.shape[1:] != _size(orthanc, stack):
        raise UnreadableResult("the segmentation has another size than the images")
    black = _picture(np.zeros(volume.shape[1:], dtype=np.bool_))
    masks = {
        (one.sop_instance_uid, one.frame): _picture(mask)
        for one, mask in zip(marked.slices, volume, strict=True)
        if mask.any()
    }
    return tuple(masks.get((one.sop_instance_uid, one.frame), black) for one in stack.slices)


def _picture(mask: NDArray[np.bool_]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(buffer, format="PNG")
    return b64encode(buffer.getvalue()).decode("ascii")


def _file(orthanc: Orthanc, instance_id: str) -> bytes:
    return orthanc.result_file(instance_id)


def _size(orthanc: Orthanc, stack: Stack) -> tuple[int, int]:
    first = stack.at(0)
    tags = orthanc.tags(first.instance_id)
    try:
        if first.frame is None and int(tags.get("NumberOfFrames") or 1) > 1:
            raise UnreadableResult("the images have several slices each")
        return int(tags["Rows"]), int(tags["Columns"])
    except (KeyError, ValueError, TypeError) as exc:
        raise UnreadableResult("the images do not say their size") from exc


def _referred(orthanc: Orthanc, stored: StoredSegmentation) -> Stack:
    """The series that the SEG lies on; of several, the one whose images its frames name most.

    Only series of the same study: a grant for one study opens no other.
    """
    uids, images = _references(orthanc, stored.instance_id)
    listed: list[dict[str, Any]] = orthanc.json("studies", stored.study_id, "/series")
    by_uid = {item["MainDicomTags"]["SeriesInstanceUID"]: item["ID"] for item in listed}
    named = [by_uid[uid] for uid in uids if uid in by_uid]
    if not named and not uids:
        # Some makers leave the list out and name the images alone.
        named = [s["ID"] for s in listed if s["MainDicomTags"].get("Modality") == "MR"]
    stacks = [read_stack(orthanc, series_id) for series_id in dict.fromkeys(named)]
    stacks = [stack for stack in stacks if stack.slices]
    if not stacks:
        raise UnreadableResult("the segmentation refers to no series of its study")
    return max(
        stacks,
        key=lambda s: len(images & {(one.sop_instance_uid, one.frame) for one in s.slices}),
    )


@lru_cache(maxsize=_KEPT_RESULTS)
def _references(orthanc: Orthanc, instance_id: str) -> tuple[list[str], set[Source]]:
    """UIDs of the series that a SEG lists, and the images that its frames name."""
    seg = _parsed(_file(orthanc, instance_id))
    series = [
        str(item.get("SeriesInstanceUID", "")) for item in seg.get("ReferencedSeriesSequence", ())
    ]
    groups = seg.get("PerFrameFunctionalGroupsSequence", ())
    return series, {one for group in groups for one in sources(group)}


def _parsed(file: bytes) -> Any:
    try:
        return pydicom.dcmread(io.BytesIO(file))
    except (InvalidDicomError, AttributeError, ValueError, TypeError) as exc:
        raise UnreadableResult(f"the segmentation cannot be read: {type(exc).__name__}") from exc
