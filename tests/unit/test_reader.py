from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless, generate_uid

from consumer.children import reader
from consumer.children.child import Child
from consumer.dicom.encodings import stored_values
from consumer.dicom.enhanced import Image
from consumer.errors import (
    GeometryMismatch,
    InferenceTimeout,
    LabError,
    MissingAttribute,
    PhasesOutOfOrder,
    SeriesChanged,
    TooLarge,
    UnreadableDicom,
    UnsupportedImage,
)
from consumer.memory import MemoryFile, open_array
from consumer.payloads import DownloadIndex, VolumeHeader
from consumer.stop_conditions import StopConditions
from tests.dicom_factory import AXIAL, SAGITTAL, Series, index, oblique, part10, place

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)

ORIENTATIONS = {"axial": AXIAL, "sagittal": SAGITTAL, "oblique": oblique()}


def read(**phases: Series) -> tuple[VolumeHeader, np.ndarray]:
    with MemoryFile() as files, MemoryFile() as target:
        header = reader.read_phases(index(files, **phases), target.path)
        return header, target.open_array(header.shape, np.float32).copy()


def second_phase(of: Series, **changes: object) -> Series:
    return Series(
        **{
            "orientation": of.orientation,
            "study_uid": of.study_uid,
            "frame_uid": of.frame_uid,
            **changes,
        }
    )


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("order", ["as acquired", "reversed", "shuffled"])
def test_each_voxel_is_where_its_own_slice_says(orientation, order):
    series = Series(orientation=orientation)
    by_uid = {ds.SOPInstanceUID: ds for ds in series.datasets}
    if order == "reversed":
        series.datasets.reverse()
    if order == "shuffled":
        series.datasets = [series.datasets[i] for i in (3, 0, 5, 1, 4, 2)]

    header, volume = read(pre=series)

    affine = np.array(header.affine_lps)
    np.testing.assert_allclose(affine, series.affine(), atol=1e-5)
    assert header.shape == (1, 6, 8, 10)
    np.testing.assert_allclose(header.spacing, (2.5, 0.8, 0.6), atol=1e-6)
    for number, (_, uid) in enumerate(header.instances[0]):
        ds = by_uid[uid]
        np.testing.assert_array_equal(volume[0, number], ds.pixel_array)
        along_row = np.array([float(v) for v in ds.ImageOrientationPatient[:3]])
        along_column = np.array([float(v) for v in ds.ImageOrientationPatient[3:]])
        corner = np.array([float(v) for v in ds.ImagePositionPatient])
        # Row 7, column 2 by PS3.3 C.7.6.2.1.1, from the slice alone.
        expected = corner + along_column * 0.8 * 7 + along_row * 0.6 * 2
        np.testing.assert_allclose((affine @ (number, 7, 2, 1))[:3], expected, atol=1e-4)


def test_phases_that_were_acquired_against_their_roles_are_out_of_order():
    pre = Series(time="101500")
    with pytest.raises(PhasesOutOfOrder, match="post1 was acquired before pre"):
        read(pre=pre, post1=second_phase(pre, time="101458"))


def test_a_study_past_midnight_is_in_order_by_its_dates():
    pre = Series(time="235830")
    post = second_phase(pre, time="000100")
    for ds in post.datasets:
        ds.AcquisitionDate = "20260103"
    assert read(pre=pre, post1=post)[0].roles == ("pre", "post1")


@pytest.mark.parametrize("text", ["", "noon", None])
def test_a_time_that_cannot_be_read_contradicts_nothing(text):
    pre = Series(time="101500")
    post = second_phase(pre, time="101400")
    for ds in post.datasets:
        ds.AcquisitionTime = text
    assert read(pre=pre, post1=post)[0].roles == ("pre", "post1")


def test_phases_are_stacked_in_the_order_of_the_request_whatever_their_files_order():
    pre = Series(time="101500")
    post = second_phase(pre, pixels=pre.pixels + 1000, time="101630.5")
    post.datasets.reverse()

    header, volume = read(pre=pre, post1=post)

    assert header.roles == ("pre", "post1")
    np.testing.assert_array_equal(volume[1] - volume[0], 1000.0)


