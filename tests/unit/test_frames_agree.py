"""The site, a run by hand and the lab's reader tell the frames of one object apart alike."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue
from pydicom.uid import generate_uid

from consumer.children import enhanced as child
from consumer.manual.facts import look_at
from messages.phases import PhaseFacts
from messages.phases.parts import FRAME_PHASE_KEYWORDS, ImageFacts, parts_of
from messages.phases.times import began_at
from tests.dicom_factory import Series, part10
from tests.enhanced_factory import enhanced
from tests.unit import test_archive_web_series as site
from tests.unit import test_infer_images as by_hand
from web.archive.series_facts import read_series

#: Keyword, value, places, and seconds from midnight, of each phase.
Told = list[tuple[str, str, int, float | None]]


def two_phases() -> list[Series]:
    pre = Series(slices=5)
    return [pre, Series(slices=5, time="101630", study_uid=pre.study_uid, frame_uid=pre.frame_uid)]


def converted() -> Dataset:
    """What highdicom makes of two classic phases that TemporalPositionIdentifier tells apart."""
    phases = two_phases()
    for number, phase in enumerate(phases, 1):
        for place, ds in enumerate(phase.datasets, 1):
            ds.SeriesInstanceUID = phases[0].series_uid
            ds.TemporalPositionIdentifier, ds.NumberOfTemporalPositions = number, 2
            ds.AcquisitionNumber, ds.InstanceNumber = number, 5 * (number - 1) + place
            # It is equal in all: highdicom wants it so.
            ds.StudyTime = "101500"
    return LegacyConvertedEnhancedMRImage(
        [ds for phase in phases for ds in phase.datasets],
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
    )


def converted_and_shared() -> Dataset:
    """One with a date and time of all frames, and of each a time into the run."""
    ds = enhanced(two_phases())
    shared, own = Dataset(), ds.PerFrameFunctionalGroupsSequence
    shared.AcquisitionDate, shared.AcquisitionTime = "20260103", "000010"
    (common,) = ds.SharedFunctionalGroupsSequence
    common.UnassignedSharedConvertedAttributesSequence = [shared]
    for group in own:
        (content,) = group.FrameContentSequence
        alone = Dataset()
        alone.TriggerTime = str(90_000 * (content.TemporalPositionIndex - 1))
        group.UnassignedPerFrameConvertedAttributesSequence = [alone]
        del group.FrameContentSequence
    return ds


def split() -> Dataset:
    """One whose frames say all of themselves, in an order that nothing follows from."""
    phases = two_phases()
    order = [(place % 2, place // 2) for place in range(10)]
    return enhanced(phases, order=order[3:] + order[:3], shared=frozenset())


def orthanc_tells(ds: Dataset) -> dict[str, Any]:
    """The simplified tags of Orthanc: texts by keyword, lists for sequences."""
    return {
        element.keyword: [orthanc_tells(item) for item in element.value]
        if element.VR == "SQ"
        else "\\".join(map(str, element.value))
        if isinstance(element.value, MultiValue)
        else str(element.value)
        for element in ds
        if element.keyword != "PixelData"
    }


def by_the_site(ds: Dataset) -> Sequence[PhaseFacts]:
    listed = [site.instance(1, None, NumberOfFrames=str(ds.NumberOfFrames))]
    archive = site.Archive(listed, lambda _: orthanc_tells(ds))
    return read_series(archive.orthanc, archive.item()).facts.phases


def by_the_command(ds: Dataset) -> Sequence[PhaseFacts]:
    listed = [by_hand.instance(0, 1, NumberOfFrames=str(ds.NumberOfFrames))]
    answers = by_hand.paths(by_hand.MR, listed, {listed[0]["ID"]: orthanc_tells(ds)})
    with by_hand.orthanc(answers) as (archive, _):
        return look_at(archive, by_hand.SERIES).facts.phases


def by_the_reader(ds: Dataset) -> Told:
    heads = [image.head for image in child.images_of(dcmread(BytesIO(part10(ds))))]
    images = [
        ImageFacts(
            tuple(map(float, head.ImagePositionPatient)),  # type: ignore[arg-type]
            {
                name: str(head[name].value)
                for name in (*FRAME_PHASE_KEYWORDS, "AcquisitionDate")
                if name in head
            },
        )
        for head in heads
    ]
    parts = parts_of(images).parts
    times = began_at(images, parts, ds.StudyDate)
    return [
        (part.keyword, part.value, len(part.images), at)
        for part, at in zip(parts, times, strict=True)
    ]


def told(phases: Sequence[PhaseFacts]) -> Told:
    return [(one.keyword, one.value, one.image_count, one.acquired_at_s) for one in phases]


@pytest.mark.parametrize(
    ("make", "keyword", "values", "seconds"),
    [
        (converted, "TemporalPositionIdentifier", ("1", "2"), (36_900, 36_990)),
        (
            lambda: enhanced(two_phases()),
            "TemporalPositionIndex",
            ("1", "2"),
            (36_900.25, 36_990.25),
        ),
        (split, "TemporalPositionIndex", ("1", "2"), (36_900.25, 36_990.25)),
        (converted_and_shared, "TriggerTime", ("0", "90000"), (86_410, 86_500)),
    ],
    ids=["converted by highdicom", "enhanced", "all of its own", "converted and shared"],
)
def test_all_who_read_an_object_find_the_same_phases_at_the_same_times(
    make, keyword, values, seconds
):
    ds = make()
    found = by_the_reader(ds), told(by_the_site(ds)), told(by_the_command(ds))

    assert found[0] == [(keyword, value, 5, at) for value, at in zip(values, seconds, strict=True)]
    assert all(one == other for one, other in pairwise(found)), found


@pytest.mark.parametrize("make", [converted, split])
def test_the_site_and_a_run_by_hand_find_the_same_grids(make):
    ds = make()
    grids = [phase.grid for phase in by_the_site(ds)]

    assert None not in grids
    assert grids == [phase.grid for phase in by_the_command(ds)]
