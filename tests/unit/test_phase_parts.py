"""The phases of one series are told apart by its images, or it is said why not."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages.phases.grid import ends
from messages.phases.parts import PHASE_KEYWORDS, ImageFacts, Part, Parts, Unclear, parts_of
from messages.phases.positions import places_of
from messages.phases.times import began_at, dated_at, seconds_from, timed
from messages.request import PhaseSelector

SLICES = 4


def image(z: float, **values: str) -> ImageFacts:
    return ImageFacts(position=(-90.0, -90.0, z), values=values)


def run(keyword: str, values: list[str], slices: int = SLICES) -> list[ImageFacts]:
    return [image(2.5 * z, **{keyword: value}) for value in values for z in range(slices)]


def sizes(parts: Parts) -> list[int]:
    return [len(part.images) for part in parts.parts]


def test_a_series_in_which_every_position_occurs_once_is_one_phase():
    images = run("TemporalPositionIdentifier", ["3"])
    assert parts_of(images) == Parts((Part("", "", (0, 1, 2, 3)),))


def test_one_phase_needs_no_keyword_even_where_one_differs_between_its_slices():
    images = [image(float(z), ContentTime=f"1015{z:02d}") for z in range(SLICES)]
    assert parts_of(images).parts == (Part("", "", (0, 1, 2, 3)),)


def test_a_single_image_is_one_phase_even_without_a_position():
    assert parts_of([ImageFacts(None, {})]).parts == (Part("", "", (0,)),)


def test_no_images_are_no_phase():
    assert parts_of([]) == Parts(())


@pytest.mark.parametrize("keyword", ["TemporalPositionIndex", *PHASE_KEYWORDS])
def test_each_keyword_tells_phases_apart_in_the_order_of_its_values(keyword):
    images = run(keyword, ["101500", "101630", "101800"])
    random.Random(1).shuffle(images)
    parts = parts_of(images)
    assert parts.unclear is None
    assert [(p.keyword, p.value) for p in parts.parts] == [
        (keyword, value) for value in ("101500", "101630", "101800")
    ]
    for part in parts.parts:
        assert {images[i].values[keyword] for i in part.images} == {part.value}
        assert len({images[i].position for i in part.images}) == SLICES


def test_numbers_are_compared_and_ordered_as_numbers():
    first, second, tenth = (
        [image(float(z), AcquisitionNumber=value) for z in range(2)] for value in ("1", "2", "10")
    )
    first[1] = image(1.0, AcquisitionNumber=" 1.0 ")
    parts = parts_of([*tenth, *second, *first])
    assert [p.value for p in parts.parts] == ["1", "2", "10"]
    assert sizes(parts) == [2, 2, 2]


def test_the_most_telling_keyword_that_divides_equally_is_taken():
    images = [
        image(
            float(z),
            AcquisitionNumber="1",
            TriggerTime=str(phase * 90_000),
            AcquisitionTime=f"1015{phase:02d}",
            ContentTime=f"1015{z:02d}.{phase}",
        )
        for phase in range(3)
        for z in range(SLICES)
    ]
    assert {p.keyword for p in parts_of(images).parts} == {"TriggerTime"}


def test_a_keyword_that_an_image_lacks_does_not_qualify():
    images = run("TemporalPositionIdentifier", ["1", "2"])
    images = [
        ImageFacts(i.position, {**i.values, "AcquisitionNumber": str(7 + n // SLICES)})
        for n, i in enumerate(images)
    ]
    images[3] = ImageFacts(images[3].position, {"AcquisitionNumber": "7"})
    assert [(p.keyword, p.value) for p in parts_of(images).parts] == [
        ("AcquisitionNumber", "7"),
        ("AcquisitionNumber", "8"),
    ]


def test_a_time_of_each_slice_tells_no_phases_apart():
    images = [
        image(float(z), ContentTime=f"1015{phase}{z}") for phase in range(3) for z in range(SLICES)
    ]
    assert parts_of(images) == Parts((), Unclear.NOT_SEPARABLE)


def test_two_images_at_one_place_that_nothing_tells_apart_are_not_separable():
    images = [*run("AcquisitionNumber", ["1"]), image(0.0, AcquisitionNumber="1")]
    assert parts_of(images).unclear is Unclear.NOT_SEPARABLE


def test_echoes_of_each_phase_are_not_taken_for_phases():
    images = [*run("AcquisitionNumber", ["1", "2"]), *run("AcquisitionNumber", ["1", "2"])]
    assert parts_of(images).unclear is Unclear.NOT_SEPARABLE


@pytest.mark.parametrize("missing", [0, SLICES + 1, 4 * SLICES - 1])
def test_a_phase_that_lacks_a_slice_is_incomplete(missing):
    images = run("AcquisitionNumber", ["1", "2", "3", "4"])
    del images[missing]
    assert parts_of(images) == Parts((), Unclear.INCOMPLETE_PHASE)


def test_a_phase_of_the_right_size_with_a_slice_twice_is_not_guessed():
    images = run("AcquisitionNumber", ["1", "2"])
    images[-1] = images[-2]
    assert parts_of(images).parts == ()


@pytest.mark.parametrize(
    "position", [None, (0.0, float("nan"), 0.0), (1e308, 0.0, 0.0), (0.0, 0.0, -float("inf"))]
)
def test_an_image_without_a_place_makes_it_unclear(position):
    images = [*run("AcquisitionNumber", ["1", "2"]), ImageFacts(position, {})]
    assert parts_of(images).unclear is Unclear.NO_POSITION


@given(st.lists(st.tuples(*[st.floats()] * 3), max_size=6), st.tuples(*[st.floats()] * 6))
def test_no_number_in_a_position_raises(positions, orientation):
    images = [ImageFacts(at, {"AcquisitionNumber": "1"}) for at in positions]
    parts = parts_of(images)
    assert parts.parts or parts.unclear or not images
    assert len(places_of(positions)) == len(positions)
    if positions:
        assert 1 <= ends(positions, orientation)[2] <= len(positions)


def test_positions_are_compared_within_the_rounding_of_decimal_text():
    images = [
        image(2.5 * z + 0.004 * (phase - 1), AcquisitionNumber=str(phase))
        for phase in range(3)
        for z in range(SLICES)
    ]
    assert sizes(parts_of(images)) == [SLICES] * 3


def test_a_value_that_a_request_cannot_carry_is_said():
    images = run("AcquisitionTime", ["10h15", "10h17"])
    assert parts_of(images).unclear is Unclear.VALUE_NOT_CARRIED


def test_a_number_with_an_exponent_is_written_out():
    parts = parts_of(run("TriggerTime", ["0", "9.05e4"]))
    assert [p.value for p in parts.parts] == ["0", "90500"]


def test_phases_past_midnight_keep_the_order_of_their_days():
    late = [
        ImageFacts(i.position, {**i.values, "AcquisitionDate": "20260102"})
        for i in run("AcquisitionTime", ["235830"])
    ]
    early = [
        ImageFacts(i.position, {**i.values, "AcquisitionDate": "20260103"})
        for i in run("AcquisitionTime", ["000001"])
    ]
    assert [p.value for p in parts_of([*early, *late]).parts] == ["235830", "000001"]


def test_the_same_clock_time_on_two_days_cannot_be_asked_for():
    images = [
        ImageFacts(i.position, {**i.values, "AcquisitionDate": day})
        for day in ("20260102", "20260103")
        for i in run("AcquisitionTime", ["101500"])
    ]
    assert parts_of(images).unclear is Unclear.VALUE_NOT_CARRIED


@given(
    phases=st.integers(1, 6),
    slices=st.integers(1, 7),
    keyword=st.sampled_from(PHASE_KEYWORDS),
    seed=st.randoms(use_true_random=False),
    drop=st.booleans(),
)
def test_whatever_the_order_each_part_is_whole_and_every_image_is_in_one(
    phases, slices, keyword, seed, drop
):
    images = run(keyword, [f"{101500 + 90 * n}" for n in range(phases)], slices)
    seed.shuffle(images)
    if drop and phases > 1 and slices > 1:
        del images[0]
        assert parts_of(images).parts == ()
        return
    parts = parts_of(images)
    assert parts.unclear is None
    assert sizes(parts) == [slices] * phases
    assert sorted(i for p in parts.parts for i in p.images) == list(range(len(images)))
    for part in parts.parts:
        if part.keyword:
            PhaseSelector(keyword=part.keyword, value=part.value)
            assert re.fullmatch(r"[0-9.:+-]{1,32}", part.value)


def test_times_are_those_of_the_first_image_of_each_part():
    images = [
        image(float(z), AcquisitionNumber=str(n), AcquisitionTime=f"1015{30 * n + z:02d}.5")
        for n in range(2)
        for z in range(SLICES)
    ]
    parts = parts_of(images).parts
    assert began_at(images, parts, "20260102") == (36_900.5, 36_930.5)


def test_the_next_day_counts_on_from_the_day_of_the_study():
    assert seconds_from("20260102", "20260103", "000130") == 86_490.0
    assert seconds_from("20260102", "", "10:15:30") == 36_930.0
    assert seconds_from("20260102", "20260102", "noon") is None


def test_a_run_with_one_acquisition_time_is_timed_by_its_trigger_times():
    images = [
        image(
            float(z),
            TemporalPositionIdentifier=str(n + 1),
            TriggerTime=str(5000 + 90_000 * n),
            AcquisitionTime="101500",
        )
        for n in range(3)
        for z in range(SLICES)
    ]
    parts = parts_of(images).parts
    assert began_at(images, parts, "20260102") == (36_900.0, 36_990.0, 37_080.0)


def test_without_trigger_times_the_content_times_of_the_phases_tell_them() -> None:
    images = [
        image(float(z), ContentTime=at, AcquisitionTime="101500")
        for at in ("101512", "101642", "101812.5")
        for z in range(SLICES)
    ]
    parts = parts_of(images).parts
    assert [p.keyword for p in parts] == ["ContentTime"] * 3
    assert began_at(images, parts, "20260102") == (36_900.0, 36_990.0, 37_080.5)


def test_trigger_times_that_differ_from_slice_to_slice_time_no_phase():
    images = [
        image(float(z), AcquisitionNumber=str(n), TriggerTime=str(z + n), AcquisitionTime="101500")
        for n in range(2)
        for z in range(SLICES)
    ]
    parts = parts_of(images).parts
    assert began_at(images, parts, "20260102") == (36_900.0, 36_900.0)


def test_a_phase_of_which_an_image_says_no_time_has_none():
    images = run("AcquisitionNumber", ["1"])
    images = [ImageFacts(i.position, {**i.values, "AcquisitionTime": "101500"}) for i in images]
    images[2] = image(5.0, AcquisitionNumber="1")
    assert began_at(images, parts_of(images).parts, "20260102") == (None,)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (("103000", "103100", "103230"), (36_900.0, 36_960.0, 37_050.0)),
        # The order of the reconstruction is not that of the scan.
        (("103200", "103000", "103100"), (36_900.0,) * 3),
    ],
)
def test_content_times_of_counted_phases_are_taken_only_where_they_rise(content, expected):
    images = [
        image(
            float(z),
            TemporalPositionIdentifier=str(n),
            AcquisitionTime="101500",
            ContentTime=at,
        )
        for n, at in enumerate(content, 1)
        for z in range(SLICES)
    ]
    assert began_at(images, parts_of(images).parts, "20260102") == expected


@pytest.mark.parametrize("trigger", [("0", "1e308"), ("0", "1e999"), ("0", "nan")])
def test_a_trigger_time_that_no_run_lasts_times_no_phase(trigger):
    images = [
        image(0.0, AcquisitionNumber=str(n), TriggerTime=at, AcquisitionTime="101500")
        for n, at in enumerate(trigger)
    ]
    assert began_at(images, parts_of(images).parts, "20260102") == (36_900.0, 36_900.0)


@pytest.mark.parametrize(
    ("date", "content", "expected"),
    [
        # Acquired before midnight, reconstructed after it.
        ("20260103", "000100", 86_280.0),
        # Both after midnight.
        ("20260103", "235900", 86_280.0 + 86_400.0),
        # Reconstructed days later: the day of the scan is not known.
        ("20260109", "000100", 86_280.0),
        ("00010101", "000100", 86_280.0),
        ("", "000100", 86_280.0),
    ],
)
def test_the_date_of_the_content_is_no_date_of_the_acquisition(date, content, expected):
    images = [image(0.0, AcquisitionTime="235800", ContentDate=date, ContentTime=content)]
    parts = parts_of(images).parts
    assert began_at(images, parts, "20260102") == (expected,)
    assert dated_at(images, parts, "20260102") == (None,)


def test_a_dated_time_is_that_of_date_and_time_as_they_stand():
    images = [
        image(0.0, AcquisitionNumber=str(n), TriggerTime=str(90_000 * n), **timed(told))
        for n, told in enumerate([{"AcquisitionDateTime": "20260103000130.5+0900"}] * 2)
    ]
    parts = parts_of(images).parts
    assert dated_at(images, parts, "20260102") == (86_490.5, 86_490.5)
    assert began_at(images, parts, "20260102") == (86_490.5, 86_580.5)
    assert dated_at(images, parts, "") == (None, None)
