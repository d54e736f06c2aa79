"""The figures of a result are those of all its lesions together."""

import numpy as np
import pytest

from consumer.payloads import Figures
from consumer.result.lesions import figures, measure, split

SPACING = (2.0, 1.0, 1.0)


def told(mask: np.ndarray, slices: int) -> Figures:
    lesions = measure(split(mask, SPACING, 0).labels, SPACING, 0)
    return figures(mask, lesions, SPACING, slices)


def test_two_foci_are_not_one_long_tumour_but_add_their_volumes():
    mask = np.zeros((4, 4, 40), bool)
    mask[1, 1, 0:3] = True
    mask[1, 1, 35:40] = True
    result = told(mask, 9)
    assert result.longest_diameter_mm == pytest.approx(5.0)
    assert (result.volume_voxels, result.volume_ml) == (8, pytest.approx(0.016))
    assert (result.slices, result.slices_with_tumor) == (9, 1)


def test_the_longest_lesion_need_not_be_the_largest():
    mask = np.zeros((4, 6, 40), bool)
    mask[0, :3, :3] = True
    mask[3, 5, 20:28] = True
    assert told(mask, 4).longest_diameter_mm == pytest.approx(8.0)


def test_slices_of_several_lesions_are_counted_once():
    mask = np.zeros((6, 6, 6), bool)
    mask[1:4, 0, 0] = True
    mask[3:5, 5, 5] = True
    assert told(mask, 6).slices_with_tumor == 4


def test_nothing_has_no_figures():
    assert told(np.zeros((2, 2, 2), bool), 7) == Figures(False, 0, 0.0, 0.0, 7, 0)
