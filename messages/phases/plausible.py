"""Whether the size of a volume is one that an MR scanner makes: a net for what nobody thought of.

Whatever is read as slices and is none (a sheet of slices, another unit, a distance from nowhere)
mostly has a size that no scanner has. The limits are wide of all that is legitimate; what lies at
their edge is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Measure(StrEnum):
    """What is looked at, in this order."""

    #: mm that the volume reaches across the body, from side to side or from front to back.
    WIDTH = "width"
    #: mm that it reaches along the body.
    LENGTH = "length"
    #: mm that a slice reaches at least, the shorter side.
    FIELD = "field"
    #: mm between two pixels at most, and at least.
    COARSE_PIXEL = "coarse_pixel"
    FINE_PIXEL = "fine_pixel"
    #: Number of slices.
    SLICES = "slices"
    #: mm between two slices at most, and at least.
    WIDE_GAP = "wide_gap"
    NARROW_GAP = "narrow_gap"


#: The last number that is taken, of each.
LIMITS: dict[Measure, float] = {
    # The widest bore is 800 mm, the largest stated field of view 600 mm; obese patients and
    # phase oversampling that was kept stay below the bore.
    Measure.WIDTH: 700.0,
    # Whole-body images are put together of stations to 2000 mm; the tallest patients are longer,
    # and the couch of a scanner moves no further.
    Measure.LENGTH: 2500.0,
    # Microscopy of small samples (0.004 mm, 256 pixels) is 1 mm wide; coils for the skin 20 mm. A
    # part that was cut out of an image may be narrower.
    Measure.FIELD: 0.1,
    # Coarse maps (B1, B0, metabolites) have 16 pixels over a whole body: 30 mm.
    Measure.COARSE_PIXEL: 50.0,
    # The finest MR microscopy is about 0.003 mm. A spacing in metres is finer.
    Measure.FINE_PIXEL: 0.002,
    # A whole body of 2000 mm at 0.7 mm, as one stack; a 3D scan has 1024 at most.
    Measure.SLICES: 3000,
    # Slices of a localizer may lie 100 mm apart, and one slab may hold the whole trunk: projections
    # of angiography and MRCP, up to the field of view.
    Measure.WIDE_GAP: 600.0,
    Measure.NARROW_GAP: 0.002,
}

#: Measures of which less than the limit is refused; of all others more.
_LEAST = frozenset({Measure.FIELD, Measure.FINE_PIXEL, Measure.NARROW_GAP})

#: Cosine with the body's axis (patient axis z, PS3.3 C.7.6.2.1.1) from which a direction is along
#: the body: 45 degrees.
_ALONG = math.sqrt(0.5)

#: Share by which rounding may pass a limit.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Implausible:
    """A number that no scanner makes, and the last one that is taken."""

    measure: Measure
    found: float
    limit: float


def implausible(
    *,
    rows: int,
    columns: int,
    slices: int,
    orientation: Sequence[float],
    pixel_spacing: Sequence[float],
    gap: float | None,
) -> Implausible | None:
    """The first measure that is passed, or None.

    `orientation` are six direction cosines, along a row and along a column; `pixel_spacing` mm
    between rows and between columns; `gap` mm between slices, or the thickness of the only one,
    None where it is not known.
    """
    across, along = 0.0, 0.0
    sides = (columns * pixel_spacing[1], rows * pixel_spacing[0])
    directions = [abs(orientation[2]), abs(orientation[5])]
    stack = (slices - 1) * gap if gap is not None else 0.0
    # Of a normal at right angles to both.
    normal = math.sqrt(max(0.0, 1.0 - directions[0] ** 2 - directions[1] ** 2))
    for side, cosine in zip((*sides, stack), (*directions, normal), strict=True):
        if cosine >= _ALONG:
            along = max(along, side)
        else:
            across = max(across, side)
    found: list[tuple[Measure, float]] = [
        (Measure.WIDTH, across),
        (Measure.LENGTH, along),
        (Measure.FIELD, min(sides)),
        (Measure.COARSE_PIXEL, max(pixel_spacing)),
        (Measure.FINE_PIXEL, min(pixel_spacing)),
        (Measure.SLICES, slices),
    ]
    if gap is not None:
        found += [(Measure.WIDE_GAP, gap), (Measure.NARROW_GAP, gap)]
    return next(
        (
            Implausible(measure, number, LIMITS[measure])
            for measure, number in found
            if _passed(measure, number)
        ),
        None,
    )


def _passed(measure: Measure, number: float) -> bool:
    limit = LIMITS[measure]
    if measure in _LEAST:
        return number < limit * (1 - _ROUNDING)
    return number > limit * (1 + _ROUNDING)
