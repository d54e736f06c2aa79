"""Whether two phases lie on one grid, as far as a few numbers of each can tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

from messages.phases.facts import GridFacts
from messages.phases.positions import Position, places_of

#: Difference between direction cosines of one grid: 0.1 mm at the edge of a 200 mm half field. The
#: lab takes 1e-4; here it is looser, so that decimal text refuses nothing that the lab reads.
COSINE_TOLERANCE = 5e-4

#: Share by which pixel spacings of one grid may differ.
SPACING_TOLERANCE = 2e-3

#: mm by which the outermost slices of one grid may differ. The lab takes 0.01.
POSITION_TOLERANCE_MM = 0.05


class GridFault(StrEnum):
    """How two grids differ, in the order in which it is looked for."""

    #: Number of slices.
    SLICE_COUNT = "slice_count"
    #: Rows or columns.
    MATRIX = "matrix"
    #: Frame of reference: the patient may have been moved.
    FRAME_OF_REFERENCE = "frame_of_reference"
    #: Direction of rows or columns.
    ORIENTATION = "orientation"
    #: Distance between rows or columns.
    SPACING = "spacing"
    #: Place of an outermost slice.
    POSITION = "position"


def grid_fault(a: GridFacts, b: GridFacts) -> tuple[GridFault, float, float] | None:
    """How `b` differs from `a`, with what was found and what was expected; None if it does not.

    The numbers are counts, cosines, mm between pixels, or for a position mm away and 0.
    """
    if a.slices != b.slices:
        return GridFault.SLICE_COUNT, b.slices, a.slices
    for size, other in ((a.rows, b.rows), (a.columns, b.columns)):
        if size != other:
            return GridFault.MATRIX, other, size
    if a.frame_of_reference_uid != b.frame_of_reference_uid:
        return GridFault.FRAME_OF_REFERENCE, 0.0, 0.0
    for cosine, turned in zip(a.orientation, b.orientation, strict=True):
        if not abs(cosine - turned) <= COSINE_TOLERANCE:
            return GridFault.ORIENTATION, turned, cosine
    for spacing, wider in zip(a.pixel_spacing, b.pixel_spacing, strict=True):
        if not math.isclose(spacing, wider, rel_tol=SPACING_TOLERANCE):
            return GridFault.SPACING, wider, spacing
    away = min(
        max(math.dist(a.first, first), math.dist(a.last, last))
        # The slices may be counted from either end.
        for first, last in ((b.first, b.last), (b.last, b.first))
    )
    return None if away <= POSITION_TOLERANCE_MM else (GridFault.POSITION, away, 0.0)


def ends(
    positions: Sequence[Position], orientation: Sequence[float]
) -> tuple[Position, Position, int]:
    """The outermost of the positions along the normal of the slices, and how many places they are.

    `positions` (LPS, mm; at least one) in any order; `orientation` are six direction cosines.
    """
    a, b = orientation[:3], orientation[3:6]
    normal = (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )
    heights = [sum(x * n for x, n in zip(at, normal, strict=True)) for at in positions]
    lowest, highest = heights.index(min(heights)), heights.index(max(heights))
    return positions[lowest], positions[highest], len(set(places_of(positions)))
