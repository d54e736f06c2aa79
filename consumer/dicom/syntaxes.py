"""Transfer syntaxes of images (PS3.5 annex A): which are read, and which lose nothing."""

from __future__ import annotations

from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

#: Uncompressed pixels, with the letter by which numpy names their byte order.
NATIVE = {
    ImplicitVRLittleEndian: "<",
    ExplicitVRLittleEndian: "<",
    DeflatedExplicitVRLittleEndian: "<",
    ExplicitVRBigEndian: ">",
}

#: JPEG of ISO 10918-1 without loss.
JPEG_LOSSLESS = frozenset({JPEGLossless, JPEGLosslessSV1})

#: Always with loss.
LOSSY = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit})

#: JPEG-LS (ISO 14495-1) and JPEG 2000 (ISO 15444-1): the codestream says whether it loses.
JPEG_LS = frozenset({JPEGLSLossless, JPEGLSNearLossless})
JPEG_2000 = frozenset({JPEG2000, JPEG2000Lossless})

#: All that a decoder here knows. High-Throughput JPEG 2000 is not among them: no scanner of MR is
#: known to write it, and no file of it was tried.
READ = frozenset({*NATIVE, RLELossless, *JPEG_LOSSLESS, *LOSSY, *JPEG_LS, *JPEG_2000})
