"""Classic images whose rows lie the other way round than they say, as their files tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.dicom.flaws import turned_rows
from consumer.dicom.tiles import element_text
from messages.phases.tiled import PRIVATE_BLOCKS
from messages.phases.turned import (
    PRIVATE_ELEMENTS,
    PRIVATE_GROUP,
    may_be_turned,
    rows_turned,
)

if TYPE_CHECKING:
    from pydicom import Dataset

#: The private elements of which those rules know, and the creators of their blocks.
_PRIVATE_TAGS = tuple(
    tag
    for block in PRIVATE_BLOCKS
    for tag in (
        PRIVATE_GROUP << 16 | block,
        *(PRIVATE_GROUP << 16 | block << 8 | element for element in PRIVATE_ELEMENTS),
    )
)

#: What must be read of an image for `check_rows`; private elements by number.
TURNED_TAGS: tuple[str | int, ...] = ("ScanningSequence", *_PRIVATE_TAGS)


def check_rows(ds: Dataset, role: str) -> None:
    """Raise UnsupportedImage for rows that are turned (`messages.phases.turned`)."""
    if not may_be_turned({"ScanningSequence": element_text(ds, "ScanningSequence")}):
        return
    private = {
        f"{tag >> 16:04x},{tag & 0xFFFF:04x}": element_text(ds, tag) for tag in _PRIVATE_TAGS
    }
    if rows_turned(private):
        raise turned_rows(role)
