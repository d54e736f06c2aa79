"""The elements of a data set, counted as they are read: pydicom itself counts nothing."""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING

from pydicom import DataElement
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset, read_sequence_item
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import SegmentationStorage

from consumer.dicom.attributes import BrokenFile
from consumer.dicom.enhanced import MULTI_FRAME_CLASSES
from consumer.errors import TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydicom import Dataset
    from pydicom.tag import BaseTag

#: Reads that the elements of one file may take, sequences included: one or two for each element.
#: An instance with 250 elements takes 400.
READS = 500_000

#: The same for each frame of a multi-frame object: 250 elements in 40 sequences, as Philips writes
#: them. So many frames may say so, and only of what has functional groups for them: the images,
#: and the segmentation that the lab reads back.
READS_OF_A_FRAME = 1500
MOST_FRAMES = 4000
_MANY_FRAMES = frozenset(uid.encode() for uid in (*MULTI_FRAME_CLASSES, SegmentationStorage))

#: Reads that an item of a sequence counts for: a data set is made of each, empty or not.
_ITEM_READS = 8

_TOO_MANY = "an instance has more elements than any that is meant as an image"

#: The length of a value that ends with a delimiter (PS3.5 section 7.1.1).
_UNDEFINED = 0xFFFFFFFF

#: Bytes of tag, VR and length, or of tag and a longer length (PS3.5 section 7.1.2).
_HEAD = 8

#: (FFFE,E000) Item, little and big endian.
_ITEM = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")

#: (7FE0,0008) Float, (7FE0,0009) Double Float and (7FE0,0010) Pixel Data.
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

_LAST_PIXELS = max(PIXELS)

_SOP_CLASS = 0x00080016
_NUMBER_OF_FRAMES = 0x00280008

_COUNT = re.compile(rb" *([0-9]{1,9})[ \0]*")


class CutShort(BrokenFile):
    """A length points behind the end of the file, or a delimiter never comes."""

    said = "is cut short, or says a length that it does not have"


class ItemsTooMany(BrokenFile):
    """A functional group has more items than frames, or more than the one it may have."""

    said = "has more items in a functional group than it has frames"


class Budget:
    """The reads that are left to one file."""

    def __init__(self) -> None:
        self._left = READS
        self._allowed = False

    @property
    def spent(self) -> bool:
        """Whether the file has more elements than any that is meant honestly."""
        return self._left < 0

    def spend(self, reads: int) -> None:
        """Count them; raises TooLarge."""
        self._left -= reads
        if self._left < 0:
            raise TooLarge(_TOO_MANY)

    def allow(self, frames: int) -> None:
        """Make room for what so many frames say of themselves; once, whatever a file repeats."""
        if self._allowed:
            return
        self._allowed = True
        self._left += max(0, READS_OF_A_FRAME * min(frames, MOST_FRAMES) - READS)


class Reading(BytesIO):
    """Bytes that count what is taken from them, and look at each length before it is followed."""

    def __init__(self, data: bytes, budget: Budget, *, stop_before_pixels: bool = False) -> None:
        super().__init__(data)
        self._size = len(data)
        self._budget = budget
        self._stop_before_pixels = stop_before_pixels
        self._many_frames = False
        self._behind_pixels = False
        #: Whether the file ended inside the beginning of an element.
        self.broke_off = False

    @property
    def at_end(self) -> bool:
        """Whether nothing is left."""
        return self.tell() >= self._size

    def read(self, size: int | None = -1, /) -> bytes:
        """Take and count; raises TooLarge."""
        data = super().read(size)
        if size == _HEAD:
            self._budget.spend(_ITEM_READS if data[:4] in _ITEM else 1)
            if 0 < len(data) < _HEAD:
                self.broke_off = True
        else:
            self._budget.spend(1)
        return data

    def ends_before(self, tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG002
        """Whether the element is not wanted any more; raises CutShort. pydicom's `stop_when`."""
        # Some writers leave a megabyte of zeros there, and no element (0000,0000) is one.
        past = tag > _LAST_PIXELS or (self._behind_pixels and tag not in PIXELS)
        if past or (self._stop_before_pixels and tag in PIXELS):
            return True
        if length != _UNDEFINED and self.tell() + length > self._size:
            raise CutShort
        self._behind_pixels = tag in PIXELS
        if tag == _SOP_CLASS and length <= 64:
            self._many_frames = self._next(length).rstrip(b"\0 ") in _MANY_FRAMES
        if tag == _NUMBER_OF_FRAMES and length <= 12 and self._many_frames:
            said = _COUNT.fullmatch(self._next(length))
            if said is not None:
                self._budget.allow(int(said[1]))
        return False

    def _next(self, length: int) -> bytes:
        """Bytes that lie ahead, not taken."""
        return bytes(self.getbuffer()[self.tell() : self.tell() + length])


def parsed(
    data: bytes,
    start: int,
    budget: Budget,
    *,
    implicit: bool,
    little: bool,
    tags: Sequence[int] | None,
    stop_before_pixels: bool,
) -> Dataset:
    """The data set that begins at `start`. Raises CutShort, TooLarge and what pydicom raises."""
    reading = Reading(data, budget, stop_before_pixels=stop_before_pixels)
    reading.seek(start)
    wanted = [Tag(tag) for tag in tags] if tags else None
    try:
        found = read_dataset(
            reading, implicit, little, stop_when=reading.ends_before, specific_tags=wanted
        )
    except Exception:
        # pydicom makes an OSError of whatever a read inside a sequence raises.
        if budget.spent:
            raise TooLarge(_TOO_MANY) from None
        raise
    # It takes a delimiter that never comes, and says so nowhere, for no elements at all.
    # Behind the pixels some writers leave a few bytes, and those are no element.
    if not found or (reading.broke_off and not PIXELS & found.keys()):
        raise CutShort
    return found


def open_sequences(ds: Dataset, tags: Iterable[int], budget: Budget, most: int) -> list[Dataset]:
    """Parse those sequences of a data set that pydicom left for later; the items of all of them.

    A sequence of stated length is parsed by pydicom where it is first looked at, and to its end.
    Raises ItemsTooMany where one has more than `most`, TooLarge and what pydicom raises.
    """
    opened: list[Dataset] = []
    for tag in tags:
        if tag not in ds:
            continue
        element = ds.get_item(tag)
        if isinstance(element, RawDataElement) and element.VR in {"SQ", "UN", None}:
            items = _items(element, ds, budget, most)
            ds[Tag(tag)] = DataElement(Tag(tag), "SQ", Items(items))
        elif isinstance(element, DataElement) and element.VR == "SQ":
            items = list(element.value)
        else:
            continue
        if len(items) > most:
            raise ItemsTooMany
        opened += items
    return opened


def _items(element: RawDataElement, ds: Dataset, budget: Budget, most: int) -> list[Dataset]:
    # Of an unknown VR it is always implicit (PS3.5 section 6.2.2).
    unknown = element.VR == "UN"
    implicit = unknown or element.is_implicit_VR
    little = unknown or element.is_little_endian
    reading = Reading(element.value or b"", budget)
    encoding = ds._character_set  # noqa: SLF001 - as pydicom hands it on
    items: list[Dataset] = []
    try:
        while not reading.at_end and len(items) <= most:
            item = read_sequence_item(reading, implicit, little, encoding)
            if item is None:
                break
            items.append(item)
    except Exception:
        if budget.spent:
            raise TooLarge(_TOO_MANY) from None
        raise
    return items
