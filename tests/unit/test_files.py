"""One file from memory: what pydicom reads, and what it takes without a word and we do not."""

from __future__ import annotations

import struct
import zlib
from contextlib import nullcontext
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    JPEG2000Lossless,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    SegmentationStorage,
)

from consumer.dicom import elements, files
from consumer.dicom.codestream import OtherCodestream, check_codestreams
from consumer.dicom.elements import CutShort, ItemsTooMany
from consumer.dicom.enhanced import images_of
from consumer.dicom.files import Inflation, NotPart10, OtherPixelLength, read_file
from consumer.errors import TooLarge
from tests.bad_inputs.study import real_file, series
from tests.dicom_factory import Series, part10
from tests.enhanced_factory import enhanced

#: Files of pydicom's tests: each way to write elements, and each codec of MR.
ENCODED = (
    "MR_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG-LL.dcm",
    "JPGExtended.dcm",
    "image_dfl.dcm",
    "emri_small.dcm",
    "emri_small_RLE.dcm",
    "emri_small_big_endian.dcm",
    "emri_small_jpeg_2k_lossless.dcm",
    "emri_small_jpeg_ls_lossless.dcm",
    "SC_rgb_rle.dcm",
    "test-SR.dcm",
    "UN_sequence.dcm",
    "priv_SQ.dcm",
)


def one_file() -> bytes:
    return part10(series().datasets[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ENCODED)
def test_a_good_file_is_read_as_pydicom_reads_it(name: str) -> None:
    data = real_file(name).read_bytes()
    expected = dcmread(BytesIO(data))
    found = read_file(data)
    # What some put behind the pixels is padding.
    assert list(found) == [element for element in expected if element.tag <= 0x7FE00010]
    assert found.file_meta == expected.file_meta
    assert found.original_encoding == expected.original_encoding
    if "PixelData" in expected:
        assert (found.pixel_array == expected.pixel_array).all()


def test_only_what_is_asked_for_is_kept_and_nothing_behind_the_pixels_is_read() -> None:
    data = one_file() + struct.pack("<HH2sH", 0xFFFC, 0xFFFC, b"ZZ", 7)
    found = read_file(data, tags=("Rows", "PixelData"))
    assert [element.keyword for element in found] == ["SpecificCharacterSet", "Rows", "PixelData"]
    assert "PixelData" not in read_file(data, stop_before_pixels=True)


@pytest.mark.parametrize("begin", [b"MZ\x90\0", b"\x7fELF", b"II*\0"])
def test_a_program_in_the_preamble_is_left_behind(begin: bytes) -> None:
    data = begin.ljust(128, b"\xcc") + one_file()[128:]
    ds = read_file(data)
    assert ds.preamble is None
    assert part10(ds)[:128] == b"\0" * 128


@pytest.mark.parametrize("data", [b"", b"DICM", b"\0" * 128, b"\0" * 128 + b"DICN" + b"\0" * 99])
def test_what_is_no_part_10_file_is_told(data: bytes) -> None:
    with pytest.raises(NotPart10):
        read_file(data)


@pytest.mark.parametrize("missing", [1, 7, 100])
def test_a_file_that_ends_early_is_told(missing: int) -> None:
    with pytest.raises(CutShort):
        read_file(one_file()[:-missing])


def test_fewer_or_more_pixels_than_the_header_says_are_told() -> None:
    ds = series().datasets[3]
    for rows in (7, 9):
        ds.Rows = rows
        with pytest.raises(OtherPixelLength):
            read_file(part10(ds))
    ds.Rows = 8
    ds.PixelData += b"\0" * 14
    assert read_file(part10(ds)).Rows == 8


@pytest.mark.parametrize(("keyword", "count"), [("Rows", 255), ("Columns", 255)])
def test_padding_as_long_as_a_row_may_be_a_row_and_is_refused(keyword: str, count: int) -> None:
    values = np.arange(256 * 256, dtype=np.uint16).reshape(256, 256)
    # A black last row: the surplus of a header that lies about the columns is zeros.
    values[-1] = 0
    ds = Series(1, 256, 256, pixels=values[None]).datasets[0]
    assert read_file(part10(ds)).Columns == 256
    setattr(ds, keyword, count)
    with pytest.raises(OtherPixelLength):
        read_file(part10(ds))


def test_padding_that_is_not_empty_is_refused() -> None:
    ds = series().datasets[0]
    ds.PixelData += b"\0" * 9 + b"\1"
    with pytest.raises(OtherPixelLength):
        read_file(part10(ds))


def deflated(body: bytes) -> bytes:
    ds = series().datasets[0]
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = part10(ds)
    (length,) = struct.unpack_from("<I", data, 140)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return data[: 144 + length] + packer.compress(body) + packer.flush()


def test_a_deflated_file_is_inflated_to_its_limit_and_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = struct.pack("<HH2sHI", 9, 0x1001, b"OB", 0, 10_000) + b"\0" * 10_000
    assert len(read_file(deflated(body))[0x00091001].value) == 10_000
    monkeypatch.setattr(files, "INFLATED_BYTES", 10_011)
    with pytest.raises(TooLarge, match=r"an instance .* 10011 bytes"):
        read_file(deflated(body))


def test_the_files_of_a_series_share_what_they_may_inflate_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = deflated(struct.pack("<HH2sHI", 9, 0x1001, b"OB", 0, 10_000) + b"\0" * 10_000)
    monkeypatch.setattr(files, "INFLATED_SERIES_BYTES", 25_000)
    inflation = Inflation()
    for _ in range(2):
        read_file(data, inflation=inflation)
    with pytest.raises(TooLarge, match="a series"):
        read_file(data, inflation=inflation)


@pytest.mark.parametrize(("tag", "allowed"), [(0x52009229, 1), (0x52009230, 4)])
def test_functional_groups_of_more_items_than_frames_are_not_parsed_to_their_end(
    monkeypatch: pytest.MonkeyPatch, tag: int, allowed: int
) -> None:
    data = part10(enhanced([series()]))
    begin = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"SQ", 0)
    place = data.index(begin)
    (length,) = struct.unpack_from("<I", data, place + 8)
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 300_000
    hostile = data[:place] + begin + struct.pack("<I", len(items)) + items
    hostile += data[place + 12 + length :]
    parsed = []
    parse = elements.read_sequence_item

    def counted(*values: object) -> object:
        parsed.append(1)
        return parse(*values)

    monkeypatch.setattr(elements, "read_sequence_item", counted)
    with pytest.raises(ItemsTooMany):
        read_file(hostile)
    assert len(parsed) <= 1 + allowed + 1 + 10