def test_rescale_is_applied_slice_by_slice():
    series = Series()
    for number, ds in enumerate(series.datasets):
        ds.RescaleSlope, ds.RescaleIntercept = f"{0.5 + number}", "-3"

    _, volume = read(pre=series)

    for number in range(6):
        expected = series.pixels[number] * (0.5 + number) - 3
        np.testing.assert_allclose(volume[0, number], expected)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [10, 12, 16])
def test_plain_pixels_are_read_as_pydicom_reads_them(bits, signed):
    random = np.random.default_rng(bits)
    ds = Series().datasets[0]
    # Bits above the stored ones hold noise.
    ds.PixelData = random.integers(0, 2**16, (8, 10), dtype=np.uint16).astype("<u2").tobytes()
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(signed)

    np.testing.assert_array_equal(stored_values(Image(ds, ds, None)), ds.pixel_array)


def test_compressed_pixels_are_decoded():
    series = Series()
    for ds in series.datasets:
        ds.compress(RLELossless, generate_instance_uid=False)

    _, volume = read(pre=series)

    np.testing.assert_array_equal(volume[0], series.pixels)


def test_one_series_of_several_phases_is_taken_apart_by_its_selector():
    pre = Series()
    post = Series(study_uid=pre.study_uid, frame_uid=pre.frame_uid, pixels=pre.pixels + 7)
    for position, series in ((1, pre), (2, post)):
        for ds in series.datasets:
            ds.SeriesInstanceUID, ds.TemporalPositionIdentifier = pre.series_uid, position
    mixed = [f for pair in zip(pre.files(), post.files(), strict=True) for f in pair]
    with MemoryFile() as memory, MemoryFile() as target:
        phases = tuple(
            place(
                memory,
                mixed,
                role,
                pre.series_uid,
                selector=("TemporalPositionIdentifier", value),
            )
            for role, value in (("pre", "1"), ("post1", "2"))
        )
        header = reader.read_phases(DownloadIndex(pre.study_uid, phases), target.path)
        volume = target.open_array(header.shape, np.float32)

        assert header.shape == (2, 6, 8, 10)
        np.testing.assert_array_equal(volume[1] - volume[0], 7.0)


def refused(kind: type[LabError], **phases: Series) -> str:
    with pytest.raises(kind) as caught:
        read(**phases)
    assert caught.value.__cause__ is None
    # What travels from the child is the sentence, and it says nothing about the patient.
    detail = pickle.loads(pickle.dumps(caught.value)).detail  # noqa: S301 - our own bytes
    assert detail == caught.value.detail
    assert "Phantom" not in detail
    assert "T-1" not in detail
    return detail


def test_a_missing_slice_is_named_with_its_distance():
    series = Series()
    del series.datasets[3]
    assert refused(GeometryMismatch, pre=series) == (
        "slices 3 and 4 of pre lie 5.00 mm apart, the others 2.50 mm: slice 4 is missing"
    )


def test_several_missing_slices_are_counted():
    series = Series(slices=12)
    del series.datasets[5:8]
    assert "10.00 mm apart, the others 2.50 mm: slices 6 to 8 are missing" in refused(
        GeometryMismatch, pre=series
    )


def test_a_missing_slice_of_four_is_seen_though_half_of_the_gaps_are_the_long_one():
    series = Series(slices=4)
    del series.datasets[2]
    assert "slice 3 is missing" in refused(GeometryMismatch, pre=series)


def test_an_unequal_gap_that_is_no_missing_slice_is_named_and_nothing_else_is_claimed():
    series = Series()
    for ds in series.datasets[4:]:
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y, z + 1]
    assert refused(GeometryMismatch, pre=series) == (
        "slices 4 and 5 of pre lie 3.50 mm apart, the others 2.50 mm"
    )


