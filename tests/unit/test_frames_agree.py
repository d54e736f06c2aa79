"""The site, a run by hand and the lab's reader tell the frames of one object apart alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from typing import Any

import pytest
from highdicom.legacy import LegacyConvertedEnhancedMRImage
from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue
from pydicom.uid import generate_uid

from consumer.children import reader
from consumer.dicom import enhanced as child
from consumer.manual.facts import examine
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex
from messages.phases import PhaseFacts
from messages.phases.parts import FRAME_PHASE_KEYWORDS, ImageFacts, parts_of
from messages.phases.times import began_at
from tests.dicom_factory import Series, part10
from tests.dicom_factory import place as placed
from tests.enhanced_factory import enhanced
from tests.unit import test_archive_web_series as site
from tests.unit import test_infer_images as by_hand
from web.phases.series_facts import read_series

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


def by_the_site(*objects: Dataset) -> Sequence[PhaseFacts]:
    listed = [
        site.instance(number, None, NumberOfFrames=str(ds.NumberOfFrames))
        for number, ds in enumerate(objects, 1)
    ]
    archive = site.Archive(listed, lambda number: orthanc_tells(objects[number - 1]))
    return read_series(archive.orthanc, archive.item()).facts.phases


def by_the_command(*objects: Dataset) -> Sequence[PhaseFacts]:
    listed = [
        by_hand.instance(0, number, NumberOfFrames=str(ds.NumberOfFrames))
        for number, ds in enumerate(objects, 1)
    ]
    told = {item["ID"]: orthanc_tells(ds) for item, ds in zip(listed, objects, strict=True)}
    with by_hand.orthanc(by_hand.paths(by_hand.MR, listed, told), limit=200) as (archive, _):
        return examine(archive, by_hand.SERIES).facts.phases


def by_the_reader(*objects: Dataset) -> Told:
    heads = [
        image.head for ds in objects for image in child.images_of(dcmread(BytesIO(part10(ds))))
    ]
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
    times = began_at(images, parts, objects[0].StudyDate)
    return [
        (part.keyword, part.value, len(part.images), at)
        for part, at in zip(parts, times, strict=True)
    ]


def one_for_each_of_20(*, count: bool) -> list[Dataset]:
    """As Siemens XA writes them; without `count` each counts anew, and its frames say no time."""
    first, objects = Series(slices=5), []
    for number in range(20):
        phase = Series(
            slices=5,
            time=f"10{15 + number}00",
            study_uid=first.study_uid,
            series_uid=first.series_uid,
            frame_uid=first.frame_uid,
        )
        ds = enhanced([phase])
        ds.InstanceNumber = number + 1
        for group in ds.PerFrameFunctionalGroupsSequence:
            (content,) = group.FrameContentSequence
            if count:
                content.TemporalPositionIndex = content.FrameAcquisitionNumber = number + 1
            else:
                del content.FrameAcquisitionDateTime
        objects.append(ds)
    return objects


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


@pytest.mark.parametrize(
    ("count", "keyword", "values", "part"),
    [
        (True, "TemporalPositionIndex", [str(n) for n in range(1, 21)], 0.25),
        (False, "AcquisitionTime", [f"10{15 + n}00" for n in range(20)], 0),
    ],
    ids=["counted through", "counted anew"],
)
def test_all_who_read_an_object_for_each_time_point_find_the_same_20_phases(
    count, keyword, values, part
):
    objects = one_for_each_of_20(count=count)
    found = by_the_reader(*objects), told(by_the_site(*objects)), told(by_the_command(*objects))

    assert found[0] == [
        (keyword, value, 5, 36_900 + 60 * n + part) for n, value in enumerate(values)
    ]
    assert all(one == other for one, other in pairwise(found)), found


@pytest.mark.parametrize("count", [True, False])
def test_the_lab_reads_the_last_of_20_objects(count):
    objects = one_for_each_of_20(count=count)
    keyword, value = ("TemporalPositionIndex", "20") if count else ("AcquisitionTime", "103400")
    with MemoryFile() as memory, MemoryFile() as target:
        files = [part10(ds) for ds in objects]
        phase = placed(memory, files, "image", objects[0].SeriesInstanceUID)
        phase = replace(phase, selector=(keyword, value))
        header = reader.read_phases(
            DownloadIndex(objects[0].StudyInstanceUID, (phase,)), target.path
        )
    assert header.shape == (1, 5, 8, 10)
    assert {uid for _, uid in header.instances[0]} == {objects[19].SOPInstanceUID}


@pytest.mark.parametrize("make", [converted, split])
def test_the_site_and_a_run_by_hand_find_the_same_grids(make):
    ds = make()
    grids = [phase.grid for phase in by_the_site(ds)]

    assert None not in grids
    assert grids == [phase.grid for phase in by_the_command(ds)]
