"""Longest diameters of one lesion, in space and within a slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Points from which on a convex hull is found sooner than all distances.
_HULL_PAYS = 1500

#: Directions in which the slices of a lesion are compared, evenly over half a turn.
_DIRECTIONS = 16

#: Share of a length by which two computations of it may differ.
_ROUNDING = 1e-9


def longest_diameter_mm(lesion: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    """Longest diameter of a lesion (slices, rows, columns) in 3D, in mm; `spacing` is in mm.

    The greatest distance between two vertices of its surface mesh: the "maximum 3D diameter" L0JK
    of the Image Biomarker Standardisation Initiative. Of a binary mask, the mesh at level 0.5 has
    its vertices halfway between a marked voxel's centre and its unmarked neighbour's; a single
    voxel is as long as its longest edge.
    """
    steps = ((0, 1), (1, 0), (1, 1), (1, -1))
    vertices = np.concatenate([_outermost(lesion, axis, steps) for axis in range(3)])
    return _greatest_distance(vertices * np.array(spacing))


def longest_in_plane_mm(
    lesion: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> tuple[float, int]:
    """Longest diameter of a lesion within one slice, in mm, and the slice, from 0.

    The greatest distance between two vertices of its outline in that slice, by the rule of the mesh
    in 3D; so it is never longer than `longest_diameter_mm`. Of equally long slices the first.
    """
    vertices = np.concatenate([_outermost(lesion, axis, ((0, 1),)) for axis in (1, 2)])
    vertices = vertices[np.argsort(vertices[:, 0], kind="stable")]
    points = vertices[:, 1:] * np.array(spacing[1:])
    slices, starts = np.unique(vertices[:, 0], return_index=True)
    angles = np.pi / _DIRECTIONS * np.arange(_DIRECTIONS)
    along = points @ np.stack((np.cos(angles), np.sin(angles)))
    widths = np.maximum.reduceat(along, starts) - np.minimum.reduceat(along, starts)
    at_least = widths.max(axis=1)
    # A diameter lies within half a step of one of the directions: what is left are one or two.
    at_most = at_least / np.cos(np.pi / (2 * _DIRECTIONS)) * (1 + _ROUNDING)
    longest, widest = 0.0, 0
    for number in np.flatnonzero(at_most >= at_least.max()):
        stop = starts[number + 1] if number + 1 < len(starts) else len(points)
        length = _greatest_distance(points[starts[number] : stop])
        if length > longest * (1 + _ROUNDING):
            longest, widest = length, int(slices[number])
    return longest, widest


def _greatest_distance(points: NDArray[np.float64]) -> float:
    # The two farthest points of a set are corners of its convex hull. There is always a hull: even
    # one voxel has two vertices on each axis.
    if len(points) > _HULL_PAYS:
        points = points[ConvexHull(points).vertices]
    return float(pdist(points).max())


def _outermost(
    lesion: NDArray[np.bool_], axis: int, steps: Sequence[tuple[int, int]]
) -> NDArray[np.float64]:
    """Mesh vertices on lines along `axis` that may be corners of the convex hull, in voxels (n, 3).

    They are before the first and after the last voxel of a line; those between lie inside. So does
    one that is not outside the middle between its like on the two lines that are one step away.
    """
    marked = lesion.any(axis=axis)
    rows, columns = marked.shape
    # Both sides at once, the far one turned so that outside is downward; where there is no line is
    # far inside.
    depth = np.full((2, rows + 2, columns + 2), np.inf)
    inner = depth[:, 1:-1, 1:-1]
    inner[0] = lesion.argmax(axis=axis) - 0.5
    inner[1] = np.flip(lesion, axis).argmax(axis=axis) + 0.5 - lesion.shape[axis]
    inner[:, ~marked] = np.inf
    kept = np.stack((marked, marked))
    for down, right in steps:
        one = depth[:, 1 + down : 1 + down + rows, 1 + right : 1 + right + columns]
        other = depth[:, 1 - down : 1 - down + rows, 1 - right : 1 - right + columns]
        kept &= 2 * inner < one + other
    found = np.nonzero(kept)
    points = np.empty((len(found[0]), 3))
    points[:, axis] = inner[found] * np.array([1.0, -1.0])[found[0]]
    points[:, [other for other in range(3) if other != axis]] = np.stack(found[1:], axis=1)
    return points
