"""Changes to a Part 10 file that know where its elements lie."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from random import Random

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

_SYNTAXES = (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.20",
    "9.9.9",
)

#: Values that numbers, texts and UIDs are often not ready for.
_VALUES = (
    b"",
    b"0",
    b"-1",
    b"NaN",
    b"1e999",
    b"-inf",
    b"1e-320",
    b"1\\2",
    b"Planted",
    b"\\\\\\\\",
    b"\xff" * 8,
    b"\0" * 8,
    b"99999999999999999999",
    "٣".encode(),
    b"%s%n" * 4,
    b"ISO 2022 IR 87\\ISO 2022 IR 149",
    b"1.2.840.10008.5.1.4.1.1.4.1",
    b"1.2.840.10008.5.1.4.1.1.66.4",
)

_LENGTHS = (0, 1, 3, 7, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)
_VRS = (b"SQ", b"UN", b"OB", b"OW", b"DS", b"US", b"UI", b"UT", b"AT", b"ZZ", b"\0\0", b"FD")
_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")


@dataclass(frozen=True)
class Place:
    """Where an element lies in a file: its tag, its value, and the bytes of its length field."""

    start: int
    value: int
    end: int
    explicit: bool
    little: bool

    @property
    def length_field(self) -> tuple[int, str]:
        """Offset and layout."""
        order = "<" if self.little else ">"
        if self.explicit and self.value - self.start == 8:
            return self.value - 2, order + "H"
        return self.value - 4, order + "I"


def places(data: bytes) -> list[Place]:
    """The elements of the data set that have a length; none where pydicom cannot tell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = dcmread(BytesIO(data))
    except Exception:  # noqa: BLE001 - a file that was changed before
        return []
    implicit, little = ds.original_encoding
    syntax = ds.file_meta.get("TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        return []
    found = []
    for element in ds._dict.values():
        if not isinstance(element, RawDataElement) or element.length == 0xFFFFFFFF:
            continue
        vr = (element.VR or "").encode()
        head = 12 if not implicit and vr in _LONG_VRS else 8
        value = element.value_tell
        found.append(Place(value - head, value, value + element.length, not implicit, bool(little)))
    return found


def _some(random: Random, data: bytes) -> Place | None:
    found = places(data)
    return random.choice(found) if found else None


def flip(random: Random, data: bytes) -> bytes:
    """Turn a few bits, most of them where the header is."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 16)):
        place = random.randrange(min(len(data), 2000) if random.random() < 0.7 else len(data))
        changed[place] ^= 1 << random.randrange(8)
    return bytes(changed)


def cut(random: Random, data: bytes) -> bytes:
    """Let the file end somewhere."""
    return data[: random.randrange(1, len(data))]


def overwrite(random: Random, data: bytes) -> bytes:
    """Put noise, zeros or ones over a piece."""
    place, length = random.randrange(len(data)), random.randint(1, 200)
    piece = random.choice((random.randbytes(length), b"\0" * length, b"\xff" * length))
    return data[:place] + piece + data[place + length :]


def revalue(random: Random, data: bytes) -> bytes:
    """Give an element another value; its length goes with it, or not."""
    at = _some(random, data)
    if at is None:
        return flip(random, data)
    value = random.choice(_VALUES) * random.choice((1, 1, 1, 500))
    value += b" " * (len(value) % 2)
    where, layout = at.length_field
    changed = bytearray(data[: at.value])
    if random.random() < 0.8:
        struct.pack_into(layout, changed, where, min(len(value), 0xFFFE))
        value = value[:0xFFFE]
    return bytes(changed) + value + data[at.end :]


def number(random: Random, data: bytes) -> bytes:
    """Write another number into two or four bytes of an element: sizes, bits, frames."""
    at = _some(random, data)
    if at is None or at.end - at.value not in (2, 4):
        return revalue(random, data)
    layout = ("<" if at.little else ">") + ("H" if at.end - at.value == 2 else "I")
    high = 0xFFFF if at.end - at.value == 2 else 0xFFFFFFFF
    packed = struct.pack(layout, random.choice((0, 1, 2, 3, 7, 9, 17, 255, high - 1, high)))
    return data[: at.value] + packed + data[at.end :]


def relength(random: Random, data: bytes) -> bytes:
    """Let a length lie."""
    at = _some(random, data)
    if at is None:
        return cut(random, data)
    where, layout = at.length_field
    length = random.choice((*_LENGTHS, at.end - at.value + random.choice((-2, -1, 1, 2))))
    changed = bytearray(data)
    struct.pack_into(layout, changed, where, length & (0xFFFF if layout[1] == "H" else 0xFFFFFFFF))
    return bytes(changed)


def retype(random: Random, data: bytes) -> bytes:
    """Give an element another VR."""
    at = _some(random, data)
    if at is None or not at.explicit:
        return flip(random, data)
    return data[: at.start + 4] + random.choice(_VRS) + data[at.start + 6 :]


def retag(random: Random, data: bytes) -> bytes:
    """Give an element another tag, of a delimiter among others."""
    at = _some(random, data)
    if at is None:
        return flip(random, data)
    group, element = random.choice(
        ((0xFFFE, 0xE0DD), (0xFFFE, 0xE000), (0x7FE0, 0x10), (8, 5), (2, 0x10), (9, 0x1001))
    )
    packed = struct.pack("<HH" if at.little else ">HH", group, element)
    return data[: at.start] + packed + data[at.start + 4 :]


def drop(random: Random, data: bytes) -> bytes:
    """Leave an element out."""
    at = _some(random, data)
    return cut(random, data) if at is None else data[: at.start] + data[at.end :]


def double(random: Random, data: bytes) -> bytes:
    """Write an element twice, or a thousand times."""
    at = _some(random, data)
    if at is None or at.end - at.start > 1000:
        return flip(random, data)
    again = data[at.start : at.end] * random.choice((1, 1, 1000))
    return data[: at.end] + again + data[at.end :]


def swap(random: Random, data: bytes) -> bytes:
    """Change the order of two elements."""
    found = places(data)
    if len(found) < 2:
        return flip(random, data)
    one, other = sorted(random.sample(found, 2), key=lambda at: at.start)
    if one.end > other.start:
        return flip(random, data)
    return b"".join(
        (
            data[: one.start],
            data[other.start : other.end],
            data[one.end : other.start],
            data[one.start : one.end],
            data[other.end :],
        )
    )


def nest(random: Random, data: bytes) -> bytes:
    """Put sequences into each other in front of an element, with an end or without."""
    at = _some(random, data)
    if at is None:
        return flip(random, data)
    depth = random.choice((1, 5, 60, 400, 3000))
    order = "<" if at.little else ">"
    vr = b"SQ\0\0" if at.explicit else b""
    begin = struct.pack(order + "HH", 8, 0x1140) + vr + struct.pack(order + "I", 0xFFFFFFFF)
    item = struct.pack(order + "HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    ends = struct.pack(order + "HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    closed = ends * depth if random.random() < 0.5 else b""
    return data[: at.start] + (begin + item) * depth + closed + data[at.start :]


def resyntax(random: Random, data: bytes) -> bytes:
    """Say another transfer syntax than the file is in."""
    place = data.find(b"\x02\0\x10\0UI")
    if place < 0:
        return flip(random, data)
    (length,) = struct.unpack_from("<H", data, place + 6)
    uid = str(random.choice(_SYNTAXES)).encode()
    uid += b"\0" * (len(uid) % 2)
    head = data[: place + 6] + struct.pack("<H", len(uid))
    return head + uid + data[place + 8 + length :]


MUTATIONS: tuple[Callable[[Random, bytes], bytes], ...] = (
    flip,
    cut,
    overwrite,
    revalue,
    number,
    number,
    relength,
    retype,
    retag,
    drop,
    double,
    swap,
    nest,
    resyntax,
)
