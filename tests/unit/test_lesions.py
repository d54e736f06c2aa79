"""A mask is split into lesions, and they are measured as a whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import generate_binary_structure, label

from consumer.result.lesions import MAX_LESIONS, boxes, measure, split

CUBE = (1.0, 1.0, 1.0)
MASKS = arrays(bool, st.tuples(*[st.integers(1, 9)] * 3))
FEW = settings(max_examples=100, derandomize=True, deadline=None, database=None)


def marks(*places: tuple[int, int, int, int], shape: tuple[int, int, int] = (9, 9, 40)):
    """Rows of voxels: slice, row, first column, length."""
    mask = np.zeros(shape, bool)
    for z, y, x, length in places:
        mask[z, y, x : x + length] = True
    return mask


def test_marks_that_touch_at_a_corner_are_one_lesion():
    mask = marks((1, 1, 1, 2), (2, 2, 3, 2))
    assert split(mask, CUBE, 0).labels.max() == 1


def test_marks_with_one_voxel_between_them_are_two():
    mask = marks((1, 1, 1, 2), (1, 1, 4, 2))
    assert split(mask, CUBE, 0).labels.max() == 2


def test_the_largest_comes_first_and_equals_stay_in_the_order_of_their_voxels():
    mask = np.zeros((9, 9, 9), bool)
    mask[::2, ::2, ::4] = True  # 75 marks
    mask[6, 8, 7] = True
    labels = split(mask, CUBE, 0).labels
    assert labels[6, 8, 8] == labels[6, 8, 7] == 1
    assert [int(number) for number in labels[labels > 1]] == list(range(2, MAX_LESIONS + 1))


def test_a_mark_below_the_smallest_size_is_left_out_and_counted():
    # 0.7 x 0.7 x 0.7 mm: three voxels are 1.029 mm^3, two are 0.686.
    found = split(marks((0, 0, 0, 3), (2, 0, 0, 2), (4, 0, 0, 1)), (0.7, 0.7, 0.7), 1.0)
    assert (found.labels.max(), found.left_out) == (1, 2)
    assert np.count_nonzero(found.labels) == 3


@pytest.mark.parametrize("spacing", [(2.5, 0.8, 0.5), (0.1, 0.7, 0.7), (3.3, 0.3, 0.9)])
def test_a_mark_of_exactly_the_smallest_size_is_a_lesion(spacing):
    decimal = round(10 * spacing[0] * spacing[1] * spacing[2], 6)
    assert split(marks((0, 0, 0, 10)), spacing, decimal).left_out == 0


def test_a_smallest_size_of_zero_keeps_every_mark():
    found = split(marks((0, 0, 0, 1), (0, 0, 2, 1)), (0.01, 0.01, 0.01), 0)
    assert (found.labels.max(), found.left_out) == (2, 0)


def test_of_many_marks_the_largest_are_lesions_and_the_others_are_counted():
    mask = np.zeros((20, 20, 6), bool)
    mask[::2, ::2, 0] = True  # 100 marks
    mask[18, 18, :4] = True
    found = split(mask, CUBE, 0)
    assert (int(found.labels.max()), found.left_out) == (MAX_LESIONS, 100 - MAX_LESIONS)
    assert found.labels[18, 18, 3] == 1


def test_an_empty_mask_has_no_lesion():
    found = split(np.zeros((3, 4, 5), bool), CUBE, 10.0)
    assert (found.labels.shape, found.left_out) == ((3, 4, 5), 0)
    assert measure(found.labels, CUBE, 0) == ()


@FEW
@given(MASKS)
def test_lesions_are_the_connected_parts_of_the_mask(mask):
    found = split(mask, CUBE, 0)
    reference, count = label(mask, structure=generate_binary_structure(3, 3))
    lesions = min(count, MAX_LESIONS)
    assert int(found.labels.max()) == lesions
    assert found.left_out == count - lesions
    # One number for each part, and the parts in order of size.
    pairs = {(int(a), int(b)) for a, b in zip(found.labels[mask], reference[mask], strict=True)}
    assert len({b for a, b in pairs if a}) == len({a for a, b in pairs if a}) == lesions
    assert not found.labels[~mask].any()
    sizes = np.bincount(found.labels.ravel())[1:]
    assert (np.diff(sizes.astype(int)) <= 0).all()


@FEW
@given(MASKS, st.integers(0, 50))
def test_measures_agree_with_the_voxels(mask, first_slice):
    spacing = (2.0, 0.9, 0.7)
    labels = split(mask, spacing, 0).labels
    lesions = measure(labels, spacing, first_slice)
    assert [lesion.number for lesion in lesions] == list(range(1, len(lesions) + 1))
    for lesion in lesions:
        marked = labels == lesion.number
        slices = np.flatnonzero(marked.any(axis=(1, 2))) + first_slice
        assert lesion.voxels == np.count_nonzero(marked)
        assert lesion.volume_ml == pytest.approx(lesion.voxels * 2.0 * 0.9 * 0.7 / 1000)
        assert lesion.slices == (slices[0], slices[-1])
        assert lesion.in_plane_slice in slices
        assert lesion.longest_in_plane_mm <= lesion.longest_diameter_mm * (1 + 1e-9)


def test_the_slice_of_the_in_plane_diameter_is_that_of_the_series():
    labels = split(marks((1, 4, 4, 3), (2, 4, 4, 5), (3, 4, 4, 2)), CUBE, 0).labels
    lesion = measure(labels, CUBE, first_slice=30)[0]
    assert (lesion.in_plane_slice, lesion.longest_in_plane_mm) == (32, pytest.approx(5.0))


def test_lesions_that_are_not_numbered_through_are_refused():
    labels = split(marks((0, 0, 0, 3), (2, 0, 0, 2)), CUBE, 0).labels
    labels[labels == 1] = 0
    with pytest.raises(ValueError, match="no lesion 1"):
        measure(labels, CUBE, 0)


def test_boxes_hold_their_lesion_and_nothing_around():
    labels = split(marks((1, 2, 3, 4), (5, 6, 20, 2)), CUBE, 0).labels
    assert boxes(labels) == [
        (slice(1, 2), slice(2, 3), slice(3, 7)),
        (slice(5, 6), slice(6, 7), slice(20, 22)),
    ]
