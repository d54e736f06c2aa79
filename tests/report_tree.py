"""A report's content tree in a few words, for tests of who reads it; no lab is needed for it."""

from __future__ import annotations

from io import BytesIO
from uuid import UUID

from pydicom import Dataset, FileMetaDataset
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian

from web.results.stored_report import report_uids

Code = tuple[str, str]

VOLUME, DIAMETER, IN_PLANE = ("118565006", "SCT"), ("L0JK", "IBSI"), ("103339001", "SCT")
SIGNAL, PHASE, SECONDS = ("110816", "DCM"), ("109058", "DCM"), ("AFTERFIRST", "99LABRELAY")
WASH_IN, PATTERN = ("RID49530", "RADLEX"), ("RID6058", "RADLEX")
NEOPLASM, PRESENT, ABSENT = ("108369006", "SCT"), ("52101004", "SCT"), ("272519000", "SCT")
LEFT_OUT, PARAMETER, TRACKING = ("LEFTOUT", "99LABRELAY"), ("111002", "DCM"), ("112039", "DCM")
SEGMENT = ("121191", "DCM")


def coded(code: Code) -> Dataset:
    made = Dataset()
    made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = *code, "meaning"
    return made


def item(kind: str, concept: Code, *below: Dataset) -> Dataset:
    made = Dataset()
    made.ValueType, made.ConceptNameCodeSequence = kind, [coded(concept)]
    if below:
        made.ContentSequence = list(below)
    return made


def text(concept: Code, words: str) -> Dataset:
    made = item("TEXT", concept)
    made.TextValue = words
    return made


def figure(concept: Code, value: object, *below: Dataset) -> Dataset:
    made = item("NUM", concept, *below)
    measured = Dataset()
    measured.NumericValue = str(value)
    made.MeasuredValueSequence = [measured]
    return made


def code(concept: Code, value: Code) -> Dataset:
    made = item("CODE", concept)
    made.ConceptCodeSequence = [coded(value)]
    return made


def point(role: str, mean: float, seconds: float | None) -> Dataset:
    known = [] if seconds is None else [figure(SECONDS, seconds)]
    return figure(SIGNAL, mean, text(PHASE, role), *known)


def group(*items: Dataset) -> Dataset:
    return item("CONTAINER", ("125007", "DCM"), *items)


def lesion(name: str, *items: Dataset) -> Dataset:
    return group(text(TRACKING, name), item("IMAGE", SEGMENT), *items)


def report(*groups: Dataset) -> Dataset:
    made = item("CONTAINER", ("126000", "DCM"), item("CONTAINER", ("126010", "DCM"), *groups))
    made.ManufacturerModelName = "breast_dce_phantom"
    made.SoftwareVersions = ["1.2.0", "ab" * 32]
    made.ContentDate, made.ContentTime = "20261123", "013854.310581"
    made.VerificationFlag = "UNVERIFIED"
    return made


def file_of(
    made: Dataset, request_id: UUID, study_uid: str, *, tumor_detected: bool = True
) -> bytes:
    """The report as a file under the UIDs of a request, in a study of the tests' patient."""
    made.SeriesInstanceUID, made.SOPInstanceUID = report_uids(
        request_id, tumor_detected=tumor_detected
    )
    made.StudyInstanceUID, made.PatientID, made.PatientName = study_uid, "T-1", "Test^Phantom"
    made.SOPClassUID, made.Modality = ComprehensiveSRStorage, "SR"
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
