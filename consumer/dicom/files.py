"""One Part 10 file (PS3.10 section 7) from memory, by rules that hold for hostile ones too.

pydicom's own ``dcmread`` inflates a deflated file whatever comes out of it, answers a file that
ends inside an element with less than was there, and counts nothing.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from consumer.dicom.attributes import BrokenFile, count, frames_in
from consumer.dicom.elements import Budget, CutShort, Reading, open_sequences, parsed
from consumer.dicom.enhanced import GROUP_TAGS, MACROS, MULTI_FRAME_CLASSES
from consumer.dicom.philips import frame_tag
from consumer.dicom.syntaxes import NATIVE
from consumer.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.tag import BaseTag

#: Bytes of the largest data set that comes out of a deflated file: 2000 frames of 512 x 512.
INFLATED_BYTES = 1024**3

#: Bytes that the deflated files of one series may become together: seconds of work.
INFLATED_SERIES_BYTES = 4 * 1024**3

#: What says how many bytes of uncompressed pixels there must be.
_SIZES = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")


class NotPart10(BrokenFile):
    """No DICOM file: the four letters at byte 128 are missing."""

    said = "is no DICOM file"


class NoSyntax(BrokenFile):
    """The File Meta Information names no transfer syntax: nothing behind it can be parsed."""

    said = "does not say how it is encoded (TransferSyntaxUID)"


class OtherPixelLength(BrokenFile):
    """Uncompressed pixel data have other bytes than rows, columns and frames ask for."""

    said = "has other bytes of pixels than its rows, columns, bits and frames ask for"


class NotInflated(BrokenFile):
    """A deflated data set that is none (PS3.5 section A.5)."""

    said = "is deflated, and cannot be inflated"


class Inflation:
    """The bytes that the deflated files of one series may still become."""

    def __init__(self) -> None:
        self.left = INFLATED_SERIES_BYTES


def read_file(
    data: bytes,
    *,
    tags: Sequence[str | int] | None = None,
    stop_before_pixels: bool = False,
    inflation: Inflation | None = None,
) -> Dataset:
    """Parse a file; `tags` (keywords or numbers) limits what is kept, None keeps all.

    Files of one series share an `inflation`. Nothing behind the pixel data is read, and nothing of
    the preamble: some 128 bytes there make the file a program or a TIFF as well (CVE-2019-11687).
    That runs nothing here, and a data set from here has none to write. Compressed pixels are not
    looked at: `consumer.dicom.encodings.check_frames` does.

    Raises TooLarge, a BrokenFile, or whatever pydicom raises on bad input: nothing of those may be
    shown, their text may quote a value.
    """
    if data[128:132] != b"DICM":
        raise NotPart10
    budget = Budget()
    meta, start = _meta(data, budget)
    syntax = meta.get("TransferSyntaxUID")
    if not syntax:
        raise NoSyntax
    if syntax == DeflatedExplicitVRLittleEndian:
        data, start = _inflated(memoryview(data)[start:], inflation or Inflation()), 0
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    found = parsed(
        data,
        start,
        budget,
        implicit=implicit,
        little=little,
        tags=[Tag(tag) for tag in tags] if tags else None,
        stop_before_pixels=stop_before_pixels,
    )
    ds = FileDataset(BytesIO(), found, None, meta, implicit, little)
    ds.set_original_encoding(*found.original_encoding, found._character_set)  # noqa: SLF001
    if ds.get("SOPClassUID") in MULTI_FRAME_CLASSES:
        _open_groups(ds, budget)
    if syntax in NATIVE:
        _check_pixel_length(ds)
    return ds


def _open_groups(ds: Dataset, budget: Budget) -> None:
    """Parse the functional groups that are read later, as long as they are what they must be.

    One item for all frames, one for each frame, and in those one of each group (PS3.3 C.7.6.16).
    """
    for keyword, most in zip(GROUP_TAGS, (1, frames_in(ds)), strict=True):
        for item in open_sequences(ds, [Tag(keyword)], budget, most):
            open_sequences(item, MACROS, budget, 1)
            _open_private(item, budget)


def _open_private(group: Dataset, budget: Budget) -> None:
    """The same for what Philips adds to a frame; what cannot be parsed is left out.

    Nothing but a scale is read there, and a file that is read without it stays readable.
    """
    tag = frame_tag(group)
    if tag is None:
        return
    try:
        open_sequences(group, [tag], budget, 1)
    except TooLarge:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad input
        del group[tag]


def _meta(data: bytes, budget: Budget) -> tuple[FileMetaDataset, int]:
    """The File Meta Information and the place behind it: group 2, Explicit VR Little Endian."""
    reading = Reading(data, budget)
    reading.seek(132)

    def behind(tag: BaseTag, vr: str | None, length: int) -> bool:
        return tag >> 16 != 2 or reading.ends_before(tag, vr, length)

    meta = FileMetaDataset(read_dataset(reading, False, True, stop_when=behind))
    return meta, reading.tell()


def _inflated(packed: memoryview, inflation: Inflation) -> bytes:
    """The data set of a deflated file (PS3.5 section A.5).

    A thousandth of the bytes can hold it: without a bound, 4 MB fill the memory. Raises TooLarge,
    CutShort and NotInflated.
    """
    limit = min(INFLATED_BYTES, inflation.left)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    # 0 would be no limit.
    try:
        data = inflater.decompress(packed, max(limit, 1))
    except zlib.error:
        raise NotInflated from None
    if not inflater.eof:
        if len(data) >= limit:
            what = "an instance inflates" if limit == INFLATED_BYTES else "a series inflates"
            raise TooLarge(f"{what} to more than it may: {limit} bytes were left")
        raise CutShort
    inflation.left -= len(data)
    return data


def _check_pixel_length(ds: Dataset) -> None:
    """Raise OtherPixelLength where a volume would be made of shifted or missing rows.

    Only for grey images: of the others, colour may be subsampled, and nobody takes them.
    """
    pixels = ds.get("PixelData")
    if pixels is None or any(ds.get(keyword) is None for keyword in _SIZES):
        return
    rows, columns, samples, bits = (count(ds, keyword) for keyword in _SIZES)
    if samples != 1:
        return
    expected = (rows * columns * frames_in(ds) * bits + 7) // 8
    # An odd number of bytes is made even by one of any value (PS3.5 section 8.1.1). Some writers
    # pad further, with zeros. As long as a row or a column the padding is none: rows and columns
    # may be others, and the rows of an image that ends black would then be shifted.
    padded = max(2, (min(rows, columns) - 1) * bits // 8)
    if not expected <= len(pixels) <= expected + padded:
        raise OtherPixelLength
    if pixels[expected + expected % 2 :].strip(b"\0"):
        raise OtherPixelLength
