"""The grid of a phase: whether its slices form one regular volume, and where that lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from consumer.errors import GeometryMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Share of the usual distance by which one between neighbours may differ, and by which a slice
#: may lie beside the stack. highdicom takes 1 %, which refuses scanners that round positions to
#: 0.1 mm: in a real GE series with slices 7 mm apart the distances are 6.96 to 7.07 mm.
SPACING_TOLERANCE = 0.02

#: mm by which voxel centres of one grid may differ: positions are decimal text of 16 characters.
POSITION_TOLERANCE_MM = 0.01

#: Difference between direction cosines of one grid: 0.03 mm at the edge of a 600 mm field.
COSINE_TOLERANCE = 1e-4


class Frame(NamedTuple):
    """What one slice says of its place."""

    rows: int
    columns: int
    frame_of_reference_uid: str
    #: Eleven: orientation (6 cosines), pixel spacing (rows, columns; mm), position (LPS, mm).
    numbers: NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a phase lie."""

    #: (slices, 3) in mm, LPS+: centre of each slice's first voxel, ascending along the normal.
    positions: NDArray[np.float64]
    #: Six direction cosines: along a row, then along a column (PS3.3 C.7.6.2.1.1).
    orientation: NDArray[np.float64]
    #: mm between slices, rows, columns.
    spacing: tuple[float, float, float]
    rows: int
    columns: int
    frame_of_reference_uid: str

    def affine_lps(self) -> tuple[tuple[float, ...], ...]:
        """4x4 from (slice, row, column, 1) to LPS mm: PS3.3 equation C.7.6.2.1-1, plus slices."""
        matrix = np.eye(4)
        matrix[:3, 0] = self._step()
        matrix[:3, 1] = self.orientation[3:] * self.spacing[1]
        matrix[:3, 2] = self.orientation[:3] * self.spacing[2]
        matrix[:3, 3] = self.positions[0]
        return tuple(tuple(float(value) for value in row) for row in matrix)

    def _step(self) -> NDArray[np.float64]:
        count = len(self.positions)
        if count == 1:
            return np.cross(self.orientation[:3], self.orientation[3:]) * self.spacing[0]
        # Over the whole stack, so that rounding in the positions does not add up.
        step: NDArray[np.float64] = (self.positions[-1] - self.positions[0]) / (count - 1)
        return step


def grid_of(role: str, frames: Sequence[Frame], thickness: float | None) -> tuple[Grid, list[int]]:
    """Return the grid of the instances, and their order along the slice normal.

    `thickness` in mm stands for the distance where there is only one slice. Raises
    GeometryMismatch, naming slice and distance, when they form no regular volume.
    """
    rows, columns, frame_of_reference, _ = frames[0]
    numbers = np.stack([frame.numbers for frame in frames])
    if any(frame[:3] != frames[0][:3] for frame in frames):
        raise GeometryMismatch(f"slices of {role} differ in size or frame of reference")
    orientation, pixel_spacing = numbers[0, :6], numbers[0, 6:8]
    _check_axes(role, orientation, pixel_spacing)
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
    spacing = (distance, float(pixel_spacing[0]), float(pixel_spacing[1]))
    return Grid(positions, orientation, spacing, rows, columns, frame_of_reference), order


def _check_axes(
    role: str, orientation: NDArray[np.float64], pixel_spacing: NDArray[np.float64]
) -> None:
    axes = orientation.reshape(2, 3)
    if not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3) or (pixel_spacing <= 0).any():
        raise GeometryMismatch(f"rows and columns of {role} span no rectangular grid")


def _distance(
    role: str,
    positions: NDArray[np.float64],
    heights: NDArray[np.float64],
    normal: NDArray[np.float64],
) -> float:
    """Distance in mm between neighbouring slices, all equal, or GeometryMismatch."""
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    worst = int(np.argmax(np.abs(gaps - usual)))
    doubled = int(np.argmin(gaps))
    if gaps[doubled] < POSITION_TOLERANCE_MM:
        raise GeometryMismatch(
            f"slices {doubled + 1} and {doubled + 2} of {role} lie at the same position"
        )
    if abs(gaps[worst] - usual) > max(SPACING_TOLERANCE * usual, POSITION_TOLERANCE_MM):
        raise GeometryMismatch(
            f"slices {worst + 1} and {worst + 2} of {role} lie {gaps[worst]:.2f} mm apart, "
            f"the others {usual:.2f} mm"
        )
    # A stack that leans (a tilted gantry, two joined stacks) has equal gaps and is no box.
    drift = positions - positions[0] - np.outer(heights - heights[0], normal)
    leaning = np.linalg.norm(drift, axis=1)
    if leaning.max() > max(SPACING_TOLERANCE * usual, POSITION_TOLERANCE_MM):
        place = int(np.argmax(leaning))
        raise GeometryMismatch(
            f"slice {place + 1} of {role} lies {leaning[place]:.2f} mm beside the stack"
        )
    return float(heights[-1] - heights[0]) / (len(heights) - 1)


def check_same_grid(first: str, a: Grid, other: str, b: Grid) -> None:
    """Raise GeometryMismatch unless both phases have their voxels at the same places."""
    roles = f"{first} and {other}"
    if (len(a.positions), a.rows, a.columns) != (len(b.positions), b.rows, b.columns):
        raise GeometryMismatch(f"{roles} differ in their number of slices, rows or columns")
    if a.frame_of_reference_uid != b.frame_of_reference_uid:
        raise GeometryMismatch(f"{roles} have different frames of reference")
    if (np.abs(a.orientation - b.orientation) > COSINE_TOLERANCE).any() or not np.allclose(
        a.spacing, b.spacing, rtol=1e-3
    ):
        raise GeometryMismatch(f"{roles} differ in orientation or spacing")
    shifts = np.linalg.norm(a.positions - b.positions, axis=1)
    if shifts.max() > POSITION_TOLERANCE_MM:
        place = int(np.argmax(shifts))
        raise GeometryMismatch(
            f"slice {place + 1} of {roles} lies {shifts[place]:.2f} mm away from the other's"
        )