@pytest.mark.parametrize("phases", [2, 4])
def test_a_whole_series_of_several_phases_must_be_told_apart(phases):
    series = Series()
    for _ in range(phases - 1):
        again = Series(study_uid=series.study_uid, frame_uid=series.frame_uid)
        for ds in again.datasets:
            ds.SeriesInstanceUID = series.series_uid
        series.datasets += again.datasets
    assert refused(GeometryMismatch, pre=series) == (
        f"{6 * phases} images of pre lie at 6 places: the series holds several phases or kinds "
        "of image, and one must be chosen"
    )


def test_a_doubled_slice_is_named():
    series = Series()
    series.datasets[4].ImagePositionPatient = series.datasets[3].ImagePositionPatient
    assert "slices 4 and 5 of pre lie at the same position" in refused(GeometryMismatch, pre=series)


def test_a_stack_that_leans_is_refused():
    series = Series()
    for number, ds in enumerate(series.datasets):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x + number * 0.5, y, z]
    assert "beside the stack" in refused(GeometryMismatch, pre=series)


@pytest.mark.parametrize(
    ("keyword", "value", "said"),
    [
        ("ImageOrientationPatient", ["1", "0", "0", "1", "0", "0"], "no rectangular grid"),
        ("ImageOrientationPatient", ["1e200"] * 6, "no rectangular grid"),
        ("ImagePositionPatient", ["1e300", "0", "0"], "100 m away"),
    ],
)
def test_a_place_that_no_scanner_has_is_refused(keyword, value, said):
    series = Series()
    for ds in series.datasets:
        setattr(ds, keyword, value)
    assert said in refused(GeometryMismatch, pre=series)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spacing": (2.5, 1e300, 1e300)}, "reach 1e+301 mm across the body, more than 700 mm"),
        ({"spacing": (2.5, 70.1, 1.0), "columns": 40}, "have pixels 70.1 mm apart, more than 50"),
        ({"spacing": (2.5, 0.0008, 0.0006)}, "are 0.006 mm wide, less than 0.1 mm"),
        ({"spacing": (601.0, 0.8, 0.6), "slices": 2}, "have slices 601 mm apart, more than 600"),
        (
            {"spacing": (0.0009, 0.8, 0.6), "slices": 1},
            "have slices 0.0018 mm apart, less than 0.002",
        ),
        # A sagittal stack of 800 mm from side to side.
        ({"spacing": (160.0, 0.8, 0.6), "orientation": SAGITTAL}, "reach 800 mm across"),
        ({"spacing": (510.0, 0.8, 0.6)}, "reach 2550 mm along the body, more than 2500 mm"),
    ],
)
def test_a_size_that_no_scanner_makes_is_refused_with_its_number_and_the_limit(change, said):
    assert said in refused(UnsupportedImage, pre=Series(**change))


@pytest.mark.parametrize(
    "change",
    [
        # A wrist coil's microscopy, and a sample of 1.3 mm.
        {"spacing": (1.0, 0.05, 0.05), "rows": 400, "columns": 400},
        {"spacing": (0.02, 0.005, 0.005), "rows": 256, "columns": 256},
        # Whole-body coronal images put together of stations, 500 x 1960 mm.
        {"spacing": (6.0, 2.0, 2.0), "rows": 980, "columns": 250, "orientation": CORONAL},
        # The same as an axial stack.
        {"spacing": (20.0, 2.0, 2.0), "slices": 98, "rows": 250, "columns": 250},
        # Three slices of a localizer, and one slab of the whole trunk.
        {"spacing": (100.0, 1.0, 1.0), "slices": 3},
        {"spacing": (280.0, 1.0, 1.0), "slices": 1},
        # The largest field of view, a matrix that was doubled.
        {"spacing": (5.0, 1.171875, 1.171875), "slices": 2, "rows": 512, "columns": 512},
        # A coarse map over the body.
        {"spacing": (30.0, 30.0, 30.0), "rows": 16, "columns": 16},
    ],
)
def test_what_is_legitimate_at_the_edge_is_read(change):
    header, _ = read(pre=Series(**change))
    np.testing.assert_allclose(header.spacing[1:], change["spacing"][1:])


