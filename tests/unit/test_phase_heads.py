"""The tags of one image of each phase tell what the series is."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from messages.phases import SeriesFacts
from messages.phases.heads import facts_of
from messages.phases.kind import LeftOut, kind_of
from messages.phases.parts import Part, Parts, Unclear

BARE = SeriesFacts("a", "MR", "dyn", 4)
HEAD = {
    "StudyDate": "20260302",
    "AcquisitionDate": "20260302",
    "AcquisitionTime": "101500",
    "ImageType": "ORIGINAL\\PRIMARY\\M",
    "Rows": "448",
    "Columns": "448",
    "PixelSpacing": "0.8\\0.8",
    "ImageOrientationPatient": "1\\0\\0\\0\\1\\0",
    "EchoTime": "1.6",
}


@dataclass(frozen=True)
class Placed:
    """Where an image lies."""

    position: tuple[float, float, float] | None
    orientation: tuple[float, ...] | None = None
    spacing: tuple[float, ...] | None = None


IMAGES = [Placed((0.0, 0.0, 2.0 * z)) for z in (0, 1, 0, 1)]
TWO = Parts((Part("AcquisitionNumber", "1", (0, 1)), Part("AcquisitionNumber", "2", (2, 3))))


def facts(*heads: dict[str, str], images: list[Placed] = IMAGES) -> SeriesFacts:
    return facts_of(BARE, images, TWO, [HEAD | head for head in heads])


def test_each_phase_has_its_time_and_its_grid():
    found = facts({}, {"AcquisitionTime": "101630"})
    assert [phase.dated_at_s for phase in found.phases] == [36_900.0, 36_990.0]
    assert [phase.grid.slices for phase in found.phases if phase.grid] == [2, 2]
    assert (found.image_count, found.image_type) == (4, ("ORIGINAL", "PRIMARY", "M"))
    assert found.scan == {"EchoTime": "1.6"}


def test_a_phase_whose_image_was_not_read_has_neither():
    first, last = facts({}).phases
    assert first.grid is not None
    assert (last.value, last.acquired_at_s, last.grid, last.image_count) == ("2", None, None, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"Rows": "99999"},
        {"Rows": "0"},
        {"Columns": "x"},
        {"PixelSpacing": "1"},
        {"PixelSpacing": "nan\\1"},
        {"ImageOrientationPatient": "1\\0"},
    ],
)
def test_a_grid_that_is_not_told_is_not_known(change):
    assert [phase.grid for phase in facts(change, change).phases] == [None, None]


def test_images_that_are_turned_lie_on_no_common_grid():
    turned = [
        Placed(image.position, (1.0, 0, 0, 0, 1 - n / 100, 0)) for n, image in enumerate(IMAGES)
    ]
    assert [phase.grid for phase in facts({}, {}, images=turned).phases] == [None, None]


@pytest.mark.parametrize(
    "other",
    [
        {"ImageType": "ORIGINAL\\PRIMARY\\P"},
        {"ImageType": "DERIVED\\PRIMARY\\M\\SUB"},
        {"EchoTime": "3.2"},
    ],
)
def test_phases_of_several_kinds_are_none(other):
    for heads in (({}, other), (other, {})):
        found = facts(*heads)
        assert (found.phases, found.unclear) == ((), Unclear.SEVERAL_KINDS)
        # Not left out for what only some of its images are.
        assert kind_of(found) is None


def test_what_a_phase_does_not_say_counts_as_equal():
    assert facts({"ImageType": "", "EchoTime": ""}, {}).unclear is None


def test_a_series_that_is_of_several_kinds_and_none_dynamic_is_known_by_the_first():
    kinds = [{"ImageType": f"DERIVED\\PRIMARY\\DIFFUSION\\{name}"} for name in ("ADC", "TRACEW")]
    assert kind_of(facts(*kinds)) is LeftOut.DIFFUSION


def test_an_unclear_series_is_known_by_any_image():
    found = facts_of(BARE, IMAGES, Parts((), Unclear.NOT_SEPARABLE), [HEAD])
    assert (found.unclear, found.phases, found.scan) == (
        Unclear.NOT_SEPARABLE,
        (),
        {"EchoTime": "1.6"},
    )
    assert facts_of(BARE, IMAGES, Parts((), Unclear.NOT_SEPARABLE), []).image_type == ()
