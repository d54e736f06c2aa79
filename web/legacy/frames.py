"""A stored DICOM SEG as one picture for each slice of the series that the old front end shows.

That front end knows the series that it asked about: the first input of the request. A SEG may refer
to another phase of the same slices, whose InstanceNumbers may run the other way.
"""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from web.inference.presentation import phase_of
from web.inference.withdraw import result_in
from web.orthanc.archive import Orthanc
from web.orthanc.errors import (
    InstanceNotFound,
    NotInArchive,
    SeriesNotFound,
    TooLargeResult,
    UnreadableResult,
)
from web.orthanc.heavy import large
from web.orthanc.keeping import Keeping
from web.orthanc.stored_file import stored_file
from web.orthanc.time_budget import seconds_left, within
from web.phases.stack import Stack, read_stack
from web.results.segmentation import Source, marked_in, sources

#: Letters of one answer. A black picture of 512 x 512 has 2 000: a thousand slices take 2 MB.
MAX_LETTERS = 48_000_000

#: Letters of the pictures that a process keeps: some tens of thousands of each result.
KEPT_LETTERS = 96_000_000

#: Results of which a process keeps what they refer to.
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
    black. Raises the errors of `web.orthanc.errors`.
    """
    with within():
        # Instances never change in the archive, but the series may still grow: its order is read.
        stack, marked = _asked(orthanc, stored) or (_referred(orthanc, stored),) * 2
        kept = (orthanc, stored.instance_id, stack, marked)
        return list(_kept_pictures.or_read(kept, lambda: _pictures(*kept)))


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


def _pictures(orthanc: Orthanc, instance_id: str, stack: Stack, marked: Stack) -> tuple[str, ...]:
    with large():
        size = _size(orthanc, stack)
        masks = marked_in(stored_file(orthanc.result_file(instance_id)), marked, size).masks
        black = _picture(np.zeros(size, dtype=np.bool_))
        pictures, letters = {}, len(black) * len(stack.slices)
        for index in masks:
            if letters > MAX_LETTERS:
                break
            seconds_left()
            one, picture = marked.at(index), _picture(masks.of(index))
            letters += len(picture)
            pictures[one.sop_instance_uid, one.frame] = picture
        if letters > MAX_LETTERS:
            raise TooLargeResult("the pictures of the segmentation are too long")
        return tuple(pictures.get((one.sop_instance_uid, one.frame), black) for one in stack.slices)


_kept_pictures: Keeping[tuple[Orthanc, str, Stack, Stack], tuple[str, ...]] = Keeping(
    KEPT_LETTERS, lambda one: 1000 + sum(map(len, one))
)


def _picture(mask: NDArray[np.bool_]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(buffer, format="PNG")
    return b64encode(buffer.getvalue()).decode("ascii")


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
    with large():
        seg = stored_file(orthanc.result_file(instance_id)).head
        try:
            listed = seg.get("ReferencedSeriesSequence", ())
            series = [str(item.get("SeriesInstanceUID", "")) for item in listed]
            groups = seg.get("PerFrameFunctionalGroupsSequence", ())
            return series, {one for group in groups for one in sources(group)}
        except Exception as exc:  # noqa: BLE001 - anybody's object may break the parser in any way
            # Its text may quote what it read.
            raise UnreadableResult(
                f"the segmentation cannot be read: {type(exc).__name__}"
            ) from None