def test_slices_of_one_phase_in_two_frames_of_reference_are_refused():
    series = Series()
    series.datasets[4].FrameOfReferenceUID = generate_uid()
    assert "frames of reference" in refused(GeometryMismatch, pre=series)


def test_a_phase_without_instances_is_a_changed_series():
    with MemoryFile() as memory, MemoryFile() as target:
        phase = place(memory, [], "pre", generate_uid())
        with pytest.raises(SeriesChanged, match="holds 0 instances"):
            reader.read_phases(DownloadIndex(generate_uid(), (phase,)), target.path)


def test_one_slice_of_another_orientation_is_refused():
    series = Series()
    series.datasets[2].ImageOrientationPatient = list(SAGITTAL)
    assert "orientation" in refused(GeometryMismatch, pre=series)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frame_uid": generate_uid()}, "frames of reference"),
        ({"origin": (-40.0, 12.5, 9.25)}, "2.00 mm away"),
        ({"orientation": SAGITTAL}, "orientation"),
        ({"slices": 5}, "pre has 6 slices of 8 x 10, post1 5 of 8 x 10"),
        ({"spacing": (2.5, 0.8, 0.7)}, "spacing"),
    ],
)
def test_phases_on_different_grids_are_refused(changes, said):
    pre = Series()
    assert said in refused(GeometryMismatch, pre=pre, post1=second_phase(pre, **changes))


def test_another_number_of_instances_than_asked_for_is_a_changed_series():
    series = Series()
    with MemoryFile() as memory, MemoryFile() as target:
        phase = place(memory, series.files(), "pre", series.series_uid, instance_count=7)
        with pytest.raises(SeriesChanged, match="holds 6 instances, 7 were asked for"):
            reader.read_phases(DownloadIndex(series.study_uid, (phase,)), target.path)


def test_an_instance_of_another_series_is_a_changed_series():
    series = Series()
    series.datasets[2].SeriesInstanceUID = generate_uid()
    assert "instance 3" in refused(SeriesChanged, pre=series)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.4"),
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.88.33"),
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
        ("NumberOfFrames", 4),
        ("SamplesPerPixel", 3),
    ],
)
def test_what_is_no_single_frame_mr_image_is_unsupported(keyword, value):
    series = Series()
    setattr(series.datasets[1], keyword, value)
    if keyword == "NumberOfFrames":
        series.datasets[1].PixelData *= value
    refused(UnsupportedImage, pre=series)


@pytest.mark.parametrize(
    "keyword",
    ["ImagePositionPatient", "PixelSpacing", "FrameOfReferenceUID", "PixelData", "SOPInstanceUID"],
)
def test_a_slice_without_what_a_volume_needs_lacks_an_attribute_by_name(keyword):
    series = Series()
    delattr(series.datasets[1], keyword)
    lacks = "holds no pixels" if keyword == "PixelData" else f"has no {keyword}"
    assert refused(MissingAttribute, pre=series) == f"instance 2 of pre {lacks}"


def test_a_phase_without_any_pixels_is_said_as_a_whole():
    pre = Series()
    post = second_phase(pre)
    for ds in post.datasets:
        del ds.PixelData
    said = refused(MissingAttribute, pre=pre, post1=post)
    assert said == "the images of post1 hold no pixels"


@pytest.mark.parametrize(
    ("keyword", "value", "error", "said"),
    [
        ("PixelSpacing", None, MissingAttribute, "instance 3 of pre has an empty PixelSpacing"),
        (
            "PixelSpacing",
            ["0.8"],
            UnreadableDicom,
            "PixelSpacing in instance 3 of pre is not two finite numbers",
        ),
        (
            "PixelSpacing",
            ["0", "0.6"],
            UnreadableDicom,
            "PixelSpacing in instance 3 of pre is not two numbers above 0",
        ),
        (
            "ImageOrientationPatient",
            ["1", "0", "0"],
            UnreadableDicom,
            "ImageOrientationPatient in instance 3 of pre is not 6 finite numbers",
        ),
        ("RescaleSlope", "nan", UnreadableDicom, "RescaleSlope in instance 3 of pre is not a f"),
    ],
)
def test_absent_empty_and_malformed_are_three_things(keyword, value, error, said):
    series = Series()
    setattr(series.datasets[2], keyword, value)
    assert said in refused(error, pre=series)


