"""Text of headers in any character set: it may be wrong, and stops no result."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from consumer.children import reader
from consumer.handover import DownloadIndex
from consumer.memory import MemoryFile
from tests.dicom_factory import Series, part10, place, spec

#: Stands in each place where bytes come, which a library that knows character sets would not write.
ROOM = "X" * 32

HIGH = bytes(range(0xA1, 0xC1))
#: What is a character in no set: half a pair, half an escape, a byte of nothing.
BROKEN = b"\x1b$)C\xb1\xe8\x1b\x1b$\xff\xfe\x80="
CONTROL = b"a\x00b\x01\x07\r\n\\c\\d==="

#: Specific Character Set (0008,0005) as written, and Python's name where the text is right.
SETS = [
    "",
    "ISO_IR 192",
    "\\ISO 2022 IR 149",
    "GB18030",
    "\\ISO 2022 IR 87",
    "NONSENSE",
    "ISO_IR 13",
]

TEXTS = [
    "PatientName",
    "PatientID",
    "StudyDescription",
    "PatientComments",
    "ReferringPhysicianName",
]


def files(character_set: str, keyword: str, text: bytes) -> tuple[Series, list[bytes]]:
    """Instances whose `keyword` holds exactly `text`, under a declared character set."""
    series = Series(slices=3, rows=4, columns=4)
    found = []
    for ds in series.datasets:
        setattr(ds, keyword, ROOM)
        declared = character_set.encode() + b" " * (len(character_set) % 2)
        data = part10(ds).replace(
            b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192",
            b"\x08\x00\x05\x00CS" + len(declared).to_bytes(2, "little") + declared,
        )
        assert data.count(ROOM.encode()) == 1
        found.append(data.replace(ROOM.encode(), text[: len(ROOM)].ljust(len(ROOM))))
    return series, found


def results(series: Series, instances: list[bytes]) -> list[Dataset]:
    """SEG, report of a SEG, and report that nothing was found."""
    about = spec()
    with MemoryFile() as memory, MemoryFile() as full, MemoryFile() as empty, MemoryFile() as out:
        phase = place(memory, instances, "pre", series.series_uid)
        source = DownloadIndex(series.study_uid, (phase,))
        reader.read_phases(source, out.path)
        full.write(np.ones(48, np.uint8).tobytes())
        empty.write(bytes(48))
        seg = reader.package(source, full.path, (3, 4, 4), about).dicom_bytes
        nothing = reader.package(source, empty.path, (3, 4, 4), about).dicom_bytes
        report = reader.measure_stored(seg, source, about).report
    assert report is not None
    return [dcmread(BytesIO(data)) for data in (seg, report, nothing)]


@pytest.mark.parametrize("keyword", TEXTS)
@pytest.mark.parametrize("character_set", SETS)
@pytest.mark.parametrize("text", [HIGH, BROKEN, CONTROL], ids=["high", "broken", "control"])
def test_no_text_of_a_header_stops_a_result(character_set, keyword, text):
    series, instances = files(character_set, keyword, text)
    for ds in results(series, instances):
        assert ds.StudyInstanceUID == series.study_uid
        assert ds.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize(
    ("character_set", "text", "said"),
    [
        (
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
            "Hong^Gildong=洪^吉洞",
        ),
        ("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
        ("ISO_IR 100", "Gr\u00fcn^\u00c4nne".encode("latin-1"), "Gr\u00fcn^\u00c4nne"),
        ("ISO_IR 192", "김^희중".encode(), "김^희중"),
        # Not declared, or declared as what no one knows: the default is Latin 1 for pydicom.
        ("", "Gr\u00fcn^\u00c4nne".encode("latin-1"), "Gr\u00fcn^\u00c4nne"),
    ],
)
def test_a_name_in_its_declared_character_set_is_the_same_in_the_results(character_set, text, said):
    series, instances = files(character_set, "PatientName", text)
    for ds in results(series, instances):
        assert str(ds.PatientName) == said


@pytest.mark.parametrize("keyword", ["PatientAge", "PatientWeight", "PregnancyStatus"])
def test_a_number_that_is_none_goes_and_stops_no_result(keyword):
    series = Series(slices=3, rows=4, columns=4)
    for ds in series.datasets:
        # Written as text, the length of a number or of an age.
        ds.add_new(keyword, "LO", "Four")
    instances = [part10(ds) for ds in series.datasets]
    for vr in (b"LO",):
        wanted = {"PatientAge": b"AS", "PatientWeight": b"DS", "PregnancyStatus": b"US"}[keyword]
        instances = [
            data.replace(vr + b"\x04\x00Four", wanted + b"\x04\x00Four") for data in instances
        ]
    assert len(results(series, instances)) == 3
