"""What a compressed frame says of itself, before a decoder believes it.

A decoder takes sizes and ends from the frame, and pydicom compares little afterwards: half a
JPEG-LS frame became an image with rows of nothing, and one that called itself 65535 x 65535 kept
the decoder busy for minutes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

from consumer.children.attributes import BrokenFile
from consumer.children.syntaxes import JPEG_2000, JPEG_LOSSLESS, JPEG_LS

if TYPE_CHECKING:
    from collections.abc import Collection

    from pydicom import Dataset

#: Markers that begin a frame of JPEG (ISO 10918-1 table B.1: SOF, without DHT, JPG and DAC) and
#: of JPEG-LS (ISO 14495-1 C.1.1: SOF55).
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}

#: Start of scan of JPEG and JPEG-LS.
_SCAN = 0xDA

#: Markers of JPEG 2000 (ISO 15444-1 table A.2) by which a codestream is walked.
_SIZE, _CODING, _TILE_PART = b"\xff\x51", b"\xff\x52", b"\xff\x90"


class OtherCodestream(BrokenFile):
    """A compressed frame is of another size than the header says, or has no end."""

    said = "has compressed pixels that are cut short, or of another size than the header says"


class Lossy(ValueError):
    """A frame says itself that it was compressed with loss."""


def check_codestreams(ds: Dataset, frames: Collection[int] | None = None) -> None:
    """Look at the `frames`, counted from 0, of a compressed image; at all where that is None.

    Nothing is decoded. Raises OtherCodestream unless each is of the header's rows, columns and
    samples and whole, and unless there are as many as the header says; Lossy; and what pydicom
    raises where fragments make no frames.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    check = (
        _check_jpeg
        if syntax in JPEG_LOSSLESS | JPEG_LS
        else _check_jpeg_2000
        if syntax in JPEG_2000
        else _check_rle
        if syntax == RLELossless
        else None
    )
    if check is None:
        return
    rows, columns, samples = int(ds.Rows), int(ds.Columns), int(ds.SamplesPerPixel)
    offsets = None
    if "ExtendedOffsetTable" in ds:
        offsets = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    count, found = int(ds.get("NumberOfFrames") or 1), 0
    for frame in generate_frames(ds.PixelData, number_of_frames=count, extended_offsets=offsets):
        if frames is None or found in frames:
            check(frame, rows, columns, samples)
        found += 1
    if found < count:
        raise OtherCodestream


def _check_jpeg(frame: bytes, rows: int, columns: int, samples: int) -> None:
    place, sized = 2, False
    # End of image, and what pads the fragment to an even length.
    if frame[:2] != b"\xff\xd8" or not frame.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
        raise OtherCodestream
    while place + 10 <= len(frame):
        mark, kind, length = struct.unpack_from(">BBH", frame, place)
        if mark != 0xFF:
            break
        if kind == 0xFF:
            # A fill byte: the marker comes behind it.
            place += 1
            continue
        if kind in _FRAME_MARKERS:
            if struct.unpack_from(">HHB", frame, place + 5) != (rows, columns, samples):
                break
            sized, near_lossless = True, kind == 0xF7
        elif kind == _SCAN:
            if not sized:
                break
            if near_lossless:
                _check_near(frame, place)
            return
        place += 2 + length
    raise OtherCodestream


def _check_near(frame: bytes, scan: int) -> None:
    """Raise Lossy where a scan of JPEG-LS may be off by NEAR (ISO 14495-1 C.2.3)."""
    components = frame[scan + 4]
    place = scan + 5 + 2 * components
    if place >= len(frame):
        raise OtherCodestream
    if frame[place] != 0:
        raise Lossy


def _check_jpeg_2000(frame: bytes, rows: int, columns: int, samples: int) -> None:
    # SIZ follows SOC (ISO 15444-1 A.5.1). Some writers leave the boxes of a JP2 file in front.
    begin = frame.find(b"\xff\x4f" + _SIZE, 0, 4096)
    if begin < 0 or len(frame) < begin + 42:
        raise OtherCodestream
    right, bottom, left, top = struct.unpack_from(">4I", frame, begin + 8)
    (components,) = struct.unpack_from(">H", frame, begin + 40)
    if (bottom - top, right - left, components) != (rows, columns, samples):
        raise OtherCodestream
    place, coded = begin + 2, False
    while place + 12 <= len(frame):
        kind = frame[place : place + 2]
        if kind == _TILE_PART:
            break
        if kind == _CODING:
            coded = True
            _check_reversible(frame, place)
        place += 2 + struct.unpack_from(">H", frame, place + 2)[0]
    if not coded:
        raise OtherCodestream
    _check_tile_parts(frame, place)


def _check_reversible(frame: bytes, coding: int) -> None:
    """Raise Lossy for the wavelet that cannot be undone (ISO 15444-1 table A.20: 1 can)."""
    if coding + 13 >= len(frame):
        raise OtherCodestream
    if frame[coding + 13] != 1:
        raise Lossy


def _check_tile_parts(frame: bytes, place: int) -> None:
    """Raise OtherCodestream where the frame ends before its last tile-part (ISO 15444-1 A.4.2)."""
    while frame[place : place + 2] == _TILE_PART and place + 12 <= len(frame):
        (length,) = struct.unpack_from(">I", frame, place + 6)
        # The last one may say 0: until the end of the codestream.
        if length == 0:
            place = frame.rfind(b"\xff\xd9")
            break
        place += max(length, 12)
    if place < 0 or frame[place : place + 2] != b"\xff\xd9":
        raise OtherCodestream


def _check_rle(frame: bytes, rows: int, columns: int, samples: int) -> None:
    """Segments of bytes (PS3.5 annex G), each as long as the image: count what each unpacks to."""
    if len(frame) < 64:
        raise OtherCodestream
    header = struct.unpack_from("<16I", frame)
    segments, starts = header[0], header[1:]
    if not 1 <= segments <= 15 or segments % samples:
        raise OtherCodestream
    ends = [*starts[1:segments], len(frame)]
    for start, end in zip(starts[:segments], ends, strict=True):
        if not 64 <= start <= end <= len(frame):
            raise OtherCodestream
        # Longer by less than a row or a column is what some writers pad; by more, the rows or the
        # columns are others.
        surplus = _unpacked(frame, start, end) - rows * columns
        if not 0 <= surplus < min(rows, columns):
            raise OtherCodestream


def _unpacked(frame: bytes, place: int, end: int) -> int:
    """Bytes that a segment unpacks to (PS3.5 G.3.2)."""
    count = 0
    while place < end:
        control = frame[place]
        if control < 128:
            # Literal bytes, as many of them as there are.
            count += min(control + 1, end - place - 1)
            place += control + 2
        else:
            if control > 128 and place + 1 < end:
                count += 257 - control
            place += 2 if control > 128 else 1
    return count
