"""Diameters are the greatest distances of all mesh vertices: compared with every one of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from consumer.result.diameters import longest_diameter_mm, longest_in_plane_mm

SPACINGS = st.tuples(*[st.floats(0.2, 5.0)] * 3)
MASKS = arrays(bool, st.tuples(*[st.integers(1, 8)] * 3)).filter(np.any)
CHECKED = settings(max_examples=150, derandomize=True, deadline=None, database=None)


def vertices(mask: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Every vertex of the mesh at level 0.5 on an edge along one of `axes`, in voxels."""
    padded = np.pad(mask, 1).astype(int)
    return np.array(
        [
            at + np.eye(3)[axis] / 2 - 1
            for axis in axes
            for at in np.argwhere(np.diff(padded, axis=axis))
        ]
    )


def farthest(points: np.ndarray) -> float:
    return max(float(np.linalg.norm(points - point, axis=1).max()) for point in points)


@CHECKED
@given(MASKS, SPACINGS)
def test_the_diameter_is_the_greatest_distance_of_all_mesh_vertices(mask, spacing):
    expected = farthest(vertices(mask, (0, 1, 2)) * spacing)
    assert longest_diameter_mm(mask, spacing) == pytest.approx(expected)


@CHECKED
@given(MASKS, SPACINGS)
def test_the_diameter_in_plane_is_that_of_the_vertices_of_one_slice(mask, spacing):
    points = vertices(mask, (1, 2))
    by_slice = {
        int(z): farthest(points[points[:, 0] == z] * spacing) for z in np.unique(points[:, 0])
    }
    longest = max(by_slice.values())
    length, widest = longest_in_plane_mm(mask, spacing)
    assert length == pytest.approx(longest)
    assert widest == min(z for z, one in by_slice.items() if one > longest * (1 - 1e-9))


@pytest.mark.parametrize(
    ("spacing", "space", "plane"),
    [((2.5, 0.8, 0.6), 2.5, 0.8), ((0.5, 0.6, 0.8), 0.8, 0.8), ((1.0, 1.0, 1.0), 1.0, 1.0)],
)
def test_one_voxel_is_as_long_as_its_longest_edge(spacing, space, plane):
    mask = np.ones((1, 1, 1), bool)
    assert longest_diameter_mm(mask, spacing) == pytest.approx(space)
    assert longest_in_plane_mm(mask, spacing) == (pytest.approx(plane), 0)


def test_a_row_of_voxels_is_as_long_as_the_row():
    mask = np.zeros((1, 1, 12), bool)
    mask[0, 0, 1:11] = True
    assert longest_diameter_mm(mask, (2.0, 0.9, 0.7)) == pytest.approx(7.0)
    assert longest_in_plane_mm(mask, (2.0, 0.9, 0.7)) == (pytest.approx(7.0), 0)


def test_of_equally_long_slices_the_first_is_named():
    assert longest_in_plane_mm(np.ones((5, 3, 4), bool), (1.0, 0.3, 0.7))[1] == 0


def test_a_large_lesion_is_as_long_as_all_its_vertices_say():
    # So ragged that its vertices are more than are compared one by one.
    mask = np.random.default_rng(4).random((40, 44, 48)) < 0.02
    points = vertices(mask, (0, 1, 2)) * (1.3, 0.8, 0.9)
    corners = points[np.linalg.norm(points - points.mean(axis=0), axis=1).argsort()[-400:]]
    assert longest_diameter_mm(mask, (1.3, 0.8, 0.9)) == pytest.approx(farthest(corners))
