"""What a frame says where its object says something else: the lab and the site read the same."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset

from consumer.dicom.agreement import stated
from consumer.dicom.enhanced import images_of
from messages.phases.agreement import AGREEMENT_KEYWORDS, Difference, differences
from messages.phases.facts import SeriesFacts
from messages.phases.frames import KINDS, frames_of
from messages.phases.heads import facts_of
from messages.phases.kind import LeftOut, kind_of
from messages.phases.parts import Part, Parts
from tests.dicom_factory import Series
from tests.enhanced_factory import enhanced

SLICES = 6


def made() -> Dataset:
    """One phase of an object whose frames each say what they are."""
    ds = enhanced([Series(slices=SLICES)])
    ds.ComplexImageComponent = "MIXED"
    for group in ds.PerFrameFunctionalGroupsSequence:
        item = Dataset()
        item.FrameType = ["ORIGINAL", "PRIMARY", "T1", "NONE"]
        item.ComplexImageComponent = "MAGNITUDE"
        group.MRImageFrameTypeSequence = [item]
    return ds


def told(ds: Dataset) -> Any:
    """The tags as an archive tells them: several values with a backslash between."""
    return {
        element.keyword: [told(item) for item in element.value]
        if element.VR == "SQ"
        else "\\".join(map(str, element.value))
        if element.VM > 1
        else str(element.value)
        for element in ds
        if element.keyword != "PixelData"
    }


def both(ds: Dataset) -> list[dict[str, str]]:
    """What the slices state, by the lab; the site must say the same."""
    lab = stated([image.head for image in images_of(ds)])
    site = [dict((*one.values, *one.kind)) for one in frames_of(told(ds), SLICES)]
    assert [{k: v for k, v in one.items() if k in AGREEMENT_KEYWORDS} for one in site] == lab
    return lab


def test_phase_maps_inside_a_phase_are_seen_by_their_component() -> None:
    ds = made()
    assert differences([both(ds)]) == ()
    for group in ds.PerFrameFunctionalGroupsSequence[4:]:
        group.MRImageFrameTypeSequence[0].ComplexImageComponent = "PHASE"
    (found,) = differences([both(ds)])
    assert found == Difference(0, "ComplexImageComponent", 5)


def test_a_frame_without_a_time_is_not_given_the_start_of_its_object() -> None:
    ds = made()
    for number, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        group.FrameContentSequence[0].FrameAcquisitionDateTime = f"2026010210{30 + number}00"
    ds.AcquisitionDateTime = "20260102080000"
    del ds.PerFrameFunctionalGroupsSequence[3].FrameContentSequence[0].FrameAcquisitionDateTime
    said = both(ds)
    assert ["AcquisitionTime" in one for one in said] == [number != 3 for number in range(SLICES)]
    assert differences([said]) == ()


def test_a_frame_without_a_type_is_not_given_that_of_its_object() -> None:
    ds = made()
    ds.ImageType = ["MIXED", "PRIMARY", "T1", "NONE"]
    del ds.PerFrameFunctionalGroupsSequence[2].MRImageFrameTypeSequence
    said = both(ds)
    assert "ImageType" not in said[2]
    assert differences([said]) == ()


def test_what_the_object_alone_says_is_said_of_every_frame() -> None:
    ds = made()
    for group in ds.PerFrameFunctionalGroupsSequence:
        del group.MRImageFrameTypeSequence
        del group.FrameContentSequence[0].FrameAcquisitionDateTime
    ds.ComplexImageComponent = "PHASE"
    ds.AcquisitionDateTime = "20260102080000"
    for one in both(ds):
        assert one["ComplexImageComponent"] == "PHASE"
        assert one["ImageType"] == "ORIGINAL\\PRIMARY\\T1\\NONE"
        assert one["AcquisitionTime"] == "080000"


@pytest.mark.parametrize("keyword", [name for name, _, _ in KINDS])
def test_every_kind_of_a_frame_is_looked_at(keyword: str) -> None:
    assert keyword in AGREEMENT_KEYWORDS


def test_a_series_of_phase_maps_alone_is_left_out() -> None:
    series = Series(slices=SLICES)
    ds = made()
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.MRImageFrameTypeSequence[0].ComplexImageComponent = "PHASE"
    frames = frames_of(told(ds), SLICES)
    head = dict((*frames[0].values, *frames[0].kind))
    facts = facts_of(
        _facts(series.series_uid), frames, Parts((Part("", "", tuple(range(SLICES))),)), [head]
    )
    assert kind_of(facts, dynamic=False) is LeftOut.PHASE_IMAGE


def _facts(series_id: str) -> SeriesFacts:
    return SeriesFacts(series_id, "MR", "T1 dyn", SLICES)
