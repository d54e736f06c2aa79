"""Key slices: what they show, of which slices, and that they say what they are."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from consumer.children import reader
from consumer.memory import MemoryFile
from consumer.payloads import Measured
from consumer.result import key_slice
from consumer.result.key_slice import PictureSource, chosen_slices
from consumer.result.lesions import measure, split
from messages import identity
from tests.dicom_factory import SAGITTAL, Series, index, oblique
from tests.unit.test_result_objects import LARGE, SMALL, about, lab_work, marks, parsed, phases

REQUEST = UUID("0b0f6f0e-9a4c-4f25-9d2e-1d1a6b8f0c11")

#: Colour of the outline.
YELLOW = (255, 210, 0)

#: By what an archive files an object, and what it tells of patient and study.
OF_STUDY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
)

#: How many pixels of the picture a pixel of the 24 x 30 image is.
TIMES = 22


def uids(count: int) -> tuple[str, ...]:
    return tuple(identity.key_instance_uid(REQUEST, number) for number in range(1, count + 1))


def made(count: int, **changes: object) -> tuple[bytes, Measured]:
    with MemoryFile() as memory:
        source = index(memory, **phases())
        made_by = about(key_instance_uids=uids(count), **changes)
        return lab_work(source, marks(SMALL, LARGE), made_by)


def test_the_widest_slice_of_each_lesion_comes_first_and_then_the_fullest():
    mask = marks(SMALL, LARGE)
    mask[3, 4:12, 15] = 1
    lesions = measure(split(mask > 0, (2.5, 0.8, 0.6), 0.0).labels, (2.5, 0.8, 0.6), 0)
    drawn = PictureSource((), None, None, "", mask > 0, 0, tuple((one, "") for one in lesions))  # type: ignore[arg-type]
    assert chosen_slices(drawn, 9) == [3, 6, 2, 4, 7]
    assert chosen_slices(drawn, 2) == [3, 6]


def test_the_outline_runs_around_the_marked_pixels_of_its_slice_and_hides_none():
    _, measured = made(2)
    assert len(measured.key_slices) == 2
    for data, box in zip(measured.key_slices, (LARGE, SMALL), strict=True):
        pixels = parsed(data).pixel_array[: 24 * TIMES]
        line = (pixels == YELLOW).all(axis=-1)
        inside = np.zeros_like(line)
        inside[
            box[1].start * TIMES : box[1].stop * TIMES, box[2].start * TIMES : box[2].stop * TIMES
        ] = True
        assert line.any()
        assert not (line & inside).any()
        rows, columns = np.nonzero(line)
        assert (rows.min(), rows.max()) == (box[1].start * TIMES - 1, box[1].stop * TIMES)
        assert (columns.min(), columns.max()) == (box[2].start * TIMES - 1, box[2].stop * TIMES)


def test_a_picture_says_what_it_is_of_what_and_lies_under_a_derived_uid():
    series = phases()
    with MemoryFile() as memory:
        made_by = about(key_instance_uids=uids(1), notice="Not for clinical use")
        primary, measured = lab_work(index(memory, **series), marks(SMALL, LARGE), made_by)
    picture = parsed(measured.key_slices[0])
    seg = parsed(primary)

    assert picture.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7"
    assert picture.SOPInstanceUID == identity.key_instance_uid(REQUEST, 1)
    assert picture.SeriesInstanceUID == identity.key_series_uid(REQUEST)
    assert picture.StudyInstanceUID == seg.StudyInstanceUID
    assert (picture.SeriesNumber, picture.InstanceNumber) == (902, 1)
    assert picture.BurnedInAnnotation == "NO"
    assert picture.ImageComments == "post1, slice 3 of 8: tumour 1 | Not for clinical use"
    assert picture.SeriesDescription == seg.SeriesDescription
    assert picture.SeriesDescription.endswith(": Not for clinical use")
    assert list(picture.SoftwareVersions) == list(seg.SoftwareVersions)
    assert picture.DeviceSerialNumber == "lab-1"
    assert picture.ContentTime == seg.ContentTime
    sources = [item.ReferencedSOPInstanceUID for item in picture.SourceImageSequence]
    assert sources == [series["post1"].datasets[2].SOPInstanceUID, seg.SOPInstanceUID]
    # 0.8 x 0.6 mm, and each pixel is drawn larger.
    assert [float(v) for v in picture.PixelSpacing] == pytest.approx([0.8 / TIMES, 0.6 / TIMES])


def test_all_objects_of_a_result_lie_in_one_study_of_one_patient():
    with MemoryFile() as memory:
        source = index(memory, **phases(PatientID="T-9", PatientName="Odd^One", StudyID="7"))
        primary, measured = lab_work(source, marks(SMALL, LARGE), about(key_instance_uids=uids(3)))
    found = {
        tuple(str(ds.get(keyword)) for keyword in OF_STUDY)
        for ds in map(parsed, (primary, measured.report, *measured.key_slices))
    }
    assert len(measured.key_slices) == 3
    assert len(found) == 1
    assert found.pop()[:2] == ("T-9", "Odd^One")


def test_a_redelivery_makes_the_same_pictures_whatever_bundle_that_lab_has():
    with MemoryFile() as memory:
        source = index(memory, **phases())
        here = about(key_instance_uids=uids(2), notice="Not for clinical use, ever")
        primary, first = lab_work(source, marks(SMALL, LARGE), here)
        there = about(key_instance_uids=uids(2), notice="", lab="lab-2")
        again = reader.measure_stored(primary, source, there)
    for one, other in zip(first.key_slices, again.key_slices, strict=True):
        one_, other_ = parsed(one), parsed(other)
        for ds in (one_, other_):
            # When the file was written; the content is as old as the primary.
            del ds.InstanceCreationDate, ds.InstanceCreationTime
            for item in ds.ContributingEquipmentSequence:
                item.ContributionDateTime = None
        assert one_ == other_
        assert other_.ImageComments.endswith("| Not for clinical use, ever")


def test_the_first_phase_after_contrast_is_drawn_where_two_are_before_it():
    with MemoryFile() as memory:
        pre, post, last = list(phases().values())[:3]
        second = Series(8, 24, 30, orientation=oblique(), study_uid=pre.study_uid,
                        frame_uid=pre.frame_uid, time="101600")  # fmt: skip
        source = index(memory, pre1=pre, pre2=second, post1=post, last=last)
        _, measured = lab_work(source, marks(LARGE), about(key_instance_uids=uids(1)))
    assert parsed(measured.key_slices[0]).ImageComments.startswith("post1, ")


def test_a_picture_that_cannot_be_made_costs_no_report(monkeypatch):
    def broken(*_: object) -> object:
        raise OSError("no letters")

    monkeypatch.setattr(key_slice, "with_caption", broken)
    _, measured = made(2)
    assert measured.key_slices == ()
    assert measured.undrawn == "OSError"
    assert measured.report is not None


def test_a_long_and_narrow_slice_is_drawn_no_longer_than_a_screen():
    with MemoryFile() as memory:
        series = Series(2, 4, 600)
        mask = np.zeros((2, 4, 600), np.uint8)
        mask[0, 1:3, 5:9] = 1
        source = index(memory, image=series)
        picture = parsed(lab_work(source, mask, about(key_instance_uids=uids(1)))[1].key_slices[0])
    assert picture.Columns == 3600


def test_text_stands_below_the_image_and_not_on_it():
    _, measured = made(1)
    pixels = parsed(measured.key_slices[0]).pixel_array
    assert pixels.shape[1:] == (30 * TIMES, 3)
    strip = pixels[24 * TIMES :]
    assert len(strip) > 20
    assert strip.max() > 200
    assert strip.min() == 0


@pytest.mark.parametrize(("count", "expected"), [(0, 0), (1, 1), (16, 5)])
def test_there_are_as_many_as_the_setting_says_or_as_slices_with_a_mark(count, expected):
    assert len(made(count)[1].key_slices) == expected


def test_nothing_found_has_no_pictures():
    with MemoryFile() as memory:
        source = index(memory, **phases())
        made_by = about(key_instance_uids=uids(3))
        assert lab_work(source, marks(), made_by)[1].key_slices == ()


def test_rows_and_columns_are_named_by_the_axes_of_the_patient():
    with MemoryFile() as memory:
        series = Series(8, 24, 30, orientation=SAGITTAL)
        source = index(memory, image=series)
        made_by = about(key_instance_uids=uids(1))
        picture = parsed(lab_work(source, marks(LARGE), made_by)[1].key_slices[0])
    assert list(picture.PatientOrientation) == ["P", "F"]


def test_a_long_notice_is_broken_into_lines_and_nothing_of_it_is_lost():
    pixels = np.zeros((10, 200, 3), np.uint8)
    one = key_slice.with_caption(pixels, ["short"])
    many = key_slice.with_caption(pixels, ["short", "word " * 60 + "x" * 90])
    assert one.shape[1] == many.shape[1] == 200
    assert len(many) > len(one) + 10 * 16
    assert (many[:10] == 0).all()


def test_letters_without_a_font_are_not_drawn_as_boxes(monkeypatch):
    monkeypatch.setattr(key_slice, "_WIDER_FONTS", ("no-such-font.ttf",))
    pixels = np.zeros((10, 400, 3), np.uint8)
    korean = key_slice.with_caption(pixels, ["임상용 아님"])
    np.testing.assert_array_equal(korean, key_slice.with_caption(pixels, [key_slice.UNDRAWN]))
