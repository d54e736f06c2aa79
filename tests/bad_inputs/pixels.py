"""Compressed pixels that no decoder can or should take."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    MPEG2MPML,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from messages.failures import FailureCode
from tests.bad_inputs.study import BadInput, each, real, setting

UNREADABLE = FailureCode.UNREADABLE_DICOM

_SYNTAXES = {
    "RLE": RLELossless,
    "JPEG": JPEGBaseline8Bit,
    "JPEG lossless": JPEGLosslessSV1,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
    "MPEG-2": MPEG2MPML,
}

#: Not taken whatever the codestream is.
_REFUSED = {
    "MPEG-2": FailureCode.UNSUPPORTED_IMAGE,
    "JPEG": FailureCode.UNSUPPORTED_IMAGE,
}

#: How a codestream of each kind begins.
_BEGINS = {
    "RLE": struct.pack("<16I", 2, 64, 70, *[0] * 13),
    "JPEG": b"\xff\xd8\xff\xdb",
    "JPEG lossless": b"\xff\xd8\xff\xc3",
    "JPEG-LS": b"\xff\xd8\xff\xf7",
    "JPEG 2000": b"\xff\x4f\xff\x51",
    "MPEG-2": b"\0\0\1\xb3",
}


def _encapsulated(syntax: str, frames: list[bytes]) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate(frames)
        ds["PixelData"].VR = "OB"

    return change


def _noise(begin: bytes) -> bytes:
    return begin + random.Random(4711).randbytes(3000)


def _frame(change: Callable[[bytes], bytes]) -> Callable[[Dataset], None]:
    """Change what is compressed in a real file, frame by frame."""

    def of(ds: Dataset) -> None:
        frames = generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1))
        ds.PixelData = encapsulate([change(frame) for frame in frames])

    return of


def _sized(marker: bytes, offset: int, layout: str, *sizes: int) -> Callable[[bytes], bytes]:
    """Write other sizes behind a marker of a codestream."""

    def change(frame: bytes) -> bytes:
        place = frame.index(marker) + offset
        packed = struct.pack(layout, *sizes)
        return frame[:place] + packed + frame[place + len(packed) :]

    return change


def _closed(share: float) -> Callable[[bytes], bytes]:
    """Cut a codestream, and let it end as a whole one does."""
    return lambda frame: frame[: int(len(frame) * share)] + b"\xff\xd9"


_COMPRESSED = ("MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm")

ROWS = (
    *(
        BadInput(
            f"noise called {name}",
            _REFUSED.get(name, UNREADABLE),
            each(_encapsulated(syntax, [_noise(_BEGINS[name])])),
        )
        for name, syntax in _SYNTAXES.items()
    ),
    *(
        BadInput(
            f"an empty fragment of {name}",
            _REFUSED.get(name, UNREADABLE),
            each(_encapsulated(syntax, [b"\0\0"])),
        )
        for name, syntax in _SYNTAXES.items()
    ),
    *(
        BadInput(
            f"half a frame in {name}", UNREADABLE, real(name, _frame(lambda f: f[: len(f) // 2]))
        )
        for name in _COMPRESSED
    ),
    *(
        BadInput(
            f"a frame cut at {share:.0%} and closed in {name}",
            UNREADABLE,
            real(name, _frame(_closed(share))),
        )
        for name in _COMPRESSED[1:]
        for share in (0.5, 0.99)
    ),
    *(
        BadInput(
            f"65535 rows and columns in {name}",
            UNREADABLE,
            real(name, setting(Rows=65535, Columns=65535)),
        )
        for name in _COMPRESSED
    ),
    *(
        BadInput(f"other rows in {name}", UNREADABLE, real(name, setting(Rows=63)))
        for name in _COMPRESSED
    ),
    BadInput(
        "a JPEG 2000 codestream of 4 thousand million pixels",
        UNREADABLE,
        real(
            "MR_small_jp2klossless.dcm",
            _frame(_sized(b"\xff\x51", 6, ">II", 2**16, 2**16)),
        ),
    ),
    BadInput(
        "a JPEG-LS codestream of 65535 rows",
        UNREADABLE,
        real("MR_small_jpeg_ls_lossless.dcm", _frame(_sized(b"\xff\xf7", 5, ">HH", 65535, 65535))),
    ),
    BadInput(
        "an RLE header with offsets behind the end",
        UNREADABLE,
        real("MR_small_RLE.dcm", _frame(_sized(b"", 0, "<III", 2, 64, 0x7FFFFFFF))),
    ),
    BadInput(
        "an RLE header with 4 thousand million segments",
        UNREADABLE,
        real("MR_small_RLE.dcm", _frame(_sized(b"", 0, "<I", 0xFFFFFFFF))),
    ),
    BadInput(
        "a frame too few in Enhanced MR, without functional groups",
        FailureCode.MISSING_ATTRIBUTE,
        real("emri_small_jpeg_2k_lossless_too_short.dcm"),
    ),
)
