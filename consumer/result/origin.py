"""What all objects of a result say alike: which model in which lab, of whom, and the notice."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from highdicom import PatientSexValues
from highdicom.valuerep import check_person_name
from pydicom.datadict import dictionary_has_tag, dictionary_VM
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.valuerep import DA, TM

from consumer.payloads import StoredModel
from consumer.result.copied import CONTROLS, make_valid

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset
    from pydicom.tag import BaseTag

    from consumer.payloads import ResultSpec

#: Series Number of the first result of a study; scanners number from 1, so that results sort last.
_FIRST_SERIES_NUMBER = 900

#: Series that a result may have, in this order from its first number.
_SERIES = ("primary", "report", "key slices")

#: Bytes of a model's name in a description: what tells results apart must be seen in a narrow list.
_NAME_BYTES = 20

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


def _age(value: object) -> None:
    """An age as PS3.5 table 6.2-1 has it, or ValueError."""
    if re.fullmatch("[0-9]{3}[DWMY]", str(value)) is None:
        raise ValueError


#: What highdicom parses among what it copies, and what viewers parse: each raises for a value that
#: is none.
_CHECKS = {
    "PatientAge": _age,
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
    date, sex or number that is none, bytes that are no text of the declared character set, and
    whatever the standard does not allow there (`consumer.result.copied`). It must not stop a
    result. Text is read by that set and written as UTF-8, without the characters
    that no text may hold.
    """
    for tag in list(origin.keys()):
        if not _can_be_copied(origin, tag):
            del origin[tag]
            continue
        _clean(origin[tag])
    make_valid(origin)
    for keyword in _TYPE_2:
        if keyword not in origin:
            setattr(origin, keyword, None)


def _can_be_copied(ds: Dataset, tag: BaseTag) -> bool:
    try:
        element = ds[tag]
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, element, _UTF_8)
        if element.is_empty:
            return True
        several = element.VM > 1
        if several and element.VR not in CONTROLS and not _may_be_several(tag):
            return False
        if element.VR in {"DS", "IS"}:
            for value in element.value if several else [element.value]:
                float(value)
        check = _CHECKS.get(element.keyword)
        if check:
            check(element.value)
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad values
        return False
    return True


def _clean(element: DataElement) -> None:
    pattern = CONTROLS.get(element.VR)
    # The number of the patient stays as it is: an archive files by it, and the result would lie
    # in a study of its own.
    if pattern is None or element.keyword == "PatientID" or element.is_empty:
        return
    several = element.VM > 1
    texts = [str(value) for value in (element.value if several else [element.value])]
    one = several and not _may_be_several(element.tag)
    if one or any(map(pattern.search, texts)):
        cleaned = [pattern.sub("", text) for text in texts]
        # A backslash in what is one text made several of it.
        element.value = cleaned if several and not one else "/".join(cleaned)


def _may_be_several(tag: BaseTag) -> bool:
    return not dictionary_has_tag(tag) or dictionary_VM(tag) != "1"


def series_number(spec: ResultSpec, of: Literal["primary", "report", "key slices"]) -> int:
    """Series Number of one of the series of a result: 900 to 902 of the first of a study, then on.

    The number of the request is the same in each of its runs, and so is this.
    """
    number = spec.number or 1
    return _FIRST_SERIES_NUMBER + len(_SERIES) * (number - 1) + _SERIES.index(of)


def stored_number(primary: Dataset) -> int | None:
    """Which request of its study a stored primary is of, as its Series Number says."""
    try:
        place = int(primary.SeriesNumber) - _FIRST_SERIES_NUMBER
    except (AttributeError, TypeError, ValueError):
        return None
    return None if place < 0 or place % len(_SERIES) else 1 + place // len(_SERIES)


def description(spec: ResultSpec) -> str:
    """What sets a result apart from others of its study, then the notice, as long as an LO is.

    Model, number of the result from the second on, month, day and time of its making. What does not
    fit of the notice goes from its beginning, for what a reader must not do stands at the end of
    one; it is whole in the algorithm parameters.
    """
    parts = [lo(spec.model_name, _NAME_BYTES)]
    if spec.number and spec.number > 1:
        parts.append(f"#{spec.number}")
    if spec.created:
        parts.append(datetime.fromisoformat(spec.created).strftime("%m-%d %H:%M"))
    which = " ".join(parts)
    notice = lo(spec.notice, len(spec.notice.encode()))
    notice = _end_of(notice, LO_BYTES - len(which.encode()) - 2)
    return lo(f"{which}: {notice}" if notice else which)


def content_label(spec: ResultSpec) -> str:
    """Number and label as a CS: 16 characters, upper case."""
    number = f"RESULT {spec.number} " if spec.number and spec.number > 1 else ""
    label = re.sub("[^A-Z0-9 _]", "_", spec.labels[0].upper())
    return f"{number}{label}"[:16].strip()


def _end_of(text: str, limit: int) -> str:
    """The last words of a text that fit, in bytes of UTF-8, behind dots that say so."""
    if len(text.encode()) <= limit:
        return text
    words = text.split()
    while words and len(" ".join(words).encode()) > limit - 3:
        del words[0]
    return f"...{' '.join(words)}" if words else lo(text, limit)


def lo(text: str, limit: int = LO_BYTES) -> str:
    """Text cut to what an LO holds: one value of one line, without control characters."""
    text = " ".join(CONTROLS["LO"].sub(" ", text.replace("\\", "/")).split())
    data = text.encode()
    if len(data) <= limit:
        return text
    dots = "..." if limit >= 8 else ""
    # A character that the cut splits is dropped as a whole.
    return data[: limit - len(dots)].decode(errors="ignore").rstrip() + dots


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
