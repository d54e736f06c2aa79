"""Classic images that are not what they say: sheets of slices, and rows that are turned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.tag import Tag

from consumer.dicom.flaws import several_slices, turned_rows
from messages.phases.tiled import (
    IMAGES_IN_FRAME,
    PRIVATE_BLOCKS,
    PRIVATE_COUNTS,
    holds_several_slices,
    images_in_frame,
)
from messages.phases.turned import (
    PRIVATE_ELEMENTS,
    PRIVATE_GROUP,
    may_be_turned,
    rows_turned,
)

if TYPE_CHECKING:
    from pydicom import Dataset

#: Private elements of which `messages.phases.tiled` knows: creators of blocks, and counts in each.
_TILED_PRIVATE_TAGS = tuple(
    tag
    for group, _, element in PRIVATE_COUNTS
    for block in PRIVATE_BLOCKS
    for tag in (group << 16 | block, group << 16 | block << 8 | element)
)

_KEYWORDS = ("ImageType", "AcquisitionMatrix", "Rows", "Columns", "PixelSpacing")

#: What must be read of an image for `check_one_slice`; private elements by number.
TILE_TAGS: tuple[str | int, ...] = ("ImageType", "AcquisitionMatrix", *_TILED_PRIVATE_TAGS)

#: The private elements of which `messages.phases.turned` knows, and the creators of their blocks.
_TURNED_PRIVATE_TAGS = tuple(
    tag
    for block in PRIVATE_BLOCKS
    for tag in (
        PRIVATE_GROUP << 16 | block,
        *(PRIVATE_GROUP << 16 | block << 8 | element for element in PRIVATE_ELEMENTS),
    )
)

#: What must be read of an image for `check_rows`; private elements by number.
TURNED_TAGS: tuple[str | int, ...] = ("ScanningSequence", *_TURNED_PRIVATE_TAGS)


def check_one_slice(ds: Dataset, role: str) -> None:
    """Raise UnsupportedImage for a sheet of slices (`messages.phases.tiled`)."""
    head = {keyword: element_text(ds, keyword) for keyword in _KEYWORDS}
    private = {
        f"{tag >> 16:04x},{tag & 0xFFFF:04x}": element_text(ds, tag) for tag in _TILED_PRIVATE_TAGS
    }
    head[IMAGES_IN_FRAME] = images_in_frame(private)
    if holds_several_slices(head):
        raise several_slices(role)


def check_rows(ds: Dataset, role: str) -> None:
    """Raise UnsupportedImage for rows that are turned (`messages.phases.turned`)."""
    if not may_be_turned({"ScanningSequence": element_text(ds, "ScanningSequence")}):
        return
    private = {
        f"{tag >> 16:04x},{tag & 0xFFFF:04x}": element_text(ds, tag) for tag in _TURNED_PRIVATE_TAGS
    }
    if rows_turned(private):
        raise turned_rows(role)


def element_text(ds: Dataset, tag: str | int) -> str:
    """A value as an archive would give it; empty for what is absent or cannot be read."""
    try:
        if (Tag(tag) if isinstance(tag, int) else tag) not in ds:
            return ""
        value = ds[tag].value
        if isinstance(value, bytes):
            # Of an unknown VR: text, or the two bytes of a US (PS3.5 section 6.2.2).
            # Text is padded with spaces: 0x0030 is 48, and no "0".
            digits = value.strip(b" ")
            return digits.decode("ascii") if digits.isdigit() else str(_us(value))
        several = isinstance(value, list | tuple) or hasattr(value, "__iter__")
        parts = value if several and not isinstance(value, str) else [value]
        return "\\".join(str(part).strip() for part in parts)
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad values
        return ""


def _us(value: bytes) -> int:
    return int.from_bytes(value, "little") if len(value) == 2 else 0
