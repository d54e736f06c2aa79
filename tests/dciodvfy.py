"""What dciodvfy (Debian: dicom3tools) finds wrong with an object; asked of every result.

Two places see all that is written: in a test's own process highdicom, which writes every SEG, SR
and SC (`tests.conftest`); and of all other processes the storage of the archives
(`tests.integration.nodes`).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from highdicom import SOPClass
from pydicom import dcmread
from pydicom.uid import (
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from consumer.result.origin import MANUFACTURER

#: The kinds of object that a result has, as dciodvfy calls them.
KINDS = {
    SegmentationStorage: "Segmentation",
    ComprehensiveSRStorage: "ComprehensiveSR",
    SecondaryCaptureImageStorage: "SCImage",
}

#: Files that highdicom has written in this process since `forget`.
_written: list[bytes] = []


#: Whoever made a real series anonymous put 0.0.0.0 before its UIDs, which is no root. A result must
#: name study, series and slices by them.
_SOURCE_UID = re.compile(r'Error - Illegal root for UID - "0\.0\.0\.0\.')

#: What the patient's number holds is the study's affair: with another the archive would file the
#: result under another patient.
_PATIENT_ID = re.compile(
    r"Error - (Value invalid for this VR - \(0x0010,0x0020\)"
    r"|Bad attribute Value Multiplicity .*Element=<PatientID> )"
)

#: Where the patient's number is no text of a set that the source declares, the result repeats the
#: source's declaration, whatever it is, so that archives file it by the same rule.
_CHARACTER_SET = re.compile(r"Error - .*(Element=<SpecificCharacterSet>|<Specific Character Set>)")

#: dciodvfy counts the bytes of UTF-8, and DICOM its characters (PS3.5 section 6.2).
_TOO_LONG = re.compile(
    r"Error - Value invalid for this VR - \(0x(?P<group>[0-9a-f]{4}),0x(?P<element>[0-9a-f]{4})\)"
    r".*- Length invalid for this VR = [0-9]+, expected <= (?P<most>[0-9]+)",
    re.DOTALL,
)

#: Said once more where one value or several are wrong.
_ONE_OR_MORE = "Error - Dicom dataset contains invalid data values for Value Representations"


def dicom_errors(data: bytes, tmp_path: Path) -> list[str]:
    """Its errors, but for what is the source's and must be repeated."""
    file = tmp_path / "object.dcm"
    file.write_bytes(data)
    done = subprocess.run(
        ["dciodvfy", str(file)], capture_output=True, text=True, errors="replace", check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    assert any(line in KINDS.values() for line in lines), lines
    errors = [line for line in lines if line.startswith("Error")]
    with catch_warnings():
        # pydicom warns of character sets that it does not know.
        simplefilter("ignore")
        ours = [line for line in errors if line != _ONE_OR_MORE and not _is_none(line, data)]
    return [_ONE_OR_MORE, *ours] if ours and _ONE_OR_MORE in errors else ours


def _is_none(error: str, data: bytes) -> bool:
    if _SOURCE_UID.match(error) or _PATIENT_ID.match(error):
        return True
    if _CHARACTER_SET.match(error):
        found = dcmread(BytesIO(data), specific_tags=["PatientID"])
        return not found.get_item("PatientID").value.isascii()
    long = _TOO_LONG.match(error)
    if long is None:
        return False
    element = dcmread(BytesIO(data))[int(long["group"], 16), int(long["element"], 16)]
    parts = str(element.value).split("=") if element.VR == "PN" else [str(element.value)]
    return max(map(len, parts)) <= int(long["most"])


def listen() -> None:
    """See whatever highdicom writes from now on; its objects are saved by pydicom."""
    save = SOPClass.save_as

    def save_and_keep(self: SOPClass, target: Any, *args: Any, **options: Any) -> None:
        save(self, target, *args, **options)
        # highdicom converts images as well: those are what a test reads.
        if isinstance(target, BytesIO) and self.SOPClassUID in KINDS:
            _written.append(target.getvalue())

    SOPClass.save_as = save_and_keep


def forget() -> None:
    """Begin anew."""
    _written.clear()


def assert_valid(files: Iterable[bytes], tmp_path: Path) -> None:
    """No error in any of them."""
    wrong = {error for data in dict.fromkeys(files) for error in dicom_errors(data, tmp_path)}
    assert not wrong, f"dciodvfy finds errors in what was written: {sorted(wrong)}"


def written() -> list[bytes]:
    """What highdicom wrote since `forget`."""
    return list(_written)


def results_below(folder: Path) -> list[bytes]:
    """The files of an archive's storage that are results of ours, whole as a lab writes them."""
    with catch_warnings():
        # As above.
        simplefilter("ignore")
        return [data for file in folder.rglob("*") if (data := _result_in(file)) is not None]


def _result_in(file: Path) -> bytes | None:
    if not file.is_file():
        return None
    data = file.read_bytes()
    if data[128:132] != b"DICM":
        return None
    tags = ["SOPClassUID", "Manufacturer"]
    found = dcmread(BytesIO(data), specific_tags=tags, stop_before_pixels=True, force=True)
    if found.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        # dciodvfy inflates nothing. It has seen the object as it was written.
        return None
    ours = found.get("Manufacturer") == MANUFACTURER and found.get("SOPClassUID") in KINDS
    return data if ours else None
