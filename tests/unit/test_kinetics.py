"""The time-intensity curve of a lesion: what is read from it, and what is not known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.result.kinetics import Curve, WashOut, curves, is_dynamic

ROLES = ("pre", "post1", "post2", "last")
SECONDS = (0.0, 150.0, 240.0, 420.0)
SHAPE = (3, 6, 7)


def lesions(*columns: int) -> np.ndarray:
    """One lesion of 12 voxels for each column, numbered as they are given."""
    labels = np.zeros(SHAPE, np.uint16)
    for number, column in enumerate(columns, 1):
        labels[:2, :, column] = number
    return labels


def curve(
    *means: float,
    roles: tuple[str, ...] = ROLES,
    seconds: tuple[float | None, ...] | None = None,
) -> Curve:
    """The curve of a lesion with these means, in images with something brighter elsewhere."""
    volumes = np.full((len(means), *SHAPE), 5e4, np.float32)
    volumes[:, :2, :, 3] = np.array(means)[:, None, None]
    # The voxels of a lesion differ; their mean is what counts.
    volumes[:, 0, :, 3] += 2
    volumes[:, 1, :, 3] -= 2
    when = SECONDS[: len(roles)] if seconds is None else seconds
    return curves(volumes, lesions(3), roles, when)[0]


def test_a_curve_is_the_mean_of_the_lesion_in_each_phase():
    found = curve(100, 250, 240, 200)
    assert found.roles == ROLES
    assert found.seconds == SECONDS
    assert found.means == pytest.approx((100, 250, 240, 200))


def test_wash_in_is_the_first_enhancement_in_percent_of_the_signal_before():
    assert curve(100, 250, 300, 200).wash_in_percent == pytest.approx(150)
    assert curve(200, 150, 300, 200).wash_in_percent == pytest.approx(-25)


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (231, WashOut.PERSISTENT),
        (219, WashOut.PLATEAU),
        (200, WashOut.PLATEAU),
        (181, WashOut.PLATEAU),
        (179, WashOut.WASHOUT),
    ],
)
def test_the_last_phase_against_the_first_after_contrast_makes_the_type(last, kind):
    # Whatever happened between.
    for between in (120, 200, 400):
        assert curve(100, 200, between, last).type is kind


def test_ten_percent_are_still_a_plateau():
    volumes = np.stack([np.full(SHAPE, value, np.float32) for value in (50, 100, 90, 110)])
    volumes[:, 2] = 500
    assert curves(volumes, lesions(3), ROLES, SECONDS)[0].type is WashOut.PLATEAU


def test_of_a_fast_series_the_peak_of_the_first_two_minutes_is_what_the_last_is_compared_with():
    roles = ("pre", "post1", "post2", "post3", "last")
    # The first phase is before the agent arrives; the peak is 90 s after the pre-contrast one.
    found = curve(100, 105, 250, 200, 190, roles=roles, seconds=(0, 30, 90, 180, 400))
    assert found.wash_in_percent == pytest.approx(5)
    assert found.type is WashOut.WASHOUT
    # The same signals when nothing but the first phase is in those minutes.
    late = curve(100, 105, 250, 200, 190, roles=roles, seconds=(0, 100, 190, 280, 400))
    assert late.type is WashOut.PERSISTENT


def test_the_times_count_from_the_last_phase_before_the_contrast():
    roles = ("pre1", "pre2", "post1", "post2", "last")
    found = curve(90, 100, 200, 300, 240, roles=roles, seconds=(0, 100, 130, 210, 400))
    assert found.wash_in_percent == pytest.approx(100)
    assert found.type is WashOut.WASHOUT


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_without_a_time_there_is_no_type_but_the_wash_in(missing):
    seconds = tuple(None if at == missing else value for at, value in enumerate(SECONDS))
    found = curve(100, 250, 240, 150, seconds=seconds)
    assert (found.type, found.wash_in_percent) == (None, pytest.approx(150))
    assert found.seconds == seconds


def test_a_run_of_two_minutes_has_no_delayed_phase():
    assert curve(100, 250, 240, 150, seconds=(0, 30, 60, 120)).type is None
    assert curve(100, 250, 240, 150, seconds=(0, 30, 60, 121)).type is WashOut.WASHOUT


@pytest.mark.parametrize("pre", [0, -40])
def test_enhancement_of_nothing_is_not_known(pre):
    found = curve(pre, 250, 240, 150)
    assert (found.wash_in_percent, found.type) == (None, None)
    assert found.means[0] == pytest.approx(pre)


def test_a_signal_that_falls_to_nothing_has_no_type():
    found = curve(100, -20, -30, -20)
    assert (found.wash_in_percent, found.type) == (pytest.approx(-120), None)


def test_what_does_not_enhance_has_no_type():
    assert curve(100, 105, 100, 109).type is None
    assert curve(100, 105, 100, 90).type is None


def test_what_enhances_late_is_persistent():
    assert curve(100, 105, 110, 140).type is WashOut.PERSISTENT


def cut_off(voxels: int) -> np.ndarray:
    """Images whose greatest value `voxels` of the lesion's 12 have in the first post phase."""
    steps = np.arange(12, dtype=np.float32).reshape(2, 6)
    volumes = np.zeros((4, *SHAPE), np.float32)
    volumes[:, :2, :, 3] = np.array([100, 250, 240, 200])[:, None, None] + steps
    volumes[1, :2, :, 3].flat[:voxels] = 4095
    return volumes


