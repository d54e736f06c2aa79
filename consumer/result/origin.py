"""What SEG and reports say alike: which model in which lab, of whom, and the notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from highdicom import PatientSexValues
from highdicom.valuerep import check_person_name
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.valuerep import DA, TM

from consumer.handover import StoredModel

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.tag import BaseTag

    from consumer.handover import ResultSpec

#: Series Number of the primary object; scanners number from 1, so that results sort last.
PRIMARY_SERIES_NUMBER = 900

#: Series Number of the measurement report.
REPORT_SERIES_NUMBER = 901

#: Longest text of a DICOM LO: 64 characters by PS3.5 table 6.2-1. Counted in bytes of UTF-8 here,
#: because dciodvfy and databases with columns of 64 bytes count so.
LO_BYTES = 64

#: Names a maker as Manufacturer (type 1 in the enhanced equipment module).
MANUFACTURER = "Labrelay"

#: Type 2 in every MR image: must be there, may be empty. De-identified studies and
#: old scanners leave them out, and highdicom then raises AttributeError.
_TYPE_2 = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "SliceThickness",
    "StudyDate",
    "StudyID",
    "StudyTime",
)

#: What highdicom parses among them, and how: each raises where it would.
_CHECKS = {
    "PatientBirthDate": DA,
    "PatientName": check_person_name,
    "PatientSex": PatientSexValues,
    "ReferringPhysicianName": check_person_name,
    "StudyDate": DA,
    "StudyTime": TM,
}

#: Python's name of the character set in which all text is written.
_UTF_8 = ["utf8"]


def complete(origin: Dataset) -> None:
    """Make a slice, in place, one whose patient and study highdicom copies whatever they hold.

    Empty type 2 attributes come where they lack. What cannot be copied becomes empty or goes: a
    date, sex or number that is none, bytes that are no text of the declared character set. It
    must not stop a result. Text is read by that set and written as UTF-8.
    """
    for tag in list(origin.keys()):
        if not _can_be_copied(origin, tag):
            del origin[tag]
    for keyword in _TYPE_2:
        if keyword not in origin:
            setattr(origin, keyword, None)


def _can_be_copied(ds: Dataset, tag: BaseTag) -> bool:
    try:
        element = ds[tag]
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, element, _UTF_8)
        check = _CHECKS.get(element.keyword)
        if check and not element.is_empty:
            check(element.value)
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad values
        return False
    return True


def description(spec: ResultSpec) -> str:
    """Model and notice in the length of an LO. The notice is the part that stays whole."""
    room = LO_BYTES - len(spec.notice.encode()) - 2
    if room < 1:
        return lo(spec.notice)
    return lo(f"{lo(spec.model_name, room)}: {spec.notice}")


def lo(text: str, limit: int = LO_BYTES) -> str:
    """Text cut to what an LO holds, without the backslash that would make it two values."""
    text = text.replace("\\", "/").strip()
    data = text.encode()
    if len(data) <= limit:
        return text
    dots = "..." if limit >= 8 else ""
    # A character that the cut splits is dropped as a whole.
    return data[: limit - len(dots)].decode(errors="ignore").rstrip() + dots


def facts(spec: ResultSpec) -> dict[str, str]:
    """What else identifies the run: bundle hash, request, lab, and the notice in full."""
    return {
        "bundle_sha256": spec.model_sha256,
        "request": spec.request_id,
        "lab": spec.lab,
        "notice": spec.notice,
    }


def stored_model(ds: Dataset) -> StoredModel:
    """Which model made a stored SEG or report, as `equipment` wrote it.

    Raises AttributeError, TypeError or ValueError where the object is not one of ours.
    """
    version, sha256 = ds.SoftwareVersions
    return StoredModel(str(ds.ManufacturerModelName), str(version), str(sha256))


def equipment(spec: ResultSpec) -> dict[str, Any]:
    """Arguments with which highdicom names the maker, and the character set of all text."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": lo(spec.model_name),
        # The version and, as a second value, the hash: `stored_model` reads both back.
        "software_versions": (lo(spec.model_version), spec.model_sha256),
        "device_serial_number": lo(spec.lab),
        # UTF-8, whatever the source has: notice and names may be Korean.
        "specific_character_set": "ISO_IR 192",
    }
