"""Studies as vendors write them: from their tags to the phases, or to what must be said."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from messages.phases import DCE_ROLES, SeriesFacts, propose
from messages.phases.check import Fault, check_choice
from messages.phases.heads import facts_of
from messages.phases.numbering import or_numbered
from messages.phases.parts import FRAME_PHASE_KEYWORDS, ImageFacts, parts_of
from messages.phases.values import integer
from messages.request import PhaseSelector
from tests.layouts import old_calls
from tests.layouts.every import LAYOUTS
from tests.layouts.tags import Layout, Series

every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


@dataclass(frozen=True)
class Placed:
    """Where an image lies."""

    position: tuple[float, float, float]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]


def numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split("\\"))


def read(series: Series) -> SeriesFacts:
    """What an archive would tell of the series, its images in the order in which they came."""
    tags = [series.tags | image for image in series.images]
    placed = [
        Placed(
            numbers(image["ImagePositionPatient"]),  # type: ignore[arg-type]
            numbers(image["ImageOrientationPatient"]),
            numbers(image["PixelSpacing"]),
        )
        for image in tags
    ]
    wanted = (*FRAME_PHASE_KEYWORDS, "AcquisitionDate")
    images = [
        ImageFacts(at.position, {name: image[name] for name in wanted if name in image})
        for at, image in zip(placed, tags, strict=True)
    ]
    numbered = [integer(image.get("InstanceNumber", "")) for image in tags]
    said = {image.get("NumberOfTemporalPositions", "") for image in tags}
    parts = or_numbered(parts_of(images), images, numbered, said)
    bare = SeriesFacts(
        series_id=series.series_id,
        modality=series.tags["Modality"],
        description=series.tags["SeriesDescription"],
        instance_count=series.objects if series.multi_frame else len(tags),
    )
    heads = [tags[part.images[0]] for part in parts.parts] or tags[:1]
    return facts_of(bare, placed, parts, heads)


def shuffled(layout: Layout) -> list[Series]:
    """The study as an archive gives it: series and images in no order."""
    order = random.Random(layout.name)
    series = [
        replace(s, images=tuple(order.sample(s.images, len(s.images)))) for s in layout.series
    ]
    return order.sample(series, len(series))


def test_there_are_at_least_twelve_layouts_each_with_a_name_of_its_own():
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS) >= 12


@every_layout
def test_the_phases_of_a_layout_are_found_or_its_problem_is_said(layout):
    made = propose([read(series) for series in shuffled(layout)])

    assert made.problem is layout.problem
    assert [choice.role for choice in made.choices] == list(DCE_ROLES[: len(layout.phases)])
    assert tuple((c.series_id, c.keyword, c.value) for c in made.choices) == layout.phases
    assert made.left_out == layout.left_out
    assert [c.seconds_after_first for c in made.choices] == [
        None if seconds is None else pytest.approx(seconds, abs=1e-3) for seconds in layout.seconds
    ]


@every_layout
def test_what_is_proposed_passes_the_checks_and_can_be_asked_for(layout):
    facts = {series.series_id: read(series) for series in layout.series}
    made = propose(list(facts.values()))
    chosen = [
        phase
        for choice in made.choices
        for phase in facts[choice.series_id].phases
        if (phase.keyword, phase.value) == (choice.keyword, choice.value)
    ]
    for phase in chosen:
        if phase.keyword:
            PhaseSelector(keyword=phase.keyword, value=phase.value)
    assert len(chosen) == len(layout.phases)
    homes = [choice.series_id for choice in made.choices]
    concerns = check_choice(chosen, DCE_ROLES, homes) if chosen else []
    assert {concern.fault for concern in concerns} == layout.doubts
    assert not any(concern.refuses for concern in concerns)


@pytest.mark.parametrize(
    ("layout", "faults"),
    [
        (old_calls.SPLIT_RUN, {Fault.SAME_TIME}),
        (old_calls.UNDATED_MIDNIGHT, {Fault.DOUBTFUL_ORDER, Fault.TOO_FAR_APART}),
        (old_calls.ODD_TIMES, {Fault.DOUBTFUL_ORDER}),
        (old_calls.LATE_PHASE, {Fault.TOO_FAR_APART}),
        (old_calls.UNTIMED, {Fault.NO_TIME}),
    ],
)
def test_four_series_in_the_order_of_a_person_are_doubted_and_not_refused(layout, faults):
    facts = {series.series_id: read(series) for series in layout.series}
    chosen = [facts[name].phases[0] for name in old_calls.NAMED]

    concerns = check_choice(chosen, DCE_ROLES, old_calls.NAMED)

    assert {concern.fault for concern in concerns} == faults
    assert not any(concern.refuses for concern in concerns)