def test_a_functional_group_of_one_frame_has_one_item() -> None:
    ds = enhanced([series()])
    frame = ds.PerFrameFunctionalGroupsSequence[1]
    frame.PlanePositionSequence = [frame.PlanePositionSequence[0], Dataset()]
    with pytest.raises(ItemsTooMany):
        read_file(part10(ds))


def philips(frames: int, elements_each: int) -> bytes:
    """Enhanced MR with a private sequence for each frame, as Philips writes (2005,140F)."""
    ds = enhanced([Series(frames, 2, 2)])
    for group in ds.PerFrameFunctionalGroupsSequence:
        private = Dataset()
        for number in range(elements_each):
            private.add_new(0x20051000 + number, "LO", "x")
        private.is_undefined_length_sequence_item = True
        group.add_new(0x2005140F, "SQ", Items([private]))
        group[0x2005140F].is_undefined_length = True
        group.is_undefined_length_sequence_item = True
    ds["PerFrameFunctionalGroupsSequence"].is_undefined_length = True
    return part10(ds)


@pytest.mark.filterwarnings("ignore")
def test_many_frames_may_say_much_of_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "READS", 5_000)
    data = philips(30, 250)
    assert len(images_of(read_file(data))) == 30
    monkeypatch.setattr(elements, "READS_OF_A_FRAME", 300)
    with pytest.raises(TooLarge):
        read_file(data)


def test_fifteen_hundred_frames_of_philips_stay_below_the_limit() -> None:
    # Of one frame the reads are counted; a file of 1500 of them would take minutes to build.
    one, two = (reads_of(philips(count, 250)) for count in (1, 2))
    assert 1500 * (two - one) + one < 1500 * elements.READS_OF_A_FRAME


def reads_of(data: bytes) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(elements, "READS_OF_A_FRAME", 0)
        low, high = 1, 100_000
        while low < high:
            middle = (low + high) // 2
            patch.setattr(elements, "READS", middle)
            try:
                read_file(data)
            except TooLarge:
                low = middle + 1
            else:
                high = middle
        return low


