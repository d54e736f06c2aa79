"""Volume and diameters of shapes that have a formula, on grids as the reader makes them.

Shapes lie in the patient; the grid has another voxel size along each axis and is turned against
the shape. A voxel is marked when its centre is inside. "Within one voxel" is the diagonal of a
voxel for lengths; of a volume it is that of the sphere with the same volume, in its diameter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.dicom.grid import Frame, grid_of
from consumer.payloads import Grid
from consumer.result.lesions import Lesion, measure, split

SHAPES = settings(max_examples=150, derandomize=True, deadline=None, database=None)
SPACINGS = st.tuples(st.floats(0.8, 3.0), st.floats(0.4, 1.4), st.floats(0.4, 1.4))
#: Any rotation: a quaternion, which is not of length 0.
TURNS = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)
#: Where in its voxel the centre lies; along the slices in the middle of one.
PLACES = st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))


def rotation(quaternion: tuple[float, float, float, float]) -> np.ndarray:
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


@dataclass(frozen=True)
class Scan:
    """A grid about a place in the patient, and what is measured on it."""

    grid: Grid
    #: (3, slices, rows, columns), LPS mm of each voxel's centre from the place.
    points: np.ndarray

    @classmethod
    def about(cls, spacing, turn, place, reach_mm: float) -> Scan:
        """Large enough for all within `reach_mm` of a place within the voxel in its middle."""
        axes = rotation(turn)
        counts = [2 * int(np.ceil(reach_mm / step)) + 3 for step in spacing]
        numbers = [*axes[0], *axes[1], spacing[1], spacing[2]]
        normal = np.cross(axes[0], axes[1])
        frames = [
            Frame(counts[1], counts[2], "1.2", np.array([*numbers, *(normal * spacing[0] * k)]))
            for k in range(counts[0])
        ]
        grid, _ = grid_of("pre", frames, None)
        affine = np.array(grid.affine_lps())
        middle = np.array([n // 2 for n in counts]) + np.array([0.0, *place])
        shifted = np.indices(counts) - middle[:, None, None, None]
        return cls(grid, np.einsum("ij,j...->i...", affine[:3, :3], shifted))

    def measure(self, inside: np.ndarray) -> Lesion:
        """The one lesion of the voxels inside."""
        found = split(inside, self.grid.spacing, 0)
        lesions = measure(found.labels, self.grid.spacing, 0)
        assert len(lesions) == 1
        assert lesions[0].in_plane_slice in range(inside.shape[0])
        return lesions[0]

    @property
    def voxel_mm(self) -> float:
        return float(np.linalg.norm(self.grid.spacing))

    @property
    def plane(self) -> np.ndarray:
        """(2, 3): the directions of a row and a column."""
        return self.grid.orientation.reshape(2, 3)


def across(volume_mm3: float) -> float:
    """Diameter of the sphere with this volume, mm."""
    return float((6 * volume_mm3 / np.pi) ** (1 / 3))


def check(scan: Scan, lesion: Lesion, volume_mm3: float, space: float, in_plane: float) -> None:
    assert across(1000 * lesion.volume_ml) == pytest.approx(across(volume_mm3), abs=scan.voxel_mm)
    assert lesion.longest_diameter_mm == pytest.approx(space, abs=scan.voxel_mm)
    assert lesion.longest_in_plane_mm == pytest.approx(in_plane, abs=scan.voxel_mm)


@SHAPES
@given(SPACINGS, TURNS, PLACES, st.floats(2.0, 5.0))
def test_a_sphere(spacing, turn, place, voxels):
    radius = voxels * max(spacing)
    scan = Scan.about(spacing, turn, place, radius)
    lesion = scan.measure((scan.points**2).sum(axis=0) <= radius**2)
    check(scan, lesion, 4 / 3 * np.pi * radius**3, 2 * radius, 2 * radius)


@SHAPES
@given(SPACINGS, TURNS, TURNS, PLACES, st.tuples(*[st.floats(1.5, 5.0)] * 3))
def test_an_ellipsoid(spacing, turn, own_turn, place, voxels):
    radii = np.array(voxels) * np.linalg.norm(spacing)
    scan = Scan.about(spacing, turn, place, float(radii.max()))
    shape = rotation(own_turn) @ np.diag(radii**-2) @ rotation(own_turn).T
    lesion = scan.measure(
        np.einsum("i...,ij,j...->...", scan.points, shape, scan.points, optimize=True) <= 1
    )
    # Cut by a plane through its centre it is an ellipse with this matrix.
    ellipse = scan.plane @ shape @ scan.plane.T
    in_plane = 2 / np.sqrt(np.linalg.eigvalsh(ellipse)[0])
    check(scan, lesion, 4 / 3 * np.pi * float(np.prod(radii)), 2 * float(radii.max()), in_plane)


@SHAPES
@given(SPACINGS, TURNS, PLACES, st.tuples(st.floats(1.0, 2.0), st.floats(2.0, 6.0)), TURNS)
def test_a_rod_with_round_ends(spacing, turn, place, size, own_turn):
    radius = size[0] * float(np.linalg.norm(spacing))
    half = size[1] * radius
    axis = rotation(own_turn)[0]
    scan = Scan.about(spacing, turn, place, half + radius)
    along = np.einsum("i,i...->...", axis, scan.points)
    nearest = np.clip(along, -half, half)
    distance = scan.points - axis[:, None, None, None] * nearest
    lesion = scan.measure((distance**2).sum(axis=0) <= radius**2)
    volume = np.pi * radius**2 * 2 * half + 4 / 3 * np.pi * radius**3
    check(scan, lesion, volume, 2 * (half + radius), in_plane_of_rod(scan, axis, half, radius))


def in_plane_of_rod(scan: Scan, axis: np.ndarray, half: float, radius: float) -> float:
    """Longest chord in the plane through the centre: in the direction nearest to the axis."""
    cosine = float(min(np.linalg.norm(scan.plane @ axis), 1.0))
    sine = np.sqrt(1 - cosine**2)
    # Where it leaves the straight part, or the ball at its end.
    if radius * cosine <= half * sine:
        return 2 * radius / sine
    return 2 * (half * cosine + np.sqrt(radius**2 - (half * sine) ** 2))