def test_a_signal_that_is_cut_off_has_no_wash_in_and_no_type():
    found = curves(cut_off(2), lesions(3), ROLES, SECONDS)[0]
    assert (found.wash_in_percent, found.type) == (None, None)
    assert len(found.means) == 4


def test_the_brightest_voxel_of_all_is_not_cut_off():
    assert curves(cut_off(1), lesions(3), ROLES, SECONDS)[0].wash_in_percent is not None


def test_voxels_that_are_alike_below_the_greatest_value_are_not_cut_off():
    volumes = cut_off(2)
    volumes[2, 2, 0, 0] = 4096
    assert curves(volumes, lesions(3), ROLES, SECONDS)[0].wash_in_percent is not None


def test_each_lesion_has_its_own_curve():
    volumes = np.full((4, *SHAPE), 9000, np.float32)
    volumes[:, :2, :, 1] = np.array([100, 200, 150, 100])[:, None, None]
    volumes[:, :2, :, 5] = np.array([50, 60, 100, 200])[:, None, None]
    first, second = curves(volumes, lesions(1, 5), ROLES, SECONDS)
    assert (first.type, second.type) == (WashOut.WASHOUT, WashOut.PERSISTENT)
    assert second.means == (50, 60, 100, 200)
    swapped = curves(volumes, lesions(5, 1), ROLES, SECONDS)
    assert swapped == (second, first)


def test_a_large_lesion_is_summed_without_rounding():
    # In single precision a sum over a million voxels loses what tells them apart.
    volumes = np.full((3, 100, 100, 100), 4000.1, np.float32)
    labels = np.ones((100, 100, 100), np.uint16)
    volumes[:, 0, 0, 0] = 5000
    found = curves(volumes, labels, ("pre", "post1", "last"), (0, 150, 400))[0]
    assert found.means[0] == pytest.approx(float(np.float32(4000.1)) + 999.9e-6, abs=1e-4)


@pytest.mark.parametrize(
    ("roles", "dynamic"),
    [
        (("pre", "post1", "post2", "last"), True),
        (("pre", "post1", "last"), True),
        (("pre1", "pre2", "post1", "post2"), True),
        (("image",), False),
        (("pre", "post1"), False),
        (("pre", "last"), False),
        (("post1", "pre", "post2"), False),
        (("pre", "post1", "post2", "t2"), False),
        (("t1", "t2", "flair"), False),
        ((), False),
    ],
)
def test_only_phases_before_and_after_contrast_make_a_curve(roles, dynamic):
    assert is_dynamic(roles) is dynamic


def test_one_phase_is_refused():
    with pytest.raises(ValueError, match="make no curve"):
        curves(np.ones((1, *SHAPE), np.float32), lesions(3), ("image",), (0.0,))


def test_volumes_on_another_grid_are_refused():
    with pytest.raises(ValueError, match="do not match"):
        curves(np.ones((4, 2, 6, 7), np.float32), lesions(3), ROLES, SECONDS)


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=4, max_size=4),
    st.lists(st.none() | st.floats(0, 3600), min_size=4, max_size=4),
)
def test_any_signal_and_any_times_make_a_curve_whose_figures_are_numbers(means, seconds):
    found = curve(*means, seconds=tuple(seconds))
    assert found.wash_in_percent is None or np.isfinite(found.wash_in_percent)
    if found.type is not None:
        assert found.wash_in_percent is not None
        assert None not in seconds
    if found.wash_in_percent is None:
        assert found.means[0] <= 0
