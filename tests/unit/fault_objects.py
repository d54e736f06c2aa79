"""Stored objects and shown requests as the fault harness meets them, made by hand."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, SegmentationStorage

from tests.faults.stored import StoredObject, derived_uids

NAME = str(UUID(int=1))
STUDY = "study-1"
SEG, SR = "seg-instance", "sr-instance"

#: Of the page and of the objects below.
VOXELS, VOLUME_ML, DIAMETER_MM = 5, 1.25, 12.34


def seg(name: str = NAME, *, voxels: int = VOXELS, study: str = STUDY) -> StoredObject:
    """A SEG that marks so many voxels, under the request's primary UID."""
    data = _dataset("SEG", SegmentationStorage, derived_uids(name)[0])
    data.Rows = data.Columns = 4
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    marked = np.zeros(16, np.uint8)
    marked[:voxels] = 1
    data.PixelData = marked.tobytes()
    return StoredObject(study, SEG, data)


def report(
    name: str = NAME,
    *,
    of: str | None = "",
    volume: float | None = VOLUME_ML,
    diameter: float | None = DIAMETER_MM,
) -> StoredObject:
    """A measurement report of the SEG with that UID, the request's own by default."""
    data = _dataset("SR", ComprehensiveSRStorage, derived_uids(name)[1])
    group = Dataset()
    group.ValueType = "CONTAINER"
    group.ContentSequence = [
        _number(code, value)
        for code, value in (("118565006", volume), ("L0JK", diameter))
        if value is not None
    ]
    if of is not None:
        reference = Dataset()
        reference.ReferencedSOPClassUID = SegmentationStorage
        reference.ReferencedSOPInstanceUID = of or derived_uids(name)[0]
        image = Dataset()
        image.ValueType, image.ReferencedSOPSequence = "IMAGE", [reference]
        group.ContentSequence.append(image)
    data.ContentSequence = [group]
    return StoredObject(STUDY, SR, data)


def nothing_found(name: str = NAME, *, value: str = "272519000") -> StoredObject:
    """The report that nothing was found, under the request's primary UID."""
    data = _dataset("SR", ComprehensiveSRStorage, derived_uids(name)[0])
    finding = Dataset()
    finding.ValueType, finding.ConceptCodeSequence = "CODE", [_code(value)]
    data.ContentSequence = [finding]
    return StoredObject(STUDY, SR, data)


def completed(**changes: Any) -> dict[str, Any]:
    """A completed request as it is shown; `changes` are of its result."""
    result = {
        "seg_instance_id": SEG,
        "sr_instance_id": SR,
        "tumor_detected": True,
        "volume_voxels": VOXELS,
        "volume_ml": VOLUME_ML,
        "longest_diameter_mm": DIAMETER_MM,
        "slices_with_tumor": 1,
    }
    return shown(state="completed", version=7, result={**result, **changes})


def completed_without_lesion(**changes: Any) -> dict[str, Any]:
    """The same where nothing was found."""
    figures = dict.fromkeys(("volume_voxels", "volume_ml", "longest_diameter_mm"), 0)
    nothing = {"seg_instance_id": None, "tumor_detected": False, "slices_with_tumor": 0}
    return completed(**{**figures, **nothing, **changes})


def shown(name: str = NAME, **fields: Any) -> dict[str, Any]:
    """A request as it is shown."""
    return {
        "request_id": name,
        "study_id": STUDY,
        "version": 3,
        "state": "queued",
        "cancel_asked_at": None,
        "failure": None,
        "result": None,
        **fields,
    }


def _dataset(modality: str, kind: str, uid: str) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.Modality, data.SOPClassUID, data.SOPInstanceUID = modality, kind, uid
    return data


def _number(code: str, value: float) -> Dataset:
    measured = Dataset()
    measured.NumericValue = str(value)
    item = Dataset()
    item.ValueType = "NUM"
    item.ConceptNameCodeSequence, item.MeasuredValueSequence = [_code(code)], [measured]
    return item


def _code(value: str) -> Dataset:
    code = Dataset()
    code.CodeValue = value
    return code
