"""Whether a classic MR image is stored with its rows the other way round than its header says.

GE's research sequence ``epi_pepolar`` acquires with both polarities of the phase encoding. Images
of the reversed one are stored upside down, and nothing but two private elements tells it: the
header states a place and an orientation that are not theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from messages.phases.frames import text_of
from messages.phases.tiled import PRIVATE_BLOCKS
from messages.phases.values import number_of

#: The creator of the block (PS3.5 7.8.1) in group 0019, and in it PulseSequenceName and UserData12,
#: which says in this sequence how it acquires: 0 forward, 1 reversed, 2 and 3 both in turn.
PRIVATE_GROUP, PRIVATE_CREATOR = 0x0019, "GEMS_ACQU_01"
PRIVATE_ELEMENTS = (0x9C, 0xB3)

_SEQUENCE = "epi_pepolar"
_REVERSED = frozenset({1.0, 2.0, 3.0})

#: By what name both sides hand on that the private elements say so. No DICOM keyword.
ROWS_TURNED = "RowsTurned"


def may_be_turned(head: Mapping[str, str]) -> bool:
    """Whether the private elements are worth asking for: of echo planar images alone."""
    return "EP" in [value.strip() for value in head.get("ScanningSequence", "").split("\\")]


def rows_turned(elements: Mapping[str, Any]) -> str:
    """A word where elements by number (``"0019,109c"``) say so; empty otherwise.

    Of a run with both polarities all is meant: which image has which is in no element.
    """
    for block in PRIVATE_BLOCKS:
        if text_of(elements, f"{PRIVATE_GROUP:04x},{block:04x}") == PRIVATE_CREATOR:
            name, mode = (
                text_of(elements, f"{PRIVATE_GROUP:04x},{block:02x}{element:02x}")
                for element in PRIVATE_ELEMENTS
            )
            if _SEQUENCE in name and number_of(mode) in _REVERSED:
                return "yes"
    return ""