@pytest.mark.parametrize("damage", [b"no DICOM at all", None])
def test_a_damaged_file_is_unreadable(damage):
    series = Series()
    files = series.files()
    files[3] = damage or files[3][:-50]
    with MemoryFile() as memory, MemoryFile() as target:
        phase = place(memory, files, "pre", series.series_uid)
        with pytest.raises(UnreadableDicom):
            reader.read_phases(DownloadIndex(series.study_uid, (phase,)), target.path)


def test_an_error_quotes_no_value_of_a_damaged_element():
    series = Series()
    data = part10(series.datasets[0]).replace(b"-40\\12.5\\7.25", b"Phantom\\T-1  ")
    assert b"Phantom\\T-1  " in data
    with MemoryFile() as memory, MemoryFile() as target:
        phase = place(memory, [data, *series.files()[1:]], "pre", series.series_uid)
        with pytest.raises(UnreadableDicom) as caught:
            reader.read_phases(DownloadIndex(series.study_uid, (phase,)), target.path)
    assert "Phantom" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_volume_over_the_limit_is_refused_before_memory_is_taken():
    series = Series()
    with MemoryFile() as memory, MemoryFile() as target:
        source = index(memory, pre=series)
        with pytest.raises(TooLarge):
            reader.read_phases(source, target.path, limit_bytes=1919)
        assert target.size == 0
        assert reader.read_phases(source, target.path, limit_bytes=1920).shape == (1, 6, 8, 10)


def test_a_spawned_child_reads_into_memory_of_its_parent():
    series = Series()
    with MemoryFile() as files, MemoryFile() as target:
        child = Child("reader", on_timeout=InferenceTimeout)
        try:
            header = child.call(
                60.0, StopConditions(), reader.read_phases, index(files, pre=series), target.path
            )
        finally:
            child.stop()
        np.testing.assert_array_equal(
            open_array(target.path, header.shape, np.float32)[0], series.pixels
        )


def test_closed_memory_can_no_longer_be_opened():
    with MemoryFile() as memory:
        memory.write(b"12345678")
        path = memory.path
        assert open_array(path, (8,), np.uint8)[0] == ord("1")
    memory.close()
    with pytest.raises(FileNotFoundError):
        open_array(path, (8,), np.uint8)


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("consumer.children.reader", ("torch", "monai", "pydicom", "highdicom")),
        ("consumer.children.reader:start", ("torch", "monai")),
        ("consumer.orthanc", ("torch", "pydicom", "highdicom")),
    ],
)
def test_a_module_brings_no_library_into_a_process_that_must_not_have_it(module, banned):
    name, _, function = module.partition(":")
    code = f"import sys, {name}\n"
    code += f"{name}.{function}()\n" if function else ""
    code += f"print([m for m in {banned!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_grid_that_differs_at_its_far_edge_is_refused():
    pre = Series(2, 64, 64, spacing=(2.5, 0.7, 0.7))
    # 63 x 0.0006 mm are 0.04 mm, and 511 x 0.0006 mm are 0.31.
    near = second_phase(pre, slices=2, rows=64, columns=64, spacing=(2.5, 0.7, 0.7006))
    assert read(pre=pre, post1=near)[0].shape == (2, 2, 64, 64)
    wide = Series(1, 512, 512, spacing=(2.5, 0.7, 0.7))
    far = second_phase(wide, slices=1, rows=512, columns=512, spacing=(2.5, 0.7, 0.7006))
    assert "spacing" in refused(GeometryMismatch, pre=wide, post1=far)


