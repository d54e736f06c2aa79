"""What speaks against a choice of phases before it is queued."""

from __future__ import annotations

from dataclasses import replace

import pytest

from messages.phases import DCE_ROLES, GridFacts, PhaseFacts
from messages.phases.check import Concern, Fault, check_choice
from messages.phases.grid import ends

AXIAL = GridFacts(
    rows=448,
    columns=448,
    slices=80,
    orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    pixel_spacing=(0.8, 0.8),
    first=(-180.0, -180.0, -90.0),
    last=(-180.0, -180.0, 68.0),
    frame_of_reference_uid="1.2.3",
)
GOOD = [PhaseFacts("", "", 90.0 * n, 80, AXIAL) for n in range(4)]


#: All phases in one series, or each in its own.
ONE, OWN = ("dyn",) * 4, tuple("abcd")


def faults(chosen: list[PhaseFacts]) -> list[tuple[Fault, tuple[str, ...]]]:
    return [(c.fault, c.roles) for c in check_choice(chosen, DCE_ROLES, OWN)]


def test_a_good_choice_raises_no_concern() -> None:
    assert check_choice(GOOD, DCE_ROLES) == []
    assert check_choice([PhaseFacts(grid=AXIAL)], ("image",)) == []


def test_another_number_of_phases_is_refused() -> None:
    assert check_choice(GOOD[:3], DCE_ROLES) == [Concern(Fault.COUNT, (), 3, 4)]


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        ((0.0, 180.0, 90.0, 300.0), Fault.DOUBTFUL_ORDER),
        ((0.0, 90.0, 90.0, 300.0), Fault.SAME_TIME),
        ((0.0, 90.0, 89.5, 300.0), Fault.SAME_TIME),
        ((0.0, 90.0, 180.0, 7300.0), Fault.TOO_FAR_APART),
        ((0.0, 90.0, 94.0, 300.0), Fault.TOO_CLOSE),
        ((0.0, 90.0, None, 300.0), Fault.NO_TIME),
    ],
)
def test_doubtful_times_are_said_and_do_not_refuse_what_a_person_put_in_order(times, fault):
    chosen = [replace(p, acquired_at_s=t) for p, t in zip(GOOD, times, strict=True)]
    (concern,) = check_choice(chosen, DCE_ROLES, OWN)
    assert (concern.fault, concern.refuses) == (fault, False)
    where = {Fault.TOO_FAR_APART: (), Fault.NO_TIME: ("post2",)}
    assert concern.roles == where.get(fault, ("post1", "post2"))


def test_dates_that_say_another_order_refuse_it_as_the_lab_would() -> None:
    times = (0.0, 180.0, 90.0, 300.0)
    chosen = [replace(p, acquired_at_s=t, dated_at_s=t) for p, t in zip(GOOD, times, strict=True)]
    (concern,) = check_choice(chosen, DCE_ROLES, OWN)
    assert (concern.fault, concern.roles, concern.found) == (
        Fault.OUT_OF_ORDER,
        ("post1", "post2"),
        -90.0,
    )
    assert concern.refuses
    # One date is not enough.
    chosen[1] = replace(chosen[1], dated_at_s=None)
    assert not any(c.refuses for c in check_choice(chosen, DCE_ROLES, OWN))


@pytest.mark.parametrize(
    ("values", "expected"),
    [("1234", []), ("1224", [Fault.SAME_TIME]), ("1324", [Fault.OUT_OF_ORDER])],
)
def test_phases_of_one_time_are_ordered_by_what_counts_them(values, expected) -> None:
    for keyword in ("TemporalPositionIdentifier", "AcquisitionNumber"):
        chosen = [replace(GOOD[0], keyword=keyword, value=v, dated_at_s=0.0) for v in values]
        assert [c.fault for c in check_choice(chosen, DCE_ROLES, ONE)] == expected
        assert {c.fault for c in check_choice(chosen, DCE_ROLES, OWN)} == {Fault.SAME_TIME}


def test_within_one_series_a_count_beats_a_time_that_was_concluded() -> None:
    keyword = "TemporalPositionIdentifier"
    times = (120.0, 180.0, 0.0, 240.0)
    counted = [
        PhaseFacts(keyword, str(n), t, 80, AXIAL, dated_at_s=36_000.0)
        for n, t in enumerate(times, 1)
    ]
    assert check_choice(counted, DCE_ROLES, ONE) == []
    turned = [counted[n] for n in (2, 0, 1, 3)]
    (concern,) = check_choice(turned, DCE_ROLES, ONE)
    assert (concern.fault, concern.roles) == (Fault.OUT_OF_ORDER, ("pre", "post1"))


def test_dated_times_that_differ_decide_against_a_count() -> None:
    chosen = [
        PhaseFacts("AcquisitionNumber", value, 90.0 * n, 80, AXIAL, dated_at_s=90.0 * n)
        for n, value in enumerate("4321")
    ]
    assert check_choice(chosen, DCE_ROLES, ONE) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"slices": 79}, Fault.SLICE_COUNT),
        ({"rows": 512}, Fault.MATRIX),
        ({"columns": 512}, Fault.MATRIX),
        ({"orientation": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)}, Fault.ORIENTATION),
        ({"pixel_spacing": (0.8, 0.79)}, Fault.SPACING),
        ({"first": (-180.0, -180.0, -91.0)}, Fault.POSITION),
        ({"last": (-181.0, -180.0, 68.0)}, Fault.POSITION),
        ({"frame_of_reference_uid": "1.2.4"}, Fault.FRAME_OF_REFERENCE),
    ],
)
def test_a_phase_on_another_grid_is_refused(changes, fault) -> None:
    chosen = [*GOOD[:3], replace(GOOD[3], grid=replace(AXIAL, **changes))]
    (concern,) = check_choice(chosen, DCE_ROLES)
    assert (concern.fault, concern.roles, concern.refuses) == (fault, ("pre", "last"), True)


def test_grids_may_differ_by_the_rounding_of_decimal_text() -> None:
    rounded = replace(
        AXIAL,
        orientation=(0.9999, 0.0001, 0.0, 0.0, 0.9999, 0.0),
        pixel_spacing=(0.8004, 0.8),
        first=(-180.0, -179.98, -90.01),
    )
    assert faults([*GOOD[:3], replace(GOOD[3], grid=rounded)]) == []


def test_a_grid_that_is_not_known_is_a_warning_and_its_images_are_still_counted() -> None:
    chosen = [*GOOD[:3], replace(GOOD[3], grid=None)]
    assert faults(chosen) == [(Fault.NO_GRID, ("last",))]
    chosen[3] = replace(chosen[3], image_count=79)
    assert faults(chosen)[0] == (Fault.SLICE_COUNT, ("pre", "last"))


def test_the_one_phase_of_a_model_has_no_order_but_a_grid() -> None:
    scout = PhaseFacts(image_count=3)
    assert check_choice([scout], ("image",)) == [Concern(Fault.NO_GRID, ("image",))]


def test_the_ends_of_a_stack_are_found_along_its_normal() -> None:
    sagittal = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    positions = [(float(x), -90.0, 80.0) for x in (6, 2, 8, 4, 2)]
    first, last, count = ends(positions, sagittal)
    assert ({first[0], last[0]}, count) == ({2.0, 8.0}, 4)