def test_a_million_frames_make_no_room_for_elements_without_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(elements, "READS", 300)
    monkeypatch.setattr(elements, "MOST_FRAMES", 1)
    monkeypatch.setattr(elements, "READS_OF_A_FRAME", 300)
    with pytest.raises(TooLarge):
        read_file(of_many_frames(EnhancedMRImageStorage))


def of_many_frames(sop_class: str) -> bytes:
    ds = series().datasets[0]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.NumberOfFrames = 999_999_999
    for number in range(200):
        ds.add_new(0x00291000 + number, "LO", "x")
    return part10(ds)


@pytest.mark.parametrize(
    ("sop_class", "room"),
    [
        (EnhancedMRImageStorage, True),
        (LegacyConvertedEnhancedMRImageStorage, True),
        (SegmentationStorage, True),
        (MRImageStorage, False),
        (MultiFrameGrayscaleWordSecondaryCaptureImageStorage, False),
    ],
)
def test_only_objects_that_tell_of_each_frame_get_room_for_it(
    monkeypatch: pytest.MonkeyPatch, sop_class: str, *, room: bool
) -> None:
    monkeypatch.setattr(elements, "READS", 300)
    monkeypatch.setattr(elements, "READS_OF_A_FRAME", 300)
    with nullcontext() if room else pytest.raises(TooLarge):
        read_file(of_many_frames(sop_class), stop_before_pixels=True)


@pytest.mark.parametrize("behind", [b"\0" * 4_800_000, one_file()[132:]])
def test_what_follows_the_pixels_is_not_taken_for_elements(behind: bytes) -> None:
    found = read_file(one_file() + behind)
    assert [element.tag for element in found if element.tag.group in {0, 2}] == []
    assert found.PixelData == read_file(one_file()).PixelData


def test_elements_without_number_are_not_counted_to_their_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(elements, "READS", 300)
    assert read_file(one_file()).Rows == 8
    ds = series().datasets[0]
    for number in range(200):
        ds.add_new(0x00091000 + number, "LO", "x")
    with pytest.raises(TooLarge):
        read_file(part10(ds))


def looked_at(ds: Dataset) -> None:
    check_codestreams(read_file(part10(ds)))


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"]
)
@pytest.mark.parametrize(("rows", "columns"), [(63, 64), (64, 63), (65, 64), (65535, 65535)])
def test_a_frame_of_another_size_than_the_header_says_is_told(
    name: str, rows: int, columns: int
) -> None:
    ds = dcmread(real_file(name))
    looked_at(ds)
    ds.Rows, ds.Columns = rows, columns
    with pytest.raises(OtherCodestream):
        looked_at(ds)


def test_a_frame_without_its_end_is_told() -> None:
    ds = dcmread(real_file("MR_small_jpeg_ls_lossless.dcm"))
    ds.PixelData = ds.PixelData[: len(ds.PixelData) // 2] + b"\0" * (len(ds.PixelData) // 2 % 2)
    with pytest.raises((OtherCodestream, CutShort)):
        looked_at(ds)
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless
    ds.PixelData = encapsulate([b"\xff\x4f\xff\x51"])
    with pytest.raises(OtherCodestream):
        looked_at(ds)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_tile_parts_that_end_behind_the_codestream_are_told(share: float) -> None:
    ds = dcmread(real_file("MR_small_jp2klossless.dcm"))
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([frame[: int(len(frame) * share)] + b"\xff\xd9"])
    with pytest.raises(OtherCodestream):
        looked_at(ds)


def test_only_the_frames_that_are_wanted_are_looked_at() -> None:
    ds = dcmread(real_file("emri_small_RLE.dcm"))
    frames = list(generate_frames(ds.PixelData, number_of_frames=10))
    frames[4] = frames[4][:70]
    ds.PixelData = encapsulate(frames)
    check_codestreams(ds, {0, 9})
    with pytest.raises(OtherCodestream):
        check_codestreams(ds, {0, 4})
    ds.PixelData = encapsulate(frames[:9])
    with pytest.raises(OtherCodestream):
        check_codestreams(ds, {0})


def test_a_file_that_names_its_frames_again_gets_no_more_room() -> None:
    budget = elements.Budget()
    budget.allow(elements.MOST_FRAMES)
    budget.allow(elements.MOST_FRAMES)
    with pytest.raises(TooLarge):
        budget.spend(elements.READS_OF_A_FRAME * elements.MOST_FRAMES + 1)