def test_a_turn_that_moves_the_far_corner_is_refused():
    pre = Series(2, 8, 8)
    turned = second_phase(pre, slices=2, rows=8, columns=8)
    for ds in turned.datasets:
        ds.ImageOrientationPatient = ["1", "0.02", "0", "-0.02", "1", "0"]
    assert "orientation" in refused(GeometryMismatch, pre=pre, post1=turned)


def test_an_error_names_the_instance_as_it_was_downloaded():
    series = Series()
    series.datasets.reverse()
    # The fifth slice of the stack.
    series.datasets[1].RescaleSlope, series.datasets[1].RescaleIntercept = "0", "0"
    assert "instance 2 of series" in refused(UnreadableDicom, pre=series)


def test_a_frame_of_reference_that_is_empty_is_none():
    pre = Series()
    post = second_phase(pre)
    for ds in (*pre.datasets, *post.datasets):
        ds.FrameOfReferenceUID = ""
    said = refused(MissingAttribute, pre=pre, post1=post)
    assert said == "instance 1 of pre has an empty FrameOfReferenceUID"


@pytest.mark.parametrize("time", [None, ""])
def test_a_classic_phase_is_chosen_by_the_time_in_its_date_time(time):
    pre = Series()
    post = Series(study_uid=pre.study_uid, frame_uid=pre.frame_uid, pixels=pre.pixels + 7)
    for value, series in (("101500.25", pre), ("101630", post)):
        for ds in series.datasets:
            ds.SeriesInstanceUID = pre.series_uid
            ds.AcquisitionDateTime = f"20260102{value}+0900"
            del ds.AcquisitionTime
            if time is not None:
                ds.AcquisitionTime = time
    files = [*post.files(), *pre.files()]
    with MemoryFile() as memory, MemoryFile() as target:
        phases = tuple(
            place(memory, files, role, pre.series_uid, selector=("AcquisitionTime", value))
            for role, value in (("pre", "101500.25"), ("post1", "101630"))
        )
        header = reader.read_phases(DownloadIndex(pre.study_uid, phases), target.path)
        np.testing.assert_array_equal(
            target.open_array(header.shape, np.float32)[0], pre.pixels.astype(np.float32)
        )


def test_a_series_of_several_phases_is_parsed_once(monkeypatch):
    from consumer.dicom import series as series_module

    pre = Series()
    post = Series(study_uid=pre.study_uid, frame_uid=pre.frame_uid, pixels=pre.pixels + 7)
    for position, one in ((1, pre), (2, post)):
        for ds in one.datasets:
            ds.SeriesInstanceUID, ds.TemporalPositionIdentifier = pre.series_uid, position
    parsed = []
    read_file = series_module.read_file
    monkeypatch.setattr(
        series_module, "read_file", lambda data, **how: parsed.append(1) or read_file(data, **how)
    )
    with MemoryFile() as memory, MemoryFile() as target:
        first = place(memory, [*pre.files(), *post.files()], "pre", pre.series_uid)
        phases = tuple(
            replace(first, role=role, selector=("TemporalPositionIdentifier", value))
            for role, value in (("pre", "1"), ("post1", "2"))
        )
        reader.read_phases(DownloadIndex(pre.study_uid, phases), target.path)
    assert len(parsed) == 12


def test_compressed_images_of_other_phases_are_not_looked_at():
    pre, other = Series(), Series()
    for position, one in ((1, pre), (2, other)):
        for ds in one.datasets:
            ds.StudyInstanceUID, ds.SeriesInstanceUID = pre.study_uid, pre.series_uid
            ds.TemporalPositionIdentifier = position
            ds.compress(RLELossless, generate_instance_uid=False)
    for ds in other.datasets:
        ds.PixelData = encapsulate([b"no RLE"])
    with MemoryFile() as memory, MemoryFile() as target:
        phase = place(
            memory,
            [*pre.files(), *other.files()],
            "pre",
            pre.series_uid,
            selector=("TemporalPositionIdentifier", "1"),
        )
        reader.read_phases(DownloadIndex(pre.study_uid, (phase,)), target.path)
