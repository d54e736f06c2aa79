"""Left or right breast: on which side of the midline a lesion lies (docs/measures.md)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from consumer.result.lesions import boxes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from consumer.bundle import Code

#: SCT Breast: the finding site of whose lesions a side is stated.
_BREAST = ("76752008", "SCT")

#: mm between the middle of a lesion and the midline within which no side is stated. The midline is
#: found to some 6 mm, and a chest that is turned by 10 degrees moves it by 10 mm at the front.
MARGIN_MM = 15.0

#: Of a lesion's voxels, the share that must be on the one side: what reaches across is on none.
_SHARE = 0.95


class Laterality(StrEnum):
    """The side of a lesion of the breast."""

    LEFT = "left"
    RIGHT = "right"
    #: Both breasts are not in view, or it lies too near to the middle.
    NOT_DETERMINED = "not_determined"


def has_sides(site: Code) -> bool:
    """Whether what a bundle marks is of the breast."""
    return (site.value, site.scheme) == _BREAST


def sides(
    labels: NDArray[np.uint16],
    start: int,
    affine_lps: Sequence[Sequence[float]],
    midline: float | None,
) -> tuple[Laterality, ...]:
    """The side of each lesion of `labels` (slices, rows, columns), numbered from 1 without a gap.

    The first slice of `labels` is the slice `start` of the series, whose `affine_lps` leads from
    (slice, row, column, 1) to mm; `midline` is an x there, None where it is not known.
    """
    along, offset = np.array(affine_lps[0][:3]), affine_lps[0][3]
    found = []
    for number, box in enumerate(boxes(labels), 1):
        corner = np.array([box[0].start + start, box[1].start, box[2].start])
        voxels = np.argwhere(labels[box] == number) + corner
        found.append(_side(voxels @ along + offset, midline))
    return tuple(found)


def _side(x: NDArray[np.float64], midline: float | None) -> Laterality:
    if midline is None or abs(float(x.mean()) - midline) < MARGIN_MM:
        return Laterality.NOT_DETERMINED
    # The patient's left has the greater x.
    to_left = float(np.mean(x > midline))
    if to_left >= _SHARE:
        return Laterality.LEFT
    return Laterality.RIGHT if to_left <= 1.0 - _SHARE else Laterality.NOT_DETERMINED
