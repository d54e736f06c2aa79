"""The grid of a phase: whether its slices form one regular volume, and where that lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from consumer.dicom.flaws import no_scanner_makes
from consumer.errors import GeometryMismatch
from consumer.payloads import Grid
from messages.phases.plausible import implausible

if TYPE_CHECKING:
    from collections.abc import Sequence

#: mm by which a slice may lie off its place in a regular stack, along it and beside it. Scanners
#: round positions to 0.1 mm: that moves a slice by up to 0.087 mm (0.05 in each coordinate), and
#: the outer slices, between which the places are counted, by as much. highdicom takes 1 % of the
#: distance, which refuses them: in a real GE series with slices 7 mm apart it is 0.07 mm along
#: and 0.09 mm beside.
PLACE_TOLERANCE_MM = 0.175

#: The same as a share of the distance between slices, for thin ones: the smaller of both holds.
#: Two slices then miss the distance between them by less than half of it, and each slice of a
#: stored SEG is found again by its position (`consumer.result.segmentation.stored_mask`).
PLACE_SHARE = 0.2

#: mm below which two slices lie at one place: positions are decimal text of 16 characters.
POSITION_TOLERANCE_MM = 0.01

#: mm by which voxel centres of two phases on one grid may differ, anywhere in the volume: under a
#: tenth of the smallest voxel of breast MR. `messages.phases.grid` has the same before a request.
GRID_TOLERANCE_MM = 0.05

#: mm from the origin of the patient's axes: wide of all scanners, and far from where computing with
#: such numbers fails.
REACH_MM = 100_000.0

#: Difference between direction cosines of one grid: 0.03 mm at the edge of a 600 mm field.
COSINE_TOLERANCE = 1e-4


class Frame(NamedTuple):
    """What one slice says of its place."""

    rows: int
    columns: int
    frame_of_reference_uid: str
    #: Eleven: orientation (6 cosines), pixel spacing (rows, columns; mm), position (LPS, mm).
    numbers: NDArray[np.float64]


def grid_of(role: str, frames: Sequence[Frame], thickness: float | None) -> tuple[Grid, list[int]]:
    """Return the grid of the instances, and their order along the slice normal.

    `thickness` in mm stands for the distance where there is only one slice. Raises
    GeometryMismatch, naming slice and distance, when they form no regular volume, and
    UnsupportedImage for one of a size that no scanner makes.
    """
    rows, columns, frame_of_reference, _ = frames[0]
    numbers = np.stack([frame.numbers for frame in frames])
    if any(frame[:2] != frames[0][:2] for frame in frames):
        raise GeometryMismatch(f"slices of {role} differ in rows or columns")
    if any(frame.frame_of_reference_uid != frame_of_reference for frame in frames):
        raise GeometryMismatch(f"slices of {role} have different frames of reference")
    orientation, pixel_spacing = numbers[0, :6], numbers[0, 6:8]
    _check_axes(role, orientation)
    if np.abs(numbers[:, 8:]).max() > REACH_MM:
        raise GeometryMismatch(f"a slice of {role} lies more than 100 m away")
    if (np.abs(numbers[:, :6] - orientation) > COSINE_TOLERANCE).any():
        raise GeometryMismatch(f"slices of {role} differ in orientation")
    if not np.allclose(numbers[:, 6:8], pixel_spacing, rtol=COSINE_TOLERANCE):
        raise GeometryMismatch(f"slices of {role} differ in pixel spacing")
    normal = np.cross(orientation[:3], orientation[3:])
    heights = numbers[:, 8:] @ normal
    order = [int(place) for place in np.argsort(heights, kind="stable")]
    positions = numbers[order, 8:]
    distance = (
        _distance(role, positions, heights[order], normal) if len(order) > 1 else thickness or 0.0
    )
    if distance <= 0:
        raise GeometryMismatch(f"the one slice of {role} has no thickness")
    size = implausible(
        rows=rows,
        columns=columns,
        slices=len(order),
        orientation=[float(cosine) for cosine in orientation],
        pixel_spacing=[float(between) for between in pixel_spacing],
        gap=distance,
    )
    if size is not None:
        raise no_scanner_makes(role, size)
    spacing = (distance, float(pixel_spacing[0]), float(pixel_spacing[1]))
    return Grid(positions, orientation, spacing, rows, columns, frame_of_reference), order


def _check_axes(role: str, orientation: NDArray[np.float64]) -> None:
    axes = orientation.reshape(2, 3)
    if (np.abs(orientation) > 2).any() or not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3):
        raise GeometryMismatch(f"rows and columns of {role} span no rectangular grid")


def _distance(
    role: str,
    positions: NDArray[np.float64],
    heights: NDArray[np.float64],
    normal: NDArray[np.float64],
) -> float:
    """Distance in mm between neighbouring slices, all equal, or GeometryMismatch.

    `heights` are the `positions` along the `normal`, ascending; slices are numbered from 1 in
    this order.
    """
    _check_one_image_a_place(role, heights)
    gaps = np.diff(heights)
    # The lower of two middle ones: what lies between two kinds of gap is no gap.
    usual = float(np.percentile(gaps, 50, method="lower"))
    tolerance = min(PLACE_TOLERANCE_MM, PLACE_SHARE * usual)
    worst = int(np.argmax(np.abs(gaps - usual)))
    # Both neighbours may be off.
    if abs(gaps[worst] - usual) > 2 * tolerance:
        raise GeometryMismatch(
            f"slices {worst + 1} and {worst + 2} of {role} lie {gaps[worst]:.2f} mm apart, "
            f"the others {usual:.2f} mm{_missing(worst, gaps[worst], usual, tolerance)}"
        )
    # Errors may add up: slices that come closer and closer, a stack that leans (a tilted gantry,
    # two joined stacks).
    distance = float(heights[-1] - heights[0]) / len(gaps)
    along = np.abs(heights - heights[0] - distance * np.arange(len(heights)))
    beside = np.linalg.norm(
        positions - positions[0] - np.outer(heights - heights[0], normal), axis=1
    )
    tolerance = min(PLACE_TOLERANCE_MM, PLACE_SHARE * distance)
    for shifts, said in ((along, "off its place in"), (beside, "beside")):
        place = int(np.argmax(shifts))
        if shifts[place] > tolerance:
            raise GeometryMismatch(
                f"slice {place + 1} of {role} lies {shifts[place]:.2f} mm {said} the stack"
            )
    return distance


def _check_one_image_a_place(role: str, heights: NDArray[np.float64]) -> None:
    same = np.flatnonzero(np.diff(heights) < POSITION_TOLERANCE_MM)
    places = len(heights) - len(same)
    # One doubled slice is a mistake; most places doubled are several phases in one series.
    if 2 * len(same) >= max(places, 2):
        raise GeometryMismatch(
            f"{len(heights)} images of {role} lie at {places} places: the series holds several "
            "phases or kinds of image, and one must be chosen"
        )
    if len(same):
        first = int(same[0])
        raise GeometryMismatch(
            f"slices {first + 1} and {first + 2} of {role} lie at the same position"
        )


def _missing(place: int, gap: float, usual: float, tolerance: float) -> str:
    """What to add where a gap after slice `place` (from 0) is a multiple of the usual distance."""
    times = round(gap / usual)
    if times < 2 or abs(gap - times * usual) > (times + 1) * tolerance:
        return ""
    first, last = place + 2, place + times
    return (
        f": slice {first} is missing" if times == 2 else f": slices {first} to {last} are missing"
    )


def check_same_grid(first: str, a: Grid, other: str, b: Grid) -> None:
    """Raise GeometryMismatch unless both phases have their voxels at the same places."""
    roles = f"{first} and {other}"
    if (len(a.positions), a.rows, a.columns) != (len(b.positions), b.rows, b.columns):
        raise GeometryMismatch(
            f"{first} has {len(a.positions)} slices of {a.rows} x {a.columns}, "
            f"{other} {len(b.positions)} of {b.rows} x {b.columns}"
        )
    if a.frame_of_reference_uid != b.frame_of_reference_uid:
        raise GeometryMismatch(f"{roles} have different frames of reference")
    shifts = np.linalg.norm(_corners(a) - _corners(b), axis=2).max(axis=1)
    worst = int(np.argmax(shifts))
    # One slice has no neighbour whose place says how far it reaches.
    alone = len(a.positions) == 1 and not np.isclose(a.spacing[0], b.spacing[0], rtol=1e-3)
    if shifts[worst] <= GRID_TOLERANCE_MM and not alone:
        return
    if (np.abs(a.orientation - b.orientation) > COSINE_TOLERANCE).any():
        raise GeometryMismatch(f"{roles} differ in orientation")
    if not np.allclose(a.spacing, b.spacing, rtol=1e-4):
        raise GeometryMismatch(
            f"{roles} differ in spacing: {_millimetres(a)} and {_millimetres(b)} mm between "
            "slices, rows and columns"
        )
    raise GeometryMismatch(
        f"slice {worst + 1} of {roles} lies {shifts[worst]:.2f} mm away from the other's"
    )


def _corners(grid: Grid) -> NDArray[np.float64]:
    """(slices, 4, 3) in mm, LPS+: centres of the voxels at the corners of each slice."""
    along_row = grid.orientation[:3] * grid.spacing[2] * (grid.columns - 1)
    along_column = grid.orientation[3:] * grid.spacing[1] * (grid.rows - 1)
    edges = np.stack([0 * along_row, along_row, along_column, along_row + along_column])
    corners: NDArray[np.float64] = grid.positions[:, None] + edges
    return corners


def _millimetres(grid: Grid) -> str:
    return " x ".join(f"{value:.3f}" for value in grid.spacing)
