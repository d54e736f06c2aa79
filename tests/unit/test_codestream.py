"""Where a compressed frame ends: by its own markers, whatever pads it, and not by a closed cut."""

from __future__ import annotations

import struct
import time
from copy import deepcopy

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGLSLossless

from consumer.dicom.codestream import OtherCodestream, check_codestreams
from consumer.errors import UnreadableDicom
from tests.dicom_factory import part10
from tests.unit.test_encodings import SEEN, as_slice, read

#: One image in each encoding whose frames are bounded by markers, and in RLE.
JPEG_LS, JPEG_2000 = "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"
JPEG, RLE = "JPEG-LL.dcm", "MR_small_RLE.dcm"

#: What follows an end of image: Orthanc's byte of any value, fill, a block of a writer, the rest
#: of an earlier frame in its memory, another end.
PADDING = (b"\x42", b"\0", b"\xff", b"\xff\0" * 3, bytes(range(256)) * 16, b"\xff\xd8\xff\xd9" * 20)


def frame_of(ds: Dataset) -> bytes:
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    return frame


def with_frame(ds: Dataset, frame: bytes) -> Dataset:
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    return ds


@pytest.mark.parametrize("name", [JPEG_LS, JPEG_2000, JPEG])
def test_whatever_pads_a_frame_behind_its_end_the_image_is_read(name: str) -> None:
    ds = as_slice(name)
    whole, frame = read(part10(ds)), frame_of(ds)
    for padding in (*PADDING, frame[: len(frame) // 2]):
        np.testing.assert_array_equal(read(part10(with_frame(ds, frame + padding))), whole)


@pytest.mark.parametrize("value", [0, 0x42, 0x7F, 0x80, 0x81, 0xFF])
def test_a_frame_of_rle_is_read_whatever_byte_makes_it_even(value: int) -> None:
    # It has no end of its own: its last segment goes on to the end of the fragment. 80 says nothing
    # and makes the frame odd.
    ds = as_slice(RLE)
    whole, frame = read(part10(ds)), frame_of(ds) + b"\x80"
    padded = with_frame(ds, frame + bytes([value]))
    np.testing.assert_array_equal(read(part10(padded)), whole)


def test_an_odd_frame_as_an_archive_stores_it_is_read() -> None:
    ds = dcmread(str(get_testdata_file("MR_small.dcm", download=False)))
    plain = ds.pixel_array
    ds.compress(JPEGLSLossless)
    frame = frame_of(ds).rstrip(b"\0")
    odd = next(
        frame[:-2] + fill + b"\xff\xd9" for fill in (b"", b"\xff") if (len(frame) + len(fill)) % 2
    )
    np.testing.assert_array_equal(read(part10(with_frame(ds, odd + b"\x42")), ds=ds)[0], plain)


@pytest.mark.parametrize("name", [JPEG_LS, JPEG_2000, JPEG, "JPGLosslessP14SV1_1s_1f_8b.dcm"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("tail", [b"", b"\xff\xd9", b"\xff\xd9\x42", b"\xff\xd9" + bytes(64)])
def test_a_frame_that_was_cut_is_refused_closed_and_padded_or_not(
    name: str, share: float, tail: bytes
) -> None:
    ds = as_slice(name)
    frame = frame_of(ds)
    cut = frame[: int(frame.rindex(b"\xff\xd9") * share)].rstrip(b"\xff")
    with pytest.raises(UnreadableDicom):
        read(part10(with_frame(ds, cut + tail)))


def jpeg(*segments: bytes, lines: int = 8, kind: int = 0xC3) -> Dataset:
    """A slice whose frame has these segments between its size and its end; its data are none."""
    size = bytes([0xFF, kind]) + struct.pack(">HBHHB3s", 11, 16, lines, 10, 1, b"\1\x11\0")
    ds = deepcopy(SEEN.datasets[0])
    ds.file_meta = dcmread(str(get_testdata_file(JPEG_LS if kind == 0xF7 else JPEG))).file_meta
    return with_frame(ds, b"\xff\xd8" + size + b"".join(segments) + b"\xff\xd9")


def segment(kind: int, content: bytes = b"") -> bytes:
    return bytes([0xFF, kind]) + struct.pack(">H", len(content) + 2) + content


SCAN = segment(0xDA, b"\1\1\0\0\0\0")


@pytest.mark.parametrize(
    "ds",
    [
        jpeg(SCAN, b"\x12\x34"),
        # An FF of the data is followed by 00, and restarts stand between them.
        jpeg(SCAN, b"\x12\xff\x00\xd9\xff\xd0\x34\xff\xd7\xff\x00"),
        # In JPEG-LS by a byte below 80: no marker, whatever JPEG calls it.
        jpeg(SCAN, b"\x12\xff\x01\xff\x7f\x34", kind=0xF7),
        # A profile that holds an end of image; fill bytes before a marker; a comment.
        jpeg(segment(0xE2, b"\xff\xd8\xff\xd9" * 9), b"\xff\xff", SCAN, b"\x12\xff\xff"),
        jpeg(SCAN, b"\x12", segment(0xC4, b"table"), SCAN, b"\x34", segment(0xFE, b"note")),
        # Its lines are said behind the first scan.
        jpeg(SCAN, b"\x12", segment(0xDC, b"\0\x08"), lines=0),
    ],
    ids=["plain", "stuffed", "stuffed in JPEG-LS", "profile and fill", "two scans", "lines behind"],
)
def test_a_frame_is_walked_to_its_own_end(ds: Dataset) -> None:
    check_codestreams(ds)


@pytest.mark.parametrize(
    "ds",
    [
        jpeg(b"\x12"),
        jpeg(SCAN, b"\x12", segment(0xDC, b"\0\x09")),
        jpeg(SCAN, b"\x12", lines=0),
        jpeg(SCAN, b"\x12", segment(0xC3, bytes(9)), SCAN),
        jpeg(SCAN, b"\x12\xff\xd8"),
        jpeg(SCAN, b"\x12", b"\xff\xfe\x00\x00"),
        jpeg(SCAN, b"\x12", b"\xff\xfe\x7f\xff"),
        jpeg(segment(0xFE) * 5000, SCAN),
    ],
    ids=[
        "no scan",
        "other lines behind",
        "no lines at all",
        "two sizes",
        "an image in the image",
        "a segment of no length",
        "a segment behind the end",
        "more segments than an image has",
    ],
)
def test_a_frame_that_does_not_come_to_its_end_is_told(ds: Dataset) -> None:
    with pytest.raises(OtherCodestream):
        check_codestreams(ds)


@pytest.mark.parametrize("kind", [0xC3, 0xF7])
@pytest.mark.parametrize("noise", [b"\xff\x00", b"\xff\xff", b"\xff\xd0", b"\xff"])
def test_hostile_data_take_the_time_of_their_bytes(kind: int, noise: bytes) -> None:
    long = jpeg(SCAN, noise * (8 * 2**20 // len(noise)), kind=kind)
    long.PixelData = long.PixelData.replace(b"\xff\xd9", b"\0\0")
    begun = time.process_time()
    with pytest.raises(OtherCodestream):
        check_codestreams(long)
    # 0.1 s here; a search that goes back from each byte would take hours.
    assert time.process_time() - begun < 5
