"""What a Part 10 file is made of, counted before a parser makes objects of it.

A parser keeps some hundred bytes for each element, item and value: of eight bytes in the file, or
of one. So that a file of a hundred MB does not become a hundred GB, it is walked through first, and
nothing is kept of it. What is not well formed is refused here: the parser would guess.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from pydicom.datadict import dictionary_VR

from messages.part10 import LONG_VRS, RESULT_BYTES, data_set_at, transfer_syntax
from web.orthanc.errors import TooLargeResult, UnreadableResult

#: Elements, items and values outside of the pixels, about 650 bytes each in pydicom. A frame of a
#: SEG takes 24: 64 lesions of 250 slices each are 384 000.
MAX_NODES = 400_000

#: Sequences within sequences: a SEG has six, a report of ours ten.
MAX_DEPTH = 32

#: Bytes of a value: what one with a length of two bytes can have. Notices are shorter.
MAX_VALUE_BYTES = 64 * 1024

#: Bytes of all that is not pixels: five times as many as `MAX_NODES` elements of a SEG.
MAX_HEAD_BYTES = 32 * 1024**2

#: Those whose length is two bytes long (PS3.5 section 7.1.2).
_SHORT_VRS = frozenset(
    {
        *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT"),
        *(b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
    }
)

#: Of which a parser makes a number for each two bytes, or a few.
_NUMBERS = frozenset({b"AT", b"FL", b"FD", b"SL", b"SS", b"UL", b"US", b"SV", b"UV"})

#: Bytes, whatever is in them.
_BYTES = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW"})

#: Of the bytes of an element of unknown kind a parser may make the items of a sequence, or numbers.
_UNKNOWN_BYTES_A_NODE = 4

_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD

_UNDEFINED = 0xFFFFFFFF

_PIXELS = (0x7FE0, 0x0010)

#: Numbers that say how long the decoded pixels are.
_SAMPLES, _FRAMES, _ROWS, _COLUMNS, _BITS = _LENGTHS = (
    (0x0028, 0x0002),
    (0x0028, 0x0008),
    (0x0028, 0x0010),
    (0x0028, 0x0011),
    (0x0028, 0x0100),
)


@dataclass
class Structure:
    """Of a file that is well formed and no larger than a result."""

    #: Where its data set begins, and where its pixels, or it without pixels, end it.
    start: int
    end: int
    is_implicit: bool
    #: First and last byte but one of the pixels; None without.
    pixels: tuple[int, int] | None = None
    #: Whether these are compressed.
    encapsulated: bool = False
    nodes: int = 0
    #: Values of the numbers above, as they are stored.
    numbers: dict[tuple[int, int], bytes] = field(default_factory=dict)

    def count(self, nodes: int) -> None:
        """Raise `TooLargeResult` where there are too many."""
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise TooLargeResult("the object has more elements than a result that is read")


@dataclass(frozen=True)
class _Element:
    tag: tuple[int, int]
    vr: bytes
    length: int
    #: Where its value begins.
    place: int


@dataclass(frozen=True)
class _Level:
    """A data set or a sequence that is being walked through."""

    is_sequence: bool
    #: Where it, or what holds it, ends at the latest.
    end: int
    #: Whether an item says where it ends.
    is_delimited: bool


def structure_of(file: bytes) -> Structure:
    """Walk through a file; raises `TooLargeResult`, and `UnreadableResult` where it is broken.

    What comes behind the pixels of the data set is not looked at.
    """
    start = data_set_at(file)
    if start is None:
        raise UnreadableResult("the object does not say where it begins")
    # Everything but Implicit VR is Explicit (PS3.5 section A), and big endian is not asked for.
    implicit = transfer_syntax(file) == "1.2.840.10008.1.2"
    found = Structure(start, len(file), implicit)
    try:
        _Walk(file, found).to_its_end()
    except struct.error:
        raise _broken() from None
    if found.end - found.start > MAX_HEAD_BYTES:
        raise TooLargeResult("the object says more of itself than a result that is read")
    return found


def require_small_decoded(file: bytes) -> None:
    """Raise `TooLargeResult` where the compressed pixels would become longer than a result.

    By what the file says: before anybody is asked to decode it.
    """
    found = structure_of(file)
    bits = _number(found, _BITS, 0)
    for tag, otherwise in ((_SAMPLES, 1), (_FRAMES, 1), (_ROWS, 0), (_COLUMNS, 0)):
        bits *= _number(found, tag, otherwise)
    if bits > 8 * RESULT_BYTES:
        raise TooLargeResult("decoded, the object is longer than a result that is read")


def _number(found: Structure, tag: tuple[int, int], otherwise: int) -> int:
    value = found.numbers.get(tag)
    if value is None:
        return otherwise
    if tag != _FRAMES:
        return int.from_bytes(value[:2], "little")
    # IS: a number as text, of at most twelve letters (PS3.5 section 6.2).
    text = value[:12].strip(b" \0")
    if not text.isdigit():
        raise _broken()
    return int(text)


class _Walk:
    """On the way through a file, at a place within data sets and sequences."""

    def __init__(self, file: bytes, found: Structure) -> None:
        self._file = file
        self._found = found
        self._place = found.start
        self._levels = [_Level(is_sequence=False, end=len(file), is_delimited=False)]

    def to_its_end(self) -> None:
        """To the end of the file, or to the pixels."""
        while self._levels and self._found.pixels is None:
            level = self._levels[-1]
            if self._place == level.end and not level.is_delimited:
                self._levels.pop()
            elif self._place >= level.end:
                raise _broken()
            else:
                self._step(level)

    def _step(self, level: _Level) -> None:
        group, element = struct.unpack_from("<HH", self._file, self._place)
        if group == 0xFFFE:
            self._over_a_mark(level, element)
        elif level.is_sequence or group < 0x0008:
            raise _broken()
        else:
            one = _element(self._file, self._place, (group, element), self._found.is_implicit)
            if one.vr == b"SQ":
                self._found.count(1)
                self._into(is_sequence=True, place=one.place, length=one.length)
            elif one.tag == _PIXELS and len(self._levels) == 1:
                _note_pixels(self._file, self._found, self._place, one)
            else:
                self._over(level, one)

    def _over_a_mark(self, level: _Level, element: int) -> None:
        """An item begins, or it or its sequence ends (PS3.5 section 7.5)."""
        (length,) = struct.unpack_from("<I", self._file, self._place + 4)
        end = _SEQUENCE_END if level.is_sequence else _ITEM_END
        if element == _ITEM and level.is_sequence:
            self._found.count(1)
            self._into(is_sequence=False, place=self._place + 8, length=length)
        elif element == end and level.is_delimited:
            self._place += 8
            self._levels.pop()
        else:
            raise _broken()

    def _into(self, *, is_sequence: bool, place: int, length: int) -> None:
        if len(self._levels) > 2 * MAX_DEPTH:
            raise TooLargeResult("the object is nested too deep")
        end = self._levels[-1].end
        is_delimited = length == _UNDEFINED
        if not is_delimited:
            if place + length > end:
                raise _broken()
            end = place + length
        self._place = place
        self._levels.append(_Level(is_sequence, end, is_delimited))

    def _over(self, level: _Level, one: _Element) -> None:
        if one.length > MAX_VALUE_BYTES:
            raise TooLargeResult("the object has a value that is too long")
        self._place = one.place + one.length
        if self._place > level.end:
            raise _broken()
        self._found.count(_cost(self._file, one))
        if len(self._levels) == 1 and one.tag in _LENGTHS:
            self._found.numbers[one.tag] = self._file[one.place : self._place]


def _element(file: bytes, place: int, tag: tuple[int, int], is_implicit: bool) -> _Element:
    vr: bytes
    if is_implicit:
        vr, (length,) = _known_vr(tag), struct.unpack_from("<I", file, place + 4)
        if all(0x41 <= letter <= 0x5A for letter in file[place + 4 : place + 6]):
            # A parser would take the length for a VR, and read on as if all had one.
            raise _broken()
        return _Element(tag, vr, length, place + 8)
    vr, length = struct.unpack_from("<2sH", file, place + 4)
    if vr in _SHORT_VRS:
        return _Element(tag, vr, length, place + 8)
    if vr not in LONG_VRS:
        raise _broken()
    (length,) = struct.unpack_from("<I", file, place + 8)
    return _Element(tag, vr, length, place + 12)


def _known_vr(tag: tuple[int, int]) -> bytes:
    try:
        # "US or SS" and alike are numbers or bytes, and short.
        return str(dictionary_VR((tag[0] << 16) + tag[1]))[:2].encode()
    except KeyError:
        return b"UN"


def _cost(file: bytes, one: _Element) -> int:
    """How many objects a parser makes of an element, about."""
    if one.vr in _NUMBERS:
        return 1 + one.length // 2
    if one.vr in _BYTES:
        return 1
    if one.vr == b"UN":
        unknown = one.length // _UNKNOWN_BYTES_A_NODE
        return 1 + unknown + file.count(b"\\", one.place, one.place + one.length)
    return 1 + file.count(b"\\", one.place, one.place + one.length)


def _note_pixels(file: bytes, found: Structure, place: int, one: _Element) -> None:
    found.end = place
    if one.length == _UNDEFINED:
        found.encapsulated = True
        found.pixels = (one.place, len(file))
        return
    if one.place + one.length > len(file):
        raise _broken()
    found.pixels = (one.place, one.place + one.length)


def _broken() -> UnreadableResult:
    return UnreadableResult("the object is not well formed")
