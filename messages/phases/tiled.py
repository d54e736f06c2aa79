"""Whether one classic MR image holds several slices: Siemens MOSAIC and United Imaging VFRAME.

Both lay the slices of a volume beside each other in one frame. Its rows, columns and position are
those of the whole sheet, so whoever reads it as a slice reads a slice that never was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from messages.phases.frames import numbers, text_of
from messages.phases.values import number_of

#: What ImageType says of such an image, from the third value on: Siemens (fifth to seventh value in
#: real images) and United Imaging (fourth).
_TILED_TYPES = frozenset({"MOSAIC", "VFRAME"})

#: Private elements that count the slices of one frame: group, creator of the block (PS3.5 7.8.1),
#: element in the block. Siemens (0019,100A) NumberOfImagesInMosaic; United Imaging (0065,1050),
#: beside a sequence (0065,1051) with one item for each slice.
PRIVATE_COUNTS: tuple[tuple[int, str, int], ...] = (
    (0x0019, "SIEMENS MR HEADER", 0x0A),
    (0x0065, "Image Private Header", 0x50),
)

#: Blocks of a private group that are looked at. Scanners take the first; who adds elements of
#: their own to an image takes one of the next.
PRIVATE_BLOCKS = range(0x10, 0x14)

#: By what name both sides hand on the count of the private elements, as text. No DICOM keyword.
IMAGES_IN_FRAME = "ImagesInFrame"

#: mm beyond which no slice reaches in both directions. Whole-body coronal images are longer and no
#: wider; bores are 600 to 800 mm wide, and the largest stated field of view is 600 x 600.
_WIDEST_MM = 600.0

#: The same where a pixel was acquired for three or more along the readout: a scanner doubles a
#: matrix for a large field, and multiplies it (GE: 128 to 512) for fields of 500 at most.
_WIDEST_MULTIPLIED_MM = 500.0


def holds_several_slices(head: Mapping[str, str]) -> bool:
    """Whether a classic MR image is such a sheet; `head` are its attributes by keyword, as text.

    ImageType or the private count say it, unless the image is no larger than what was acquired: a
    sheet that was taken apart often keeps both. A sheet has whole tiles, along the readout and
    across it, and more than one: tiles may also lie only across it, and one that was taken out and
    interpolated is no multiple. Where an anonymiser removed them, rows, columns,
    AcquisitionMatrix (0018,1310) and PixelSpacing do: a multiple of the acquired matrix whose
    pixels are as large as the acquired ones reaches further than any slice.
    """
    times = _multiples(head)
    if _says_so(head):
        return times is None or _has_tiles(times)
    return may_hold_several(head) and times is not None and _too_wide(head, times[0])


def may_hold_several(head: Mapping[str, str]) -> bool:
    """Whether the matrix allows it and ImageType does not say so: then a count is worth asking."""
    times = _multiples(head)
    if times is None or _says_so(head):
        return False
    return times[0].is_integer() and min(times) >= 2


def images_in_frame(elements: Mapping[str, Any]) -> str:
    """The private count among elements by number (``"0019,100a"``), as text; empty without one."""
    for group, creator, element in PRIVATE_COUNTS:
        for block in PRIVATE_BLOCKS:
            if text_of(elements, f"{group:04x},{block:04x}") == creator:
                count = text_of(elements, f"{group:04x},{block:02x}{element:02x}")
                if (number_of(count) or 0) > 1:
                    return count
    return ""


def _says_so(head: Mapping[str, str]) -> bool:
    types = {value.strip().upper() for value in head.get("ImageType", "").split("\\")[2:]}
    return bool(types & _TILED_TYPES) or (number_of(head.get(IMAGES_IN_FRAME, "")) or 0) > 1


def _has_tiles(times: tuple[float, float]) -> bool:
    """Whether pixels for each that was acquired can be tiles.

    Along the readout only whole ones: across it a tile has more pixels than were acquired.
    """
    along, across = times
    if along > 1:
        return along.is_integer()
    return along == 1 and across >= 2


def _multiples(head: Mapping[str, str]) -> tuple[float, float] | None:
    """Pixels for each that was acquired: along the readout, and across it; None if not known.

    AcquisitionMatrix holds frequency rows, frequency columns, phase rows, phase columns, two of
    them 0 (PS3.3 C.8.3.1). Fewer are acquired along the phase than a slice has pixels there, so
    only the readout is a whole multiple in a sheet.
    """
    matrix = numbers(head.get("AcquisitionMatrix", ""), 4)
    rows, columns = number_of(head.get("Rows", "")), number_of(head.get("Columns", ""))
    if matrix is None or not rows or not columns:
        return None
    # A readout along the rows has as many samples as a row has pixels: one for each column.
    if matrix[0] > 0 and matrix[3] > 0:
        return columns / matrix[0], rows / matrix[3]
    if matrix[1] > 0 and matrix[2] > 0:
        return rows / matrix[1], columns / matrix[2]
    return None


def _too_wide(head: Mapping[str, str], times: float) -> bool:
    spacing = numbers(head.get("PixelSpacing", ""), 2)
    if spacing is None:
        return False
    sides = (float(head["Rows"]) * spacing[0], float(head["Columns"]) * spacing[1])
    return min(sides) > (_WIDEST_MM if times == 2 else _WIDEST_MULTIPLIED_MM)
