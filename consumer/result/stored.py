"""The primary object as the archive holds it: whether it is what this request stored there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.uid import ComprehensiveSRStorage, SegmentationStorage

from consumer.children.files import read_file
from consumer.errors import UploadRejected

if TYPE_CHECKING:
    from pydicom import Dataset

    from consumer.handover import ResultSpec


def stored_primary(data: bytes, study_uid: str, spec: ResultSpec) -> Dataset:
    """Parse the stored file. Raises UploadRejected when it is not this request's SEG or report."""
    try:
        stored = read_file(data)
        found = (stored.SOPInstanceUID, stored.SeriesInstanceUID, stored.StudyInstanceUID)
        sop_class, modality = stored.SOPClassUID, stored.Modality
    except Exception as exc:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad input
        raise UploadRejected(
            f"the stored object {spec.primary_instance_uid} cannot be read ({type(exc).__name__})"
        ) from None
    if found != (spec.primary_instance_uid, spec.primary_series_uid, study_uid):
        raise UploadRejected(
            f"the archive holds another object than {spec.primary_instance_uid} of this study"
        )
    if (sop_class, modality) not in {(SegmentationStorage, "SEG"), (ComprehensiveSRStorage, "SR")}:
        raise UploadRejected(f"{spec.primary_instance_uid} is neither segmentation nor report")
    return stored
