"""A stored object is counted before it is parsed, and its frames are read one by one."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from messages.part10 import RESULT_BYTES, transfer_syntax
from tests.dicom_factory import Series
from tests.integration import bombs
from web.orthanc import structure
from web.orthanc.errors import TooLargeResult, UnreadableResult
from web.orthanc.inflation import inflated
from web.orthanc.stored_file import stored_file
from web.orthanc.structure import require_small_decoded, structure_of

SERIES = Series(slices=3, rows=5, columns=7)


def masks() -> np.ndarray:
    return np.random.default_rng(1).random((3, 5, 7)) > 0.5


def test_frames_that_begin_within_a_byte_are_read_as_they_were_marked():
    # 35 pixels a frame.
    stored = stored_file(bombs.file_of(bombs.segmentation(SERIES, masks())))
    assert np.array_equal(np.stack(list(stored.frames())), masks())
    assert stored.size() == (5, 7)


@pytest.mark.parametrize(("bits", "kind"), [(8, np.uint8), (16, np.uint16)])
def test_frames_of_whole_bytes_are_read_as_they_were_marked(bits, kind):
    values = (masks() * 3).astype(kind)
    seg = bombs.segmentation(SERIES, PixelData=values.tobytes(), BitsAllocated=bits)
    seg["PixelData"].VR = "OW"
    assert np.array_equal(np.stack(list(stored_file(bombs.file_of(seg)).frames())), masks())


@pytest.mark.parametrize(
    "changes",
    [
        {"NumberOfFrames": 4},
        {"Rows": 4000, "Columns": 4000},
        {"Rows": 65535, "Columns": 65535, "NumberOfFrames": 2**31 - 1},
        {"NumberOfFrames": 0},
        {"BitsAllocated": 32},
        {"BitsAllocated": 8},
        {"SamplesPerPixel": 3},
        {"Rows": None},
    ],
)
def test_pixels_that_are_not_what_the_object_says_are_refused_unread(changes):
    stored = stored_file(bombs.file_of(bombs.segmentation(SERIES, masks(), **changes)))
    with pytest.raises(UnreadableResult):
        next(stored.frames())


@pytest.mark.parametrize(
    "tail",
    [
        bombs.sequence(bombs.CONTENT, bombs.ITEM * (structure.MAX_NODES + 1)),
        bombs.values((0x0018, 0x1020), structure.MAX_VALUE_BYTES + 2),
        b"".join(bombs.values((0x0018, 0x1020), structure.MAX_VALUE_BYTES) for _ in range(10)),
        struct.pack("<HH2sHI", 0x0018, 0x1020, b"UN", 0, 2**30),
        bombs.nested(bombs.CONTENT, structure.MAX_DEPTH + 1),
        bombs.nested(bombs.CONTENT, 100_000),
    ],
    ids=["items", "a value", "values", "unknown", "deep", "very deep"],
)
def test_what_a_parser_would_make_much_of_is_refused_before_it_is_parsed(tail):
    file = bombs.file_of(bombs.segmentation(SERIES), tail)
    with pytest.raises(TooLargeResult):
        stored_file(file)


@pytest.mark.parametrize(
    "tail",
    [
        # A sequence, an item and a value that are longer than what holds them.
        struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 100),
        bombs.sequence(bombs.CONTENT, struct.pack("<HHI", 0xFFFE, 0xE000, 8)),
        bombs.sequence(
            bombs.CONTENT,
            struct.pack("<HHI", 0xFFFE, 0xE000, 8) + struct.pack("<HH2sH", 8, 0x100, b"SH", 9),
        ),
        # No VR: a parser would go on without any.
        struct.pack("<HH2sH", 0x0040, 0xA160, b"\x08\0", 0) + bytes(8),
        struct.pack("<HH2sH", 0x0040, 0xA160, b"ZZ", 0),
        # An end of nothing, an item outside of a sequence, and half an element.
        struct.pack("<HHI", 0xFFFE, 0xE00D, 0),
        bombs.ITEM,
        b"\x40\0\x60\xa1U",
        # A sequence that does not end.
        struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF) + bombs.ITEM,
        # A command, and the meta information once more.
        struct.pack("<HH2sH", 0x0000, 0x0002, b"UI", 0),
        struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", 0),
    ],
)
def test_what_is_not_well_formed_is_refused(tail):
    with pytest.raises(UnreadableResult):
        structure_of(bombs.file_of(bombs.segmentation(SERIES), tail))


def test_what_is_deflated_is_inflated_up_to_a_bound_alone():
    seg = bombs.segmentation(SERIES, masks())
    file = bombs.file_of(seg, syntax=DeflatedExplicitVRLittleEndian)
    assert np.array_equal(np.stack(list(stored_file(inflated(file)).frames())), masks())

    bomb = bombs.file_of(
        bombs.segmentation(SERIES),
        *bombs.zeros(2 * 1024 * 1024),
        syntax=DeflatedExplicitVRLittleEndian,
    )
    with pytest.raises(TooLargeResult):
        inflated(bomb, 1024 * 1024)
    for broken in (file[:-4], file[:400] + b"\xff" * 40):
        with pytest.raises(UnreadableResult):
            inflated(broken)


def test_a_file_that_says_two_encodings_is_parsed_by_the_first_and_inflates_nothing():
    file = bombs.file_of(
        bombs.segmentation(SERIES), *bombs.zeros(4096), syntax=DeflatedExplicitVRLittleEndian
    )
    at = file.index(b"\x02\0\x10\0UI")
    plain = ExplicitVRLittleEndian.encode() + b"\0"
    said = b"\x02\0\x10\0UI" + len(plain).to_bytes(2, "little") + plain
    both = file[:at] + said + file[at:]
    assert transfer_syntax(both) == ExplicitVRLittleEndian
    with pytest.raises(UnreadableResult):
        stored_file(both)


def test_a_file_whose_meta_information_does_not_end_is_not_searched_through():
    endless = b"\0" * 128 + b"DICM" + struct.pack("<HH2sH", 2, 0x100, b"UI", 0) * 100_000
    assert transfer_syntax(endless) is None
    with pytest.raises(UnreadableResult):
        structure_of(endless)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_what_would_be_too_long_once_it_is_decoded_is_told_from_its_head(syntax):
    small = bombs.segmentation(SERIES, BitsAllocated=8)
    require_small_decoded(bombs.file_of(small, bombs.rle_zeros(3, 16, 8), syntax=syntax))
    frames = RESULT_BYTES // 35 + 1
    large = bombs.segmentation(SERIES, BitsAllocated=8, NumberOfFrames=frames)
    with pytest.raises(TooLargeResult):
        require_small_decoded(bombs.file_of(large, bombs.rle_zeros(3, 16, 8), syntax=syntax))
    # Compressed, and called plain.
    with pytest.raises(UnreadableResult):
        stored_file(bombs.file_of(small, bombs.rle_zeros(3, 16, 8)))
