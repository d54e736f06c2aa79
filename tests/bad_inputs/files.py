"""Files that are none, or that break off, nest, repeat or inflate without an end."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from messages.failures import FailureCode
from tests.bad_inputs.study import (
    BadInput,
    Phase,
    Study,
    each,
    real,
    rewritten,
    series,
    setting,
    study_of,
)
from tests.dicom_factory import part10
from tests.enhanced_factory import enhanced

UNREADABLE, TOO_LARGE = FailureCode.UNREADABLE_DICOM, FailureCode.TOO_LARGE
UNSUPPORTED = FailureCode.UNSUPPORTED_IMAGE


def always(data: bytes):
    """A study of which each file is these bytes."""
    return rewritten(lambda _: data)


def _meta(syntax: str) -> bytes:
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    element = struct.pack("<HH2sH", 2, 0x10, b"UI", len(value)) + value
    group = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(element))
    return b"\0" * 128 + b"DICM" + group + element


def _body(data: bytes) -> bytes:
    """The data set of a file of ours: behind the preamble, the letters and group 2."""
    (length,) = struct.unpack_from("<I", data, 140)
    return data[144 + length :]


def _inserted(make):
    """Put bytes behind the meta information, where the data set begins."""

    def change(data: bytes) -> bytes:
        return data[: len(data) - len(_body(data))] + make + _body(data)

    return change


def bomb(inflated: int):
    """A deflated file that becomes `inflated` bytes: zeros in a private element."""

    def change(_: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        head = packer.compress(struct.pack("<HH2sHI", 9, 0x1001, b"OB", 0, inflated))
        head += packer.flush(zlib.Z_FULL_FLUSH)
        # After a full flush nothing refers to what was before: the same bytes may be repeated.
        zeros = packer.compress(b"\0" * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
        body = head + zeros * (inflated // 2**20) + packer.flush()
        return _meta(DeflatedExplicitVRLittleEndian) + body

    return rewritten(change, lambda: study_of(("pre", series(slices=1))))


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(_body(data)) + packer.flush()
    return _meta(DeflatedExplicitVRLittleEndian) + packed[: len(packed) // 2]


_SEQUENCE = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
_EMPTY_ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def _explicit_nest(depth: int) -> bytes:
    """Sequences of stated length in each other: none is parsed before it is asked for."""
    inner = b""
    for _ in range(depth):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        inner = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, len(item)) + item
    return inner


def _cut(share: float):
    return rewritten(lambda data: data[: int(len(data) * share)])


def _length(offset_of: bytes, length: int):
    """Overwrite the four-byte length of the element that begins with these bytes."""

    def change(data: bytes) -> bytes:
        place = data.index(offset_of) + 8
        return data[:place] + struct.pack("<I", length) + data[place + 4 :]

    return rewritten(change)


_PIXELS = struct.pack("<HH2s", 0x7FE0, 0x10, b"OW")


def _no_syntax(data: bytes) -> bytes:
    ds = dcmread(BytesIO(data))
    del ds.file_meta.TransferSyntaxUID
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=False, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


def _syntax(uid: str):
    return rewritten(lambda data: _meta(uid) + _body(data))


def _many_groups(tag: int):
    """Enhanced MR of which one sequence of stated length has 300 000 items with nothing in them."""
    begin = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, 8 * 300_000)

    def change(data: bytes) -> bytes:
        place = data.index(begin[:8])
        (length,) = struct.unpack_from("<I", data, place + 8)
        return data[:place] + begin + _EMPTY_ITEM * 300_000 + data[place + 12 + length :]

    def build() -> Study:
        made = series()
        return Study(made.study_uid, (Phase("pre", made.series_uid, (part10(enhanced([made])),)),))

    return rewritten(change, build)


def _empty_series() -> Study:
    made = series()
    return Study(made.study_uid, (Phase("pre", made.series_uid, (), asked=4),))


ROWS = (
    BadInput("an empty file", UNREADABLE, always(b"")),
    BadInput("a preamble only", UNREADABLE, always(b"\0" * 128 + b"DICM")),
    BadInput("a preamble without the letters", UNREADABLE, always(b"\0" * 4096)),
    BadInput("text", UNREADABLE, always(b"Planted patient, no image\n" * 100)),
    BadInput("a zip file", UNREADABLE, always(b"PK\x03\x04" + b"\0" * 4000)),
    BadInput("HTML of a proxy", UNREADABLE, always(b"<html>502 Bad Gateway</html>")),
    BadInput("meta information only", UNREADABLE, always(_meta(ExplicitVRLittleEndian))),
    BadInput("no transfer syntax", UNREADABLE, rewritten(_no_syntax)),
    BadInput("implicit read as explicit", UNREADABLE, _syntax("1.2.840.10008.1.2.2")),
    BadInput("a transfer syntax that does not exist", UNSUPPORTED, _syntax("1.2.3.4.5")),
    BadInput("deflated by name only", UNREADABLE, _syntax(DeflatedExplicitVRLittleEndian)),
    *(BadInput(f"cut at {share:.0%}", UNREADABLE, _cut(share)) for share in (0.3, 0.62, 0.9)),
    BadInput("cut in the last byte", UNREADABLE, rewritten(lambda data: data[:-1])),
    BadInput("a length beyond the end", UNREADABLE, _length(_PIXELS, 0x7FFFFFFE)),
    BadInput("a length with no end", UNREADABLE, _length(_PIXELS, 0xFFFFFFFF)),
    BadInput("an odd, short length", UNREADABLE, _length(_PIXELS, 33)),
    BadInput("a deflate bomb", TOO_LARGE, bomb(1100 * 2**20)),
    BadInput("a deflated file cut in two", UNREADABLE, rewritten(_deflated)),
    BadInput(
        "sequences 5000 deep, without lengths",
        UNREADABLE,
        rewritten(_inserted((_SEQUENCE + _ITEM) * 5000)),
    ),
    BadInput(
        "a sequence with no end", UNREADABLE, rewritten(_inserted(_SEQUENCE + _EMPTY_ITEM * 10))
    ),
    BadInput(
        "600 000 items",
        TOO_LARGE,
        rewritten(_inserted(_SEQUENCE + _EMPTY_ITEM * 600_000 + _END)),
    ),
    BadInput(
        "600 000 elements",
        TOO_LARGE,
        rewritten(_inserted(struct.pack("<HH2sH", 9, 0x1001, b"LO", 0) * 600_000)),
    ),
    BadInput(
        "300 000 functional groups of stated length in 4 frames",
        UNREADABLE,
        _many_groups(0x52009230),
    ),
    BadInput(
        "300 000 shared functional groups of stated length", UNREADABLE, _many_groups(0x52009229)
    ),
    BadInput("no instance at all", FailureCode.SERIES_CHANGED, _empty_series),
    BadInput(
        "a real file cut short", UNREADABLE, rewritten(lambda d: d[:-2000], real("MR_small.dcm"))
    ),
    BadInput(
        "a real big-endian file called little",
        UNREADABLE,
        rewritten(
            lambda data: data.replace(b"1.2.840.10008.1.2.2\0", b"1.2.840.10008.1.2.1\0"),
            real("MR_small_bigendian.dcm"),
        ),
    ),
)

#: Odd, and no reason to refuse: what is strange about them is not used.
HARMLESS = {
    "a program in front": rewritten(lambda data: b"MZ\x90\0".ljust(128, b"\xcc") + data[128:]),
    "an ELF file in front": rewritten(lambda data: b"\x7fELF".ljust(128, b"\0") + data[128:]),
    "a TIFF in front": rewritten(lambda data: b"II*\0\x08\0\0\0".ljust(128, b"\1") + data[128:]),
    "bytes behind the pixels": rewritten(lambda data: data + b"\0" * 5000),
    "sequences 5000 deep, with lengths": rewritten(_inserted(_explicit_nest(5000))),
    "private elements of no known VR": rewritten(
        _inserted(struct.pack("<HH2sH", 9, 0x1001, b"ZZ", 4) + b"odd!")
    ),
    "a character set that does not exist": each(setting(SpecificCharacterSet="ISO_IR 9999")),
    "a name in no character set": each(
        lambda ds: ds.add_new(0x00081030, "LO", b"\xff\xfe\xfd".decode("latin-1"))
    ),
}
