"""A stored result as a parsed data set, once it is known what that takes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.filereader import read_dataset

from messages.part10 import PLAIN, transfer_syntax
from web.orthanc.errors import TooLargeResult, UnreadableResult
from web.orthanc.structure import structure_of
from web.orthanc.time_budget import seconds_left

#: Pixels of a frame: 4096 x 4096. An MR image has 1024 x 1024 at most.
MAX_FRAME_PIXELS = 4096 * 4096

#: By bits that a pixel of a SEG takes: BINARY, FRACTIONAL and LABELMAP (PS3.3 section C.8.20.2).
_TYPES: dict[int, type[np.unsignedinteger[Any]]] = {8: np.uint8, 16: np.uint16}


@dataclass(frozen=True)
class StoredFile:
    """A stored object."""

    #: Without its pixels.
    head: Any
    pixels: memoryview

    def size(self) -> tuple[int, int]:
        """Rows and columns that it states; raises `UnreadableResult`."""
        return _whole(self.head, "Rows"), _whole(self.head, "Columns")

    def frames(self) -> Iterator[NDArray[np.bool_]]:
        """What each frame marks (rows, columns), one after the other: all would be much memory.

        Raises `TooLargeResult`, `UnreadableResult` where the pixels are not what the object says,
        and `ArchiveUnavailable` where the time of the page is over.
        """
        rows, columns = self.size()
        count, bits = _whole(self.head, "NumberOfFrames"), _whole(self.head, "BitsAllocated")
        if rows * columns > MAX_FRAME_PIXELS:
            raise TooLargeResult("a frame of the segmentation has too many pixels")
        if self.head.get("SamplesPerPixel", 1) != 1 or (bits != 1 and bits not in _TYPES):
            raise UnreadableResult("the segmentation has pixels of another kind")
        if rows * columns * count * bits > len(self.pixels) * 8:
            raise UnreadableResult("the segmentation has fewer pixels than it says")
        for place in range(count):
            seconds_left()
            yield self._frame(place * rows * columns, rows * columns, bits).reshape(rows, columns)

    def _frame(self, first: int, count: int, bits: int) -> NDArray[np.bool_]:
        if bits != 1:
            values = np.frombuffer(self.pixels, _TYPES[bits], count, first * (bits // 8))
            return np.asarray(values > 0)
        # Frames begin within a byte (PS3.5 section 8.1.1). Not pydicom's iterator: it takes too few
        # bytes for some of them (3.0).
        packed = np.frombuffer(self.pixels[first // 8 : (first + count + 7) // 8], np.uint8)
        return np.unpackbits(packed, bitorder="little")[first % 8 :][:count].view(np.bool_)


def stored_file(file: bytes) -> StoredFile:
    """Parse a file in a plain transfer syntax; raises `TooLargeResult` and `UnreadableResult`.

    The parser sees the data set alone: it would go by whichever transfer syntax it finds in the
    meta information, and inflate.
    """
    if transfer_syntax(file) not in PLAIN:
        raise UnreadableResult("the object is compressed, or no DICOM")
    found = structure_of(file)
    if found.encapsulated:
        raise UnreadableResult("the object is compressed, and does not say so")
    try:
        head = read_dataset(
            io.BytesIO(file[found.start : found.end]), found.is_implicit, is_little_endian=True
        )
    except Exception as exc:  # noqa: BLE001 - anybody's object may break the parser in any way
        # Its text may quote what it read.
        raise UnreadableResult(f"the object cannot be read: {type(exc).__name__}") from None
    begin, end = found.pixels or (0, 0)
    return StoredFile(head, memoryview(file)[begin:end])


class Stated(NamedTuple):
    """What an object says that it is."""

    #: SOP, Series and Study Instance UID.
    names: tuple[str, str, str]
    #: SOP Class UID.
    kind: str


def stated(head: Any) -> Stated:
    """What an object says that it is; raises `UnreadableResult` where it does not."""
    try:
        names = (head.SOPInstanceUID, head.SeriesInstanceUID, head.StudyInstanceUID)
        return Stated((str(names[0]), str(names[1]), str(names[2])), str(head.SOPClassUID))
    except Exception as exc:  # noqa: BLE001 - as above
        raise UnreadableResult(f"the object cannot be read: {type(exc).__name__}") from None


def _whole(head: Any, keyword: str) -> int:
    """A positive whole number that the object states."""
    try:
        number = int(head.get(keyword) or 0)
    except Exception:  # noqa: BLE001 - as above
        number = 0
    if number < 1:
        raise UnreadableResult(f"the segmentation states no {keyword}")
    return number
