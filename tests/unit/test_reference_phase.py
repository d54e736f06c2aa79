"""A result refers to the phase on which it is read, and a stored one keeps the phase it names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from consumer.children import reader
from consumer.children.reference_phase import place_referred
from consumer.memory import MemoryFile
from consumer.result.kinetics import reading_place
from messages import identity
from tests.dicom_factory import Series, index, place
from tests.unit.test_enhanced import Case as Enhanced
from tests.unit.test_enhanced import enhanced, two_phases
from tests.unit.test_result_objects import (
    LARGE,
    REQUEST,
    ROLES,
    about,
    lab_work,
    marks,
    package,
    parsed,
    phases,
)


@pytest.fixture
def memory():
    with MemoryFile() as file:
        yield file


def referred(data: bytes | None) -> list[str]:
    """The series that a SEG refers to."""
    return [str(one.SeriesInstanceUID) for one in parsed(data).ReferencedSeriesSequence]


def widest(report: bytes | None) -> set[str]:
    """The images in which a report measures the longest diameters."""
    return {
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for group in parsed(report).ContentSequence[-1].ContentSequence
        for number in group.ContentSequence
        for item in number.get("ContentSequence", ())
        if item.ValueType == "IMAGE"
    }


@pytest.mark.parametrize(
    ("roles", "named", "place"),
    [
        (("pre", "post1", "post2", "last"), "", 1),
        (("pre", "post1", "post2", "last"), "post2", 2),
        (("pre1", "pre2", "post1", "last"), "", 2),
        (("pre", "post"), "", 1),
        (("pre", "last"), "", 1),
        (("image",), "", 0),
        (("t1", "t2"), "", 0),
        (("t1", "t2"), "t2", 1),
    ],
)
def test_by_default_a_result_is_read_on_the_first_phase_after_contrast(roles, named, place):
    assert reading_place(roles, named) == place


@pytest.mark.parametrize(("named", "role"), [("", "post1"), ("post2", "post2"), ("pre", "pre")])
def test_seg_report_and_key_slices_refer_to_the_phase_that_the_bundle_names(memory, named, role):
    series = phases()
    made_by = about(reading_phase=named, key_instance_uids=(identity.key_instance_uid(REQUEST, 1),))
    primary, measured = lab_work(index(memory, **series), marks(LARGE), made_by)

    assert referred(primary) == [series[role].series_uid]
    assert widest(measured.report) == {series[role].datasets[2].SOPInstanceUID}
    picture = parsed(measured.key_slices[0])
    assert picture.ImageComments.startswith(f"{role}, ")
    sources = [str(item.ReferencedSOPInstanceUID) for item in picture.SourceImageSequence]
    assert sources[0] == series[role].datasets[2].SOPInstanceUID


def test_the_figures_are_the_same_whichever_phase_is_referred_to(memory):
    source = index(memory, **phases())
    found = [lab_work(source, marks(LARGE), about(reading_phase=role))[1] for role in ROLES]
    assert len({one.figures for one in found}) == 1
    assert len({one.lesions for one in found}) == 1


@pytest.mark.parametrize("seen", [False, True], ids=["anew", "known"])
def test_a_redelivery_takes_the_phase_from_the_stored_primary_and_not_from_the_bundle(memory, seen):
    series = phases()
    source = index(memory, **series)
    primary = package(source, marks(LARGE), about(reading_phase="post2"))
    # Another version of the bundle names another phase by now.
    now = about(reading_phase="post1", key_instance_uids=(identity.key_instance_uid(REQUEST, 1),))
    if seen:
        with MemoryFile() as target:
            source = source.as_read(reader.read_phases(source, target.path))
    measured = reader.measure_stored(primary, source, now)

    assert widest(measured.report) == {series["post2"].datasets[2].SOPInstanceUID}
    assert parsed(measured.key_slices[0]).ImageComments.startswith("post2, ")


def test_an_older_primary_keeps_the_first_phase_and_its_picture_shows_the_contrast(memory):
    series = phases()
    source = index(memory, **series)
    primary = package(source, marks(LARGE), about(reading_phase="pre"))
    now = about(key_instance_uids=(identity.key_instance_uid(REQUEST, 1),))
    measured = reader.measure_stored(primary, source, now)

    assert widest(measured.report) == {series["pre"].datasets[2].SOPInstanceUID}
    picture = parsed(measured.key_slices[0])
    assert picture.ImageComments.startswith("post1, ")
    assert str(picture.SourceImageSequence[0].ReferencedSOPInstanceUID) == str(
        series["post1"].datasets[2].SOPInstanceUID
    )


@pytest.mark.parametrize("seen", [False, True], ids=["anew", "known"])
@pytest.mark.parametrize("named", ["pre", "post1"])
def test_of_several_phases_in_one_series_the_images_that_the_frames_name_decide(
    memory, named, seen
):
    pre, post = two_phases()
    for number, ds in enumerate([*pre.datasets, *post.datasets]):
        ds.TemporalPositionIdentifier = 1 + number // len(pre.datasets)
    files = [*pre.files(), *post.files()]
    both = tuple(
        place(memory, files, role, pre.series_uid, selector=("TemporalPositionIdentifier", value))
        for role, value in (("pre", "1"), ("post1", "2"))
    )
    source = replace(index(memory, pre=pre), phases=both)
    mask = np.zeros((6, 8, 10), np.uint8)
    mask[2:4, 3:6, 4:9] = 1
    seg = parsed(package(source, mask, about(reading_phase=named)))
    if seen:
        with MemoryFile() as target:
            source = source.as_read(reader.read_phases(source, target.path))
    assert place_referred(seg, source) == ("pre", "post1").index(named)


@pytest.mark.parametrize("seen", [False, True], ids=["anew", "known"])
@pytest.mark.parametrize("named", ["pre", "post1"])
def test_of_several_phases_in_one_enhanced_object_the_frames_decide(memory, named, seen):
    case = Enhanced(memory, [enhanced(two_phases())])
    case.spec = replace(case.spec, reading_phase=named)
    seg = parsed(case.package(np.ones((6, 8, 10), np.uint8)).dicom_bytes)
    if seen:
        case.know()
    assert place_referred(seg, case.source) == ("pre", "post1").index(named)


def test_a_segmentation_that_names_no_series_is_taken_for_one_of_the_first_phase(memory):
    source = index(memory, **phases())
    seg = parsed(package(source, marks(LARGE), about()))
    del seg.ReferencedSeriesSequence
    assert place_referred(seg, source) == 0


def test_a_model_of_one_phase_refers_to_that_one(memory):
    one = Series(8, 24, 30)
    assert referred(package(index(memory, image=one), marks(LARGE), about())) == [one.series_uid]
