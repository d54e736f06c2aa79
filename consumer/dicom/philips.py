"""Philips' private Scale Slope, by its number and its creator (PS3.5 section 7.8.1)."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from pydicom.tag import Tag

from messages.phases.scale import SCALE_BLOCKS, SCALE_CREATOR, SCALE_ELEMENT, SCALE_GROUP

if TYPE_CHECKING:
    from pydicom import Dataset

#: Who reserves the block of the same group in which element 0F is what Philips adds to each frame
#: of Enhanced MR: a sequence of one item, with the Scale Slope in it.
_FRAME_CREATOR, _FRAME_ELEMENT = "Philips MR Imaging DD 005", 0x0F


def _element(block: int, number: int) -> int:
    return SCALE_GROUP << 16 | block << 8 | number


#: What of a slice must be read for `scale_slope`: the creators, and the element in each block.
SCALE_TAGS = tuple(
    tag
    for block in SCALE_BLOCKS
    for tag in (SCALE_GROUP << 16 | block, _element(block, SCALE_ELEMENT))
)


def scale_slope(ds: Dataset) -> float | None:
    """The Scale Slope of an image; None where it has none, or one that is no positive number."""
    try:
        tag = _found(ds, SCALE_CREATOR, SCALE_ELEMENT)
        return None if tag is None else _number(ds[tag].value)
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad values
        return None


def frame_tag(group: Dataset) -> int | None:
    """The tag of what Philips adds to the functional groups of a frame, if it is there."""
    try:
        return _found(group, _FRAME_CREATOR, _FRAME_ELEMENT)
    except Exception:  # noqa: BLE001 - as above
        return None


def take_scale(head: Dataset, group: Dataset) -> None:
    """Say the Scale Slope of a frame as a classic instance would, from its functional groups."""
    tag = frame_tag(group)
    if tag is None:
        return
    try:
        found = scale_slope(group[tag].value[0])
    except Exception:  # noqa: BLE001 - as above
        return
    if found is not None:
        block = SCALE_BLOCKS[0]
        head.add_new(Tag(SCALE_GROUP, block), "LO", SCALE_CREATOR)
        head.add_new(Tag(_element(block, SCALE_ELEMENT)), "FL", found)


def _found(ds: Dataset, creator: str, number: int) -> int | None:
    """The tag of an element in the block that the creator has reserved, if it is there."""
    for block in SCALE_BLOCKS:
        reserved = Tag(SCALE_GROUP, block)
        if reserved in ds and _text(ds[reserved].value) == creator:
            tag = Tag(_element(block, number))
            return tag if tag in ds else None
    return None


def _text(value: object) -> str:
    # Of an unknown VR.
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return text.strip(" \0")


def _number(value: object) -> float | None:
    if isinstance(value, bytes):
        # Of an unknown VR, which is always little endian (PS3.5 section 6.2.2).
        value = struct.unpack("<f", value)[0]
    number = float(str(value))
    return number if math.isfinite(number) and number > 0 else None
