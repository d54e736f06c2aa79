"""What a compressed frame says of itself, before a decoder believes it.

A decoder takes sizes and ends from the frame, and pydicom compares little afterwards: half a
JPEG-LS frame became an image with rows of nothing, and one that called itself 65535 x 65535 kept
the decoder busy for minutes.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

from consumer.dicom.attributes import BrokenFile
from consumer.dicom.syntaxes import JPEG_2000, JPEG_LOSSLESS, JPEG_LS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from pydicom import Dataset

#: Markers that begin a frame of JPEG (ISO 10918-1 table B.1: SOF, without DHT, JPG and DAC) and
#: of JPEG-LS (ISO 14495-1 C.1.1: SOF55).
_LS_FRAME = 0xF7
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), _LS_FRAME}) - {0xC4, 0xC8, 0xCC}

#: Of JPEG and JPEG-LS: start of a scan, its number of lines where the frame left that open (ISO
#: 10918-1 B.2.5), and the end of the image.
_SCAN, _LINES, _END = 0xDA, 0xDC, 0xD9

#: Markers without a segment (ISO 10918-1 B.1.1.4), of which none may follow here: TEM, restarts
#: outside of a scan, and the beginning of another image.
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})

#: Where the entropy-coded bytes of a scan end: the first marker that is no restart. In JPEG an FF
#: of the data is followed by 00 (ISO 10918-1 F.1.2.3), in JPEG-LS by a byte below 80 (ISO 14495-1
#: A.1); FF FF is a fill byte before a marker. Two bytes each: a search never goes back.
_BEHIND_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_BEHIND_LS_SCAN = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")

#: Bytes that no data end with by chance, and none of them FF, which begins a marker.
_MORE = bytes(7 * n * n % 251 for n in range(64))

#: Behind the fill bytes of a marker.
_NO_FILL = re.compile(rb"[^\xff]")

#: Segments of a frame that are walked: images have about ten, and hundreds with a colour profile.
#: It bounds the work; the search behind a scan is C.
_MOST_SEGMENTS = 4096

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


def lengthened(frame: bytes) -> bytes:
    """A frame of JPEG with bytes behind the data of its last scan; raises OtherCodestream.

    A decoder that has all samples stops, so the image stays the same. Of a frame that was cut and
    closed it would become another one.
    """
    end, scanned = 0, False
    for kind, place, _ in _segments(frame):
        end = place if scanned else end
        scanned = kind == _SCAN
    return frame[:end].rstrip(b"\xff") + _MORE + frame[end:]


def _check_jpeg(frame: bytes, rows: int, columns: int, samples: int) -> None:
    """Walk a frame of JPEG or JPEG-LS from marker to marker to its end of image.

    What comes behind that is no part of the image, whatever it is and however long: a fragment is
    made even by a byte that writers choose (Orthanc: of any value), some pad to a block, and no
    decoder reads on. So nothing is gained by a limit: the bytes of a series have one.
    """
    lines, begun, scanned = 0, 0, False
    for kind, place, length in _segments(frame):
        if kind in _FRAME_MARKERS:
            # A second one would be another image, or a part of one (ISO 10918-1 annex J).
            if begun or length < 8:
                raise OtherCodestream
            begun = kind
            lines, *others = struct.unpack_from(">HHB", frame, place + 5)
            # 0 lines: they are said behind the first scan.
            if others != [columns, samples] or lines not in {rows, 0}:
                raise OtherCodestream
        elif kind == _LINES and scanned and length == 4:
            (lines,) = struct.unpack_from(">H", frame, place + 4)
        elif kind == _SCAN:
            if not begun:
                raise OtherCodestream
            scanned = True
            if begun == _LS_FRAME:
                _check_near(frame, place)
    if not scanned or lines != rows:
        raise OtherCodestream


def _segments(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, place and length of each segment of JPEG, with the end of image as the last one.

    The data of scans are passed over. Raises OtherCodestream where the frame ends before, or
    begins a segment that it does not hold.
    """
    place, behind_scan = 2, _BEHIND_SCAN
    if frame[:2] != b"\xff\xd8":
        raise OtherCodestream
    for _ in range(_MOST_SEGMENTS):
        place, kind = _marker(frame, place)
        if kind == _END:
            yield kind, place, 0
            return
        if kind in _BARE or place + 4 > len(frame):
            break
        (length,) = struct.unpack_from(">H", frame, place + 2)
        if length < 2 or place + 2 + length > len(frame):
            break
        yield kind, place, length
        place += 2 + length
        if kind == _LS_FRAME:
            behind_scan = _BEHIND_LS_SCAN
        elif kind == _SCAN:
            behind = behind_scan.search(frame, place)
            if behind is None:
                break
            place = behind.start()
    raise OtherCodestream


def _marker(frame: bytes, place: int) -> tuple[int, int]:
    """The place of the marker that begins here and its second byte; fill bytes may come first."""
    if frame[place : place + 1] != b"\xff":
        raise OtherCodestream
    kind = _NO_FILL.search(frame, place)
    if kind is None:
        raise OtherCodestream
    return kind.start() - 1, frame[kind.start()]


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
        # The last one may say 0: until the end of the codestream, which its data never look like
        # (ISO 15444-1 A.1: none above FF 8F). What pads the frame may.
        if length == 0:
            place = frame.find(b"\xff\xd9", place + 12)
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
