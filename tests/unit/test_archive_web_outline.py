"""The outline marks what the mask marks, no more and no less."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from web.results.outline import outline_path


def filled(path: str, shape: tuple[int, int]) -> np.ndarray:
    """What an even-odd fill of the path covers: crossings to the left of each pixel's centre."""
    covered = np.zeros(shape, dtype=bool)
    for loop in re.findall(r"M([^Z]*)Z", path):
        points = [tuple(map(int, point.split())) for point in loop.split("L")]
        for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
            if x0 == x1:
                covered[min(y0, y1) : max(y0, y1), x0:] ^= True
    return covered


@given(arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_filling_the_outline_gives_the_mask_again(mask):
    assert np.array_equal(filled(outline_path(mask), mask.shape), mask)


def test_a_rectangle_has_four_corners_along_its_pixel_edges():
    mask = np.zeros((5, 6), dtype=bool)
    mask[1:3, 2:5] = True

    assert outline_path(mask) == "M2 1L5 1L5 3L2 3Z"


def test_a_hole_is_a_loop_of_its_own():
    mask = np.ones((3, 3), dtype=bool)
    mask[1, 1] = False

    assert outline_path(mask).count("M") == 2


def test_an_empty_mask_has_no_outline():
    assert outline_path(np.zeros((4, 4), dtype=bool)) == ""
