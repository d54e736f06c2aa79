"""What the archive holds of a request's result, in the figures that a lab tells of it.

Told by a lab, the figures come from the stored primary object. They are read back from the same
bytes here, so that a result whose `completed` was lost is told as it would have been: volume and
voxels from the segmentation, the longest diameter from the report, which has it to 0.01 mm.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from pydicom.uid import ComprehensiveSRStorage, SegmentationStorage

from messages import identity
from messages.events import ModelReference
from messages.request import InputSeries
from web.orthanc.archive import Orthanc
from web.orthanc.errors import (
    InstanceNotFound,
    NotInArchive,
    UnreadableReport,
    UnreadableResult,
)
from web.orthanc.heavy import large
from web.orthanc.stored_file import StoredFile, stated, stored_file
from web.orthanc.time_budget import within
from web.phases.stack import read_stack
from web.results.masks import Masks
from web.results.report import LONGEST_DIAMETER, VOLUME, figure, slices_of_first
from web.results.report_details import ReadReport, read_report

#: ml between the report's volume and that of the pixels, beyond the report's four decimals.
_VOLUME_TOLERANCE = 1e-3

#: Share by which a longest diameter may pass the diagonal of the box around all marks.
_DIAMETER_TOLERANCE = 0.01

#: Seconds for all that is read of a result. No page waits; a queue of other requests does.
RESULT_SECONDS = 60.0

#: Share of the slice distance by which a frame may miss its place; as the labs read it.
_PLACE_TOLERANCE = 0.45

#: As `messages.input_digest` writes it.
_DIGEST = re.compile("[0-9a-f]{64}")

T = TypeVar("T")


@dataclass(frozen=True)
class StoredResult:
    """The fields of `messages.events.InferenceCompleted` that the archive can tell."""

    #: Orthanc's id; None when nothing was found.
    seg_instance_id: str | None
    #: Orthanc's id of the report.
    sr_instance_id: str
    tumor_detected: bool
    volume_voxels: int
    volume_ml: float
    longest_diameter_mm: float
    slices: int
    slices_with_tumor: int
    model: ModelReference
    #: What it was computed from, as its report states it; None where that does not.
    input_sha256: str | None = None
    #: The lab that made it, as its report states it; empty where that does not.
    lab: str = ""


@dataclass(frozen=True)
class Asked:
    """The request whose result it is."""

    request_id: UUID
    #: Orthanc's id of the study, and its UID.
    study_id: str
    study_uid: str
    inputs: Sequence[InputSeries]
    #: The model that was asked for.
    model: str


def stored_result(
    asked: Asked, orthanc: Orthanc, turn: AbstractContextManager[object] | None = None
) -> StoredResult | None:
    """The whole result as the archive holds it; None while a part of it is not there.

    What is there is read in its `turn`, if that is given: whoever looks for several at once must
    not take all the places for what is large. What is not there is known without.
    Raises `ArchiveUnavailable`, `NotLookedInto` where the images were not looked into in time, and
    `UnreadableResult` when what lies there under the request's UIDs is not its result: whoever has
    an account at the archive may have put it there.
    """
    try:
        with within(RESULT_SECONDS):
            primary_uid = identity.primary_instance_uid(asked.request_id)
            primary_id = _instance_in_study(asked, primary_uid, orthanc)
        if primary_id is None:
            return None
        # The time is that of the result: whoever waits for a place has not read any of it.
        with turn or nullcontext(), large(), within(RESULT_SECONDS):
            found = _look(asked, primary_id, orthanc)
    except InstanceNotFound:
        # Removed between the two questions.
        return None
    if found is not None and found.model.name != asked.model:
        raise UnreadableResult("the result is of another model than was asked for")
    return found


def _look(asked: Asked, primary_id: str, orthanc: Orthanc) -> StoredResult | None:
    primary_uid = identity.primary_instance_uid(asked.request_id)
    file = orthanc.result_file(primary_id)
    primary = _read(file, asked, primary_uid, identity.primary_series_uid(asked.request_id))
    if primary.head.SOPClassUID == ComprehensiveSRStorage:
        slices = _slices(primary.head, asked, orthanc)
        return _guarded(_nothing_found, primary.head, primary_id, slices)
    report_uid = identity.report_instance_uid(asked.request_id)
    report_id = _instance_in_study(asked, report_uid, orthanc)
    if report_id is None:
        return None
    file = orthanc.result_file(report_id)
    report = _read(file, asked, report_uid, identity.report_series_uid(asked.request_id)).head
    slices = _slices(report, asked, orthanc)
    return _guarded(_measured, primary, primary_id, report, report_id, slices)


def _instance_in_study(asked: Asked, uid: str, orthanc: Orthanc) -> str | None:
    """Copies of it in other studies are somebody else's.

    One that the archive filed under another patient's number is no result: its study may have the
    same UID, and has another id.
    """
    study = (asked.study_id, asked.study_uid)
    found = orthanc.instances_in(study, uid)
    if len(found) > 1:
        raise UnreadableResult(f"the study holds {len(found)} objects {uid}")
    return found[0] if found else None


def _slices(report: Any, asked: Asked, orthanc: Orthanc) -> int:
    """Slices of the first input, as the report or else the archive tells."""
    named = _guarded(slices_of_first, report, asked.inputs)
    if named is not None:
        return named
    first = asked.inputs[0]
    try:
        return len(read_stack(orthanc, first.series_id, first.phase_selector).slices)
    except NotInArchive:
        raise UnreadableResult("the images of the result are no longer there") from None


def _guarded(read: Callable[..., T], *args: Any) -> T:
    """Run a reader; whatever pydicom raises on a foreign object becomes `UnreadableResult`."""
    try:
        return read(*args)
    except UnreadableResult:
        raise
    except Exception as exc:  # noqa: BLE001 - anybody's object may break the parser in any way
        # Its text may quote what it read.
        raise UnreadableResult(f"the result cannot be read: {type(exc).__name__}") from None


def _read(file: bytes, asked: Asked, uid: str, series_uid: str) -> StoredFile:
    stored = stored_file(file)
    found = stated(stored.head)
    if found.names != (uid, series_uid, asked.study_uid):
        raise UnreadableResult(f"object {uid} names another study or series")
    if found.kind not in {SegmentationStorage, ComprehensiveSRStorage}:
        raise UnreadableResult(f"object {uid} is neither a segmentation nor a report")
    return stored


def _nothing_found(report: Any, report_id: str, slices: int) -> StoredResult:
    details = read_report(report)
    if details.tumor_detected:
        raise UnreadableResult("the primary report states a finding and marks none")
    return StoredResult(
        seg_instance_id=None,
        sr_instance_id=report_id,
        tumor_detected=False,
        volume_voxels=0,
        volume_ml=0.0,
        longest_diameter_mm=0.0,
        slices=slices,
        slices_with_tumor=0,
        model=_model(report),
        input_sha256=_digest(details),
        lab=details.origin.lab,
    )


def _measured(
    stored: StoredFile, seg_id: str, report: Any, report_id: str, slices: int
) -> StoredResult:
    seg = stored.head
    if seg.SOPClassUID != SegmentationStorage or report.SOPClassUID != ComprehensiveSRStorage:
        raise UnreadableResult("segmentation and report are not where they belong")
    if str(seg.SOPInstanceUID) not in set(_references(report)):
        raise UnreadableResult("the report is not about the segmentation")
    if _model(report) != (model := _model(seg)):
        raise UnreadableResult("segmentation and report state different models")
    planes, spacing = _planes(stored)
    voxels = sum(int(np.count_nonzero(planes.of(place))) for place in planes)
    if not voxels:
        raise UnreadableResult("the segmentation marks nothing")
    # 1 ml = 1000 mm^3
    volume_ml = voxels * math.prod(spacing) / 1000.0
    if not math.isclose(figure(report, VOLUME), volume_ml, abs_tol=_VOLUME_TOLERANCE):
        raise UnreadableResult("segmentation and report state different volumes")
    longest = figure(report, LONGEST_DIAMETER)
    # What it is exactly only the lab's mesh tells; nothing marked is longer than the box around it.
    box = math.hypot(*(n * mm for n, mm in zip(planes.extent(), spacing, strict=True)))
    if longest > box * (1 + _DIAMETER_TOLERANCE):
        raise UnreadableResult("the report states a longer diameter than the segmentation has")
    details = _details(report)
    if details is not None and not details.tumor_detected:
        raise UnreadableResult("the report states that nothing was found beside a segmentation")
    return StoredResult(
        seg_instance_id=seg_id,
        sr_instance_id=report_id,
        tumor_detected=True,
        volume_voxels=voxels,
        volume_ml=volume_ml,
        longest_diameter_mm=longest,
        slices=slices,
        slices_with_tumor=len(planes),
        model=model,
        input_sha256=_digest(details) if details else None,
        lab=details.origin.lab if details else "",
    )


def _references(item: Any) -> Iterator[str]:
    """SOP Instance UIDs of what the content of a report refers to."""
    for reference in item.get("ReferencedSOPSequence", ()):
        yield str(reference.ReferencedSOPInstanceUID)
    for child in item.get("ContentSequence", ()):
        yield from _references(child)


def _planes(stored: StoredFile) -> tuple[Masks, list[float]]:
    """One mask for each slice that has a frame, all segments together; and mm between voxels."""
    seg = stored.head
    shared = seg.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    between = float(measures.SpacingBetweenSlices)
    spacing = [between, *(float(v) for v in measures.PixelSpacing)]
    axes = np.array(
        [float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    ).reshape(2, 3)
    positions = np.array(
        [
            [float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient]
            for frame in seg.PerFrameFunctionalGroupsSequence
        ]
    )
    heights = positions @ np.cross(axes[0], axes[1])
    places = (heights - heights.min()) / between
    if not (np.isfinite(places).all() and np.isfinite(spacing).all() and min(spacing) > 0):
        raise UnreadableResult("the segmentation states a place that is none")
    if np.abs(places - np.rint(places)).max() > _PLACE_TOLERANCE:
        raise UnreadableResult("frames of the segmentation lie between its slices")
    planes = Masks(stored.size())
    for place, frame in zip(np.rint(places).astype(int).tolist(), stored.frames(), strict=True):
        planes.add(place, frame)
    return planes, spacing


def _details(report: Any) -> ReadReport | None:
    try:
        return read_report(report)
    except UnreadableReport:
        # Its figures are read all the same, as they were before it stated more.
        return None


def _digest(details: ReadReport) -> str | None:
    """The digest that the report states, where it has the form of one."""
    stated = details.origin.input_sha256
    return stated if _DIGEST.fullmatch(stated) else None


def _model(stored: Any) -> ModelReference:
    """Which model computed it, as the labs write it into the equipment of every result."""
    version, sha256 = stored.SoftwareVersions
    return ModelReference(
        name=str(stored.ManufacturerModelName), version=str(version), sha256=str(sha256)
    )
