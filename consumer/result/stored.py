"""Objects as the archive holds them: whether they are what they are taken for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.uid import ComprehensiveSRStorage, SegmentationStorage

from consumer.dicom.files import read_file
from consumer.dicom.series import EVIDENCE_TAGS
from consumer.errors import UploadRejected

if TYPE_CHECKING:
    from pydicom import Dataset

    from consumer.payloads import ResultSpec


def stored_primary(data: bytes, study_uid: str, spec: ResultSpec) -> Dataset:
    """Parse the stored file. Raises UploadRejected when it is not this request's SEG or report."""
    try:
        stored = read_file(data)
        found = (stored.SOPInstanceUID, stored.SeriesInstanceUID, stored.StudyInstanceUID)
        sop_class, modality = stored.SOPClassUID, stored.Modality
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad input
        raise UploadRejected(
            f"the stored object {spec.primary_instance_uid} cannot be read as a result"
        ) from None
    if found != (spec.primary_instance_uid, spec.primary_series_uid, study_uid):
        raise UploadRejected(
            f"the archive holds another object than {spec.primary_instance_uid} of this study"
        )
    if (sop_class, modality) not in {(SegmentationStorage, "SEG"), (ComprehensiveSRStorage, "SR")}:
        raise UploadRejected(f"{spec.primary_instance_uid} is neither segmentation nor report")
    return stored


def older_report(spec: ResultSpec, study_uid: str) -> list[Dataset] | None:
    """The report that this result replaces, as its UIDs; None where there is none.

    What lies under an older request's UIDs and is no report of this study is named nowhere.
    """
    if spec.predecessor is None:
        return None
    try:
        older = read_file(spec.predecessor, tags=EVIDENCE_TAGS)
        kind, study = older.SOPClassUID, older.StudyInstanceUID
        whole = bool(older.SOPInstanceUID and older.SeriesInstanceUID)
    except Exception:  # noqa: BLE001 - anybody's object; the result does not depend on it
        return None
    return [older] if whole and (kind, study) == (ComprehensiveSRStorage, study_uid) else None
