"""Objects that a lab may store, and that are small until somebody reads them."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from pydicom import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.pixels import pack_bits
from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    SegmentationStorage,
    generate_uid,
)

from tests.dicom_factory import Series

#: An item of no length (PS3.5 section 7.5).
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)

#: The sequence of a report's content, and of a SEG's frames.
CONTENT, PER_FRAME = (0x0040, 0xA730), (0x5200, 0x9230)


def segmentation(series: Series, masks: np.ndarray | None = None, **changes: Any) -> Dataset:
    """A BINARY SEG of a series, a frame for each slice; without `masks` it has no pixels yet."""
    source = series.datasets[0]
    seg = Dataset()
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID"):
        setattr(seg, keyword, source[keyword].value)
    seg.SOPClassUID, seg.Modality = SegmentationStorage, "SEG"
    seg.SeriesInstanceUID, seg.SOPInstanceUID = generate_uid(), generate_uid()
    seg.SamplesPerPixel, seg.PhotometricInterpretation = 1, "MONOCHROME2"
    seg.BitsAllocated = seg.BitsStored = 1
    seg.HighBit = seg.PixelRepresentation = 0
    seg.Rows, seg.Columns = source.Rows, source.Columns
    seg.NumberOfFrames = len(series.datasets)
    seg.PerFrameFunctionalGroupsSequence = [_group(one) for one in series.datasets]
    if masks is not None:
        seg.PixelData = pack_bits(masks.astype(np.uint8))
        seg["PixelData"].VR = "OB"
    for keyword, value in changes.items():
        setattr(seg, keyword, value)
    return seg


def _group(image: Dataset) -> Dataset:
    group, derivation, source = Dataset(), Dataset(), Dataset()
    source.ReferencedSOPClassUID = image.SOPClassUID
    source.ReferencedSOPInstanceUID = image.SOPInstanceUID
    derivation.SourceImageSequence = [source]
    group.DerivationImageSequence = [derivation]
    return group


def report(series: Series, series_uid: str, uid: str) -> Dataset:
    """A report with nothing in it, under these UIDs."""
    source = series.datasets[0]
    made = Dataset()
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID"):
        setattr(made, keyword, source[keyword].value)
    made.SOPClassUID, made.Modality = ComprehensiveSRStorage, "SR"
    made.SeriesInstanceUID, made.SOPInstanceUID = series_uid, uid
    return made


def file_of(made: Dataset, *tails: bytes, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """A Part 10 file with `tails` behind its elements; in the deflated syntax it is deflated."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        made.SOPClassUID,
        made.SOPInstanceUID,
    )
    meta.TransferSyntaxUID = syntax
    head, body = BytesIO(), DicomBytesIO()
    write_file_meta_info(head, meta, enforce_standard=True)
    body.is_implicit_VR, body.is_little_endian = False, True
    write_dataset(body, made)
    parts = [body.getvalue(), *tails]
    if syntax == DeflatedExplicitVRLittleEndian:
        squeezing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        parts = [*(squeezing.compress(part) for part in parts), squeezing.flush()]
    return b"".join((b"\0" * 128 + b"DICM", head.getvalue(), *parts))


def zeros(length: int) -> tuple[bytes, ...]:
    """Pixel Data of that many bytes, in pieces."""
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, length)
    piece = bytes(1024 * 1024)
    return (head, *[piece] * (length // len(piece)), bytes(length % len(piece)))


def sequence(tag: tuple[int, int], items: bytes) -> bytes:
    """A sequence of a defined length."""
    return struct.pack("<HH2sHI", *tag, b"SQ", 0, len(items)) + items


def item(body: bytes) -> bytes:
    """An item of a defined length."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def crowded_items(items: int, elements: int) -> bytes:
    """Items with so many small elements each, which are nobody's."""
    body = b"".join(
        struct.pack("<HH2sH", 0x0009 + 2 * (n // 0xF000), 0x1000 + n % 0xF000, b"SH", 0)
        for n in range(elements)
    )
    return item(body) * items


def nested(tag: tuple[int, int], depth: int) -> bytes:
    """A sequence in a sequence in a sequence, each open until its end is said."""
    begin = struct.pack("<HH2sHI", *tag, b"SQ", 0, 0xFFFFFFFF)
    begin += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return begin * depth + end * depth


def values(tag: tuple[int, int], count: int) -> bytes:
    """An element of that many values, each of no length."""
    count += count % 2
    return struct.pack("<HH2sHI", *tag, b"UC", 0, count) + b"\\" * count


def rle_zeros(frames: int, rows: int, columns: int) -> bytes:
    """Pixel Data of frames of 8 bits in which nothing is marked, run by run (PS3.5 annex G)."""
    frame = struct.pack("<16I", 1, 64, *14 * [0]) + b"\x81\0" * (rows * columns // 128)
    begin = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    return begin + encapsulate([frame] * frames) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
