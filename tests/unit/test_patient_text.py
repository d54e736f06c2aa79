"""Text of headers in any character set: it may be wrong, and stops no result."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import generate_uid

from consumer.children import reader
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex, ResultSpec
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
    return [dcmread(BytesIO(data)) for data in written(series, instances, spec())]


def with_picture(**origin: str) -> ResultSpec:
    return spec(key_series_uid=generate_uid(), key_instance_uids=(generate_uid(),), **origin)


def written(series: Series, instances: list[bytes], about: ResultSpec) -> list[bytes]:
    """The same as files, with a picture of the SEG where one is asked for."""
    with MemoryFile() as memory, MemoryFile() as full, MemoryFile() as empty, MemoryFile() as out:
        phase = place(memory, instances, "pre", series.series_uid)
        source = DownloadIndex(series.study_uid, (phase,))
        reader.read_phases(source, out.path)
        full.write(np.ones(48, np.uint8).tobytes())
        empty.write(bytes(48))
        seg = reader.package(source, full.path, (3, 4, 4), about).dicom_bytes
        nothing = reader.package(source, empty.path, (3, 4, 4), about).dicom_bytes
        told = reader.measure_stored(seg, source, about)
    assert told.report is not None
    assert not told.undrawn
    return [seg, told.report, *told.key_slices, nothing]


@pytest.mark.parametrize("keyword", TEXTS)
@pytest.mark.parametrize("character_set", SETS)
@pytest.mark.parametrize("text", [HIGH, BROKEN, CONTROL], ids=["high", "broken", "control"])
def test_no_text_of_a_header_stops_a_result(character_set, keyword, text):
    series, instances = files(character_set, keyword, text)
    for ds in results(series, instances):
        assert ds.StudyInstanceUID == series.study_uid


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
        (
            "\\ISO 2022 IR 87",
            b"Yamada=\x1b$B;3ED\x1b(B",
            "Yamada=山田",
        ),
        # Not declared, declared as what no one knows, or not of what is declared: no text.
        ("", "Gr\u00fcn^\u00c4nne".encode("latin-1"), ""),
        ("", "김^희중".encode("euc_kr"), ""),
        ("ISO_IR 149", "김^희중".encode("euc_kr"), ""),
        ("NONSENSE", "김^희중".encode(), ""),
        ("ISO_IR 192", "김^희중".encode("euc_kr"), ""),
        # The default set is the first of the two, and no escape leads out of it.
        ("\\ISO 2022 IR 149", "김^희중".encode("euc_kr"), ""),
    ],
)
def test_a_name_in_its_declared_character_set_is_the_same_in_the_results(character_set, text, said):
    series, instances = files(character_set, "PatientName", text)
    for ds in results(series, instances):
        assert str(ds.PatientName) == said
        assert ds.SpecificCharacterSet == "ISO_IR 192"


KIM = "김희중"


@pytest.mark.parametrize(
    ("character_set", "number"),
    [
        ("ISO_IR 149", KIM.encode("euc_kr")),
        ("", KIM.encode("euc_kr")),
        ("", "Gr\u00fcn".encode("latin-1")),
        ("\\ISO 2022 IR 149", KIM.encode("euc_kr")),
        ("ISO_IR 192", KIM.encode("euc_kr")),
        ("NONSENSE\\OTHER", b"\x1b$)C" + KIM.encode("euc_kr")),
    ],
)
def test_a_number_that_is_no_text_is_copied_byte_for_byte_with_the_set_of_its_source(
    character_set, number
):
    series, instances = files(character_set, "PatientID", number)
    (source,) = {bytes_of(data, "PatientID") for data in instances}
    assert source.startswith(number)
    korean = "시뮬레이션 팬텀으로 학습됨, 임상용이 아님"
    for data in written(series, instances, with_picture(notice=korean, lab="Gr\u00fcn")):
        assert bytes_of(data, "PatientID") == source
        declared = bytes_of(data, "SpecificCharacterSet")
        assert declared == bytes_of(instances[0], "SpecificCharacterSet")
        assert bytes_of(data, "StudyInstanceUID") == bytes_of(instances[0], "StudyInstanceUID")
        # Nothing else in it needs a character set.
        assert all(text.isascii() for text in other_texts(dcmread(BytesIO(data))))


@pytest.mark.parametrize(
    "number", [b"  t-1 ", b"T\\1", b"a\x01\tb\n", b"lower case", b"", b"12345678" * 4, b"\0AB\0"]
)
def test_a_number_in_plain_letters_is_the_same_byte_for_byte_and_all_else_is_utf_8(number):
    series, instances = files("ISO_IR 192", "PatientID", number)
    korean = "시뮬레이션 팬텀으로 학습됨"
    for data in written(series, instances, with_picture(notice=korean)):
        assert bytes_of(data, "PatientID") == bytes_of(instances[0], "PatientID")
        assert korean.encode() in data
        assert bytes_of(data, "SpecificCharacterSet") == b"ISO_IR 192"


def test_a_number_in_another_declared_set_is_the_same_letters_in_utf_8():
    series, instances = files("\\ISO 2022 IR 149", "PatientID", b"\x1b$)C" + KIM.encode("euc_kr"))
    for ds in results(series, instances):
        assert (ds.PatientID.strip(), ds.SpecificCharacterSet) == (KIM, "ISO_IR 192")


def test_a_name_that_is_text_stays_beside_a_number_that_is_none():
    name = b"Kim^Hee=\x1b$)C" + "김^".encode("euc_kr") + b"\x1b$)C" + "희중".encode("euc_kr")
    series, instances = files("\\ISO 2022 IR 149", "PatientID", KIM.encode("euc_kr"))
    written_name = b"Test^Phantom"
    longer = len(name) + len(name) % 2
    instances = [
        data.replace(
            b"PN" + len(written_name).to_bytes(2, "little") + written_name,
            b"PN" + longer.to_bytes(2, "little") + name.ljust(longer),
        )
        for data in instances
    ]
    for ds in results(series, instances):
        assert str(ds.PatientName) == "Kim^Hee=김^희중"


def bytes_of(data: bytes, keyword: str) -> bytes | None:
    """The value of an element in Explicit VR Little Endian, without a library that knows better."""
    tag = tag_for_keyword(keyword)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + dictionary_VR(tag).encode()
    place = data.find(head)
    if place < 0:
        return None
    (length,) = struct.unpack_from("<H", data, place + 6)
    return data[place + 8 : place + 8 + length]


def other_texts(ds: Dataset) -> list[str]:
    found = []
    for element in ds:
        if element.VR == "SQ":
            found += [text for item in element.value for text in other_texts(item)]
        elif element.keyword != "PatientID" and element.VR in {"LO", "SH", "PN", "LT", "ST", "UT"}:
            found.append(str(element.value))
    return found


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
