"""The stored pixel values of an image, whatever its transfer syntax and bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import RLELossless

from consumer.dicom.attributes import text, whole
from consumer.dicom.codestream import (
    Lossy,
    OtherCodestream,
    check_codestreams,
    lengthened,
)
from consumer.dicom.syntaxes import JPEG_LOSSLESS, JPEG_LS, LOSSY, NATIVE, READ
from consumer.errors import UnsupportedImage
from messages.phases.flaws import PIXEL_KEYWORDS

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from consumer.dicom.enhanced import Image

#: Bytes that the hungriest decoder takes for a pixel: OpenJPEG has two planes of 32 bits and the
#: values that it gives.
_DECODER_BYTES = 16


def check_encoding(head: Dataset, source: Dataset, role: str) -> None:
    """Raise UnsupportedImage unless the pixels are grey, of 8 or 16 bits and without loss.

    Images that were compressed with loss are refused, decompressed again or not: the models
    look at differences between phases, each phase has a compression error of its own, and no
    bundle was tested on such images. MONOCHROME1 is taken as MONOCHROME2 is: it says that the
    lowest value is shown white (PS3.3 C.7.6.3.1.2), not that the values mean something else.
    """
    syntax = source.file_meta.TransferSyntaxUID
    said = str(head.get("LossyImageCompression") or "").strip()
    if said == "01" or syntax in LOSSY:
        raise UnsupportedImage(_with_loss(role))
    if syntax not in READ:
        raise UnsupportedImage(f"the images of {role} have an encoding that no decoder knows")
    kind = text(source, "PhotometricInterpretation")
    if whole(source, "SamplesPerPixel") != 1 or kind not in {"MONOCHROME1", "MONOCHROME2"}:
        raise UnsupportedImage(f"the images of {role} are not grey")
    allocated, stored = whole(source, "BitsAllocated"), whole(source, "BitsStored")
    high = whole(source, "HighBit")
    if allocated not in {8, 16} or not 1 <= stored <= high + 1 <= allocated:
        raise UnsupportedImage(f"the pixels of {role} have {stored} of {allocated} bits")


def check_frames(source: Dataset, frames: Collection[int] | None, role: str) -> None:
    """Look at the codestreams of compressed `frames`, from 0, before a decoder believes them.

    JPEG-LS and JPEG 2000 say themselves whether they lose (NEAR; the wavelet), and that is
    believed more than the syntax or Lossy Image Compression (0028,2110), which may be absent.
    What JPEG 2000 left out by choice, with the wavelet that can be undone, only the latter says.

    Raises UnsupportedImage for a loss, and what `check_codestreams` raises.
    """
    if source.file_meta.TransferSyntaxUID in NATIVE:
        return
    try:
        check_codestreams(source, frames)
    except Lossy:
        raise UnsupportedImage(_with_loss(role)) from None


def _with_loss(role: str) -> str:
    return f"the images of {role} were compressed with loss"


def stored_values(image: Image) -> NDArray[Any]:
    """Stored pixel values (rows, columns) of an image that passed `check_encoding`.

    Uncompressed pixels, which is nearly all of MR, are read without pydicom's decoder: 0.02 s
    instead of 0.24 s for 536 slices of 256 x 256. All else is pydicom's, and so is what it raises.
    """
    ds, frame = image.source, image.frame
    syntax = ds.file_meta.TransferSyntaxUID
    allocated, stored, high = int(ds.BitsAllocated), int(ds.BitsStored), int(ds.HighBit)
    size = allocated // 8
    if syntax in NATIVE:
        values = _uncompressed(ds, NATIVE[syntax], 0 if frame is None else frame - 1)
        values = values.view(np.dtype(f"i{size}" if ds.PixelRepresentation == 1 else f"u{size}"))
    else:
        index = 0 if frame is None else frame - 1
        try:
            values = _decoded(ds, index)
        except RuntimeError:
            # Whatever a decoder meets, pydicom says no more. Where there was no room for its
            # work, that was it: MemoryError here, and otherwise the file.
            np.empty(int(ds.Rows) * int(ds.Columns) * _DECODER_BYTES, np.uint8)
            raise
    if syntax not in NATIVE and syntax != RLELossless:
        # A decoder of JPEG gives values, where these give what lies in memory.
        return values
    # Bits beside the stored ones may hold anything (old overlays); shifting them out and back
    # also extends the sign.
    above, unused = allocated - 1 - high, allocated - stored
    return (values << above) >> unused if unused else values


def _decoded(ds: Dataset, index: int) -> NDArray[Any]:
    """One compressed frame, counted from 0, by pydicom; raises OtherCodestream for a part of one.

    pylibjpeg makes an image of what there is of a frame that was cut and closed. pyjpegls does not.
    For JPEG there is no other decoder: what it makes of more data says whether it had them all.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax not in JPEG_LOSSLESS:
        decoder = "pyjpegls" if syntax in JPEG_LS else ""
    else:
        decoder = "pylibjpeg"
    values: NDArray[Any] = pixel_array(ds, index=index, decoding_plugin=decoder)
    if syntax in JPEG_LOSSLESS and not _had_all_data(ds, index, values):
        raise OtherCodestream
    return values


def _had_all_data(ds: Dataset, index: int, values: NDArray[Any]) -> bool:
    """Whether a frame of JPEG makes the same `values` with more data behind its own."""
    offsets = None
    if "ExtendedOffsetTable" in ds:
        offsets = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    count = int(ds.get("NumberOfFrames") or 1)
    frame = get_frame(ds.PixelData, index, number_of_frames=count, extended_offsets=offsets)
    # What a decoder asks of an image beside its pixels.
    longer = Dataset({ds[name].tag: ds[name] for name in PIXEL_KEYWORDS if name in ds})
    longer.file_meta = ds.file_meta
    longer.add_new("PixelData", "OB", encapsulate([lengthened(frame)]))
    return np.array_equal(values, pixel_array(longer, index=0, decoding_plugin="pylibjpeg"))


def _uncompressed(ds: Dataset, order: str, index: int) -> NDArray[Any]:
    """One frame, counted from 0, as unsigned integers of this machine, (rows, columns)."""
    shape = (int(ds.Rows), int(ds.Columns))
    size, count = int(ds.BitsAllocated) // 8, shape[0] * shape[1]
    data = ds.PixelData
    if size == 1 and order == ">" and ds["PixelData"].VR == "OW":
        # Bytes in words of two, and the words are turned (PS3.5 section 8.1.1).
        data = np.frombuffer(data, dtype=">u2").astype("<u2").tobytes()
    values = np.frombuffer(data, f"{order}u{size}", count=count, offset=index * count * size)
    return values.reshape(shape).astype(f"=u{size}", copy=False)
