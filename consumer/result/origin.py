"""What SEG and reports say alike: which model in which lab, of whom, and the notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.valuerep import DA, TM

from consumer.handover import StoredModel

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom import Dataset

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

#: What highdicom parses among them.
_DATES = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}


def complete(datasets: Iterable[Dataset]) -> None:
    """Give each dataset, in place, the empty type 2 attributes that it lacks.

    A date or time that is none becomes empty too: it must not stop a result.
    """
    for ds in datasets:
        for keyword in _TYPE_2:
            if keyword not in ds:
                setattr(ds, keyword, None)
        for keyword, kind in _DATES.items():
            try:
                kind(ds[keyword].value)
            except ValueError:
                setattr(ds, keyword, None)


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
