"""What the stored objects state: lesions, curves, origin, predecessor; and who can read them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from uuid import UUID

import highdicom
import numpy as np
import pytest
import SimpleITK
from pydicom import Dataset, dcmread

from consumer.bundle import TUMOR, Code, ResultCodes
from consumer.children import reader
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex, Measured, ResultSpec, Volumes
from consumer.result.provenance import labrelay_version
from messages import identity
from tests.dicom_factory import Series, index, oblique, place, spec
from web.results.report_details import Kinetics, Point, WashOut, read_report

REQUEST = UUID("0b0f6f0e-9a4c-4f25-9d2e-1d1a6b8f0c11")
ROLES = ("pre", "post1", "post2", "last")
SHAPE = (8, 24, 30)

#: A large lesion, one of eight voxels far from it, and a speck of one voxel.
LARGE = (slice(2, 5), slice(4, 12), slice(5, 15))
SMALL = (slice(6, 8), slice(20, 22), slice(20, 22))
VESSEL = (7, 0, slice(0, 30))
SPECK = (slice(0, 1), slice(0, 1), slice(0, 1))

#: mm^3 of a voxel of the test series: 2.5 x 0.8 x 0.6.
VOXEL = 1.2


def about(**changes: object) -> ResultSpec:
    return spec(
        request_id=str(REQUEST),
        primary_series_uid=identity.primary_series_uid(REQUEST),
        primary_instance_uid=identity.primary_instance_uid(REQUEST),
        report_series_uid=identity.report_series_uid(REQUEST),
        report_instance_uid=identity.report_instance_uid(REQUEST),
        key_series_uid=identity.key_series_uid(REQUEST),
        **changes,
    )


def phases(**changes: object) -> dict[str, Series]:
    """Four phases, 60 s apart, in which the large lesion washes out and the small one rises."""
    signal = {"pre": (100, 50), "post1": (300, 80), "post2": (260, 100), "last": (210, 120)}
    first = Series(*SHAPE, orientation=oblique())
    found = {}
    for minute, role in enumerate(ROLES):
        pixels = np.full(SHAPE, 10, np.uint16)
        pixels[LARGE], pixels[SMALL] = signal[role]
        # Brighter than any lesion: one that is the brightest of all everywhere counts as cut off.
        pixels[VESSEL] = 1000
        found[role] = Series(
            *SHAPE,
            orientation=oblique(),
            study_uid=first.study_uid,
            frame_uid=first.frame_uid,
            time=f"10{15 + minute * 2:02d}00",
            pixels=pixels,
        )
        for ds in found[role].datasets:
            for keyword, value in changes.items():
                setattr(ds, keyword, value)
    return found


def marks(*boxes: tuple[slice, ...]) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    for box in boxes:
        mask[box] = 1
    return mask


def package(source: DownloadIndex, mask: np.ndarray, made_by: ResultSpec) -> bytes:
    with MemoryFile() as memory:
        memory.write(mask.tobytes())
        return reader.package(source, memory.path, mask.shape, made_by).dicom_bytes


def lab_work(
    source: DownloadIndex, mask: np.ndarray, made_by: ResultSpec
) -> tuple[bytes, Measured]:
    """As a run does it that reads the phases once."""
    with MemoryFile() as memory:
        header = reader.read_phases(source, memory.path)
        source = source.as_read(header)
        primary = package(source, mask, made_by)
        return primary, reader.measure_stored(
            primary, source, made_by, Volumes(memory.path, header)
        )


def parsed(data: bytes | None) -> Dataset:
    assert data is not None
    return dcmread(BytesIO(data))


@pytest.fixture
def memory():
    with MemoryFile() as file:
        yield file


def test_each_lesion_is_a_segment_of_its_own_and_the_largest_is_the_first(memory):
    source = index(memory, **phases())
    primary, measured = lab_work(source, marks(SPECK, SMALL, LARGE), about())
    seg = parsed(primary)

    assert [one.SegmentLabel for one in seg.SegmentSequence] == [
        "tumour 1",
        "tumour 2",
        "tumour 3",
    ]
    assert len({one.TrackingUID for one in seg.SegmentSequence}) == 3
    assert [one.volume_ml for one in measured.lesions] == pytest.approx(
        [240 * VOXEL / 1000, 8 * VOXEL / 1000, VOXEL / 1000]
    )
    by_segment = highdicom.seg.segread(BytesIO(primary)).get_volume(combine_segments=False)
    assert by_segment.array[..., 0].sum() == 240
    assert by_segment.array[..., 2].sum() == 1


def test_marks_below_the_smallest_size_are_left_out_and_the_report_says_how_many(memory):
    source = index(memory, **phases())
    made_by = about(min_lesion_mm3=9.5)
    primary, measured = lab_work(source, marks(SPECK, SMALL, LARGE), made_by)
    told = read_report(parsed(measured.report))

    assert len(parsed(primary).SegmentSequence) == 2
    assert measured.figures.volume_voxels == 248
    assert (measured.left_out, told.left_out) == (1, 1)
    assert told.lesions is not None
    assert len(told.lesions) == 2
    assert told.origin.smallest_mm3 == "9.5"


def test_where_every_mark_is_too_small_nothing_was_found(memory):
    source = index(memory, **phases())
    made_by = about(min_lesion_mm3=10.0)
    primary, measured = lab_work(source, marks(SPECK, SMALL), made_by)
    told = read_report(parsed(primary))

    assert not told.tumor_detected
    assert told.left_out == measured.left_out == 2
    assert told.lesions == ()
    assert measured.report is None


def test_no_more_lesions_than_a_reader_can_look_at_become_segments(memory):
    source = index(memory, **phases())
    mask = marks()
    mask[::4, ::2, ::3] = 1
    mask[0, 0, 1] = 1
    primary, measured = lab_work(source, mask, about())
    marked = 2 * 12 * 10

    assert len(parsed(primary).SegmentSequence) == 64
    assert measured.left_out == marked - 64
    assert measured.lesions[0].volume_ml == pytest.approx(2 * VOXEL / 1000)


def test_the_report_gives_each_lesion_its_figures_its_slice_and_its_curve(memory):
    series = phases()
    source = index(memory, **series)
    _, measured = lab_work(source, marks(SMALL, LARGE), about())
    report = parsed(measured.report)
    told = read_report(report)

    assert told.lesions is not None
    large, small = told.lesions
    assert (large.label, small.label) == ("tumour 1", "tumour 2")
    assert large.volume_ml == pytest.approx(0.288)
    assert large.longest_diameter_mm == pytest.approx(
        measured.figures.longest_diameter_mm, abs=0.01
    )
    # The outline of 8 rows of 0.8 mm and 10 columns of 0.6 mm: from one side's middle to another's.
    assert large.longest_in_plane_mm == pytest.approx(
        max(np.hypot(7 * 0.8, 10 * 0.6), np.hypot(8 * 0.8, 9 * 0.6)), abs=0.02
    )
    assert large.kinetics == Kinetics(
        (
            Point("pre", 100.0, 0.0),
            Point("post1", 300.0, 120.0),
            Point("post2", 260.0, 240.0),
            Point("last", 210.0, 360.0),
        ),
        200.0,
        WashOut.WASHOUT,
    )
    assert small.kinetics is not None
    assert small.kinetics.wash_out is WashOut.PERSISTENT
    assert small.kinetics.wash_in_percent == pytest.approx(60.0)
    assert told.volume_ml == pytest.approx(measured.figures.volume_ml, abs=1e-4)
    named = {
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for group in report.ContentSequence[-1].ContentSequence
        for number in group.ContentSequence
        for item in number.get("ContentSequence", ())
        if item.ValueType == "IMAGE"
    }
    assert named == {series["post1"].datasets[place].SOPInstanceUID for place in (2, 6)}


def test_a_model_of_one_phase_has_no_curves_and_no_voxels_are_read_for_it(memory):
    one = {"image": phases()["pre"]}
    source = index(memory, **one)
    primary = package(source, marks(LARGE), about())
    unread = replace(source, phases=(replace(source.phases[0], instances=(("1.2", "1.3"),)),))
    measured = reader.measure_stored(primary, unread, about())
    told = read_report(parsed(measured.report))

    assert told.lesions is not None
    assert told.lesions[0].kinetics is None


def test_a_redelivery_makes_the_same_report_of_the_stored_primary(memory):
    source = index(memory, **phases())
    made_by = about(min_lesion_mm3=3.0, device="cuda:0", threshold=0.3)
    primary, first = lab_work(source, marks(SPECK, SMALL, LARGE), made_by)
    # Another lab with other settings, which has read nothing.
    brain = Code("12738006", "SCT", "Brain")
    other = about(
        lab="lab-2",
        min_lesion_mm3=0.0,
        threshold=0.7,
        labels=("tumour",),
        notice="",
        codes=ResultCodes(brain, brain, brain, TUMOR.procedure),
    )
    again = reader.measure_stored(primary, source, other)

    assert again.figures == first.figures
    assert again.lesions == first.lesions
    reports = [parsed(first.report), parsed(again.report)]
    for report in reports:
        # When the file was written; the content is as old as the primary.
        del report.InstanceCreationDate, report.InstanceCreationTime
        for item in report.ContributingEquipmentSequence:
            item.ContributionDateTime = None
    assert reports[0].to_json() == reports[1].to_json()


def test_the_archive_alone_answers_what_made_a_result_of_what_where_and_when(memory):
    series = phases()
    source = index(memory, **series)
    weights = (("models/model.pt", "cd" * 32), ("models/a,epoch=10.ckpt", "ef" * 32))
    made_by = about(weights_sha256=weights, device="cuda:0", threshold=0.4, min_lesion_mm3=2.0)
    before = datetime.now(UTC).replace(microsecond=0)
    primary, measured = lab_work(source, marks(LARGE), made_by)
    nothing = package(source, marks(), made_by)
    after = datetime.now(UTC)

    for data in (measured.report, nothing):
        report = parsed(data)
        origin = read_report(report).origin
        assert (origin.model, origin.version) == (made_by.model_name, made_by.model_version)
        assert origin.bundle_sha256 == made_by.model_sha256
        # Commas and equals signs would end an entry; in a value they come back.
        told = (weights[0], ("models/a，epoch＝10.ckpt", "ef" * 32))
        assert origin.weights_sha256 == told
        assert (origin.lab, origin.device) == ("lab-1", "cuda:0")
        assert origin.labrelay == labrelay_version() != ""
        assert (origin.threshold, origin.smallest_mm3) == ("0.4", "2")
        assert origin.notice == made_by.notice
        assert [(p.role, p.series_uid) for p in origin.phases] == [
            (role, one.series_uid) for role, one in series.items()
        ]
        assert before <= datetime.fromisoformat(origin.created) <= after
        assert report.VerificationFlag == "UNVERIFIED"
    assert str(REQUEST) in parsed(nothing).to_json()
    seg = parsed(primary)
    assert (seg.ContentDate, seg.ContentTime) == (
        parsed(measured.report).ContentDate,
        parsed(measured.report).ContentTime,
    )


def test_the_phase_of_a_series_of_several_is_named_by_its_selector(memory):
    files = []
    for number, one in enumerate(phases().values(), 1):
        for ds in one.datasets:
            ds.TemporalPositionIdentifier, ds.SeriesInstanceUID = number, "2.25.77"
            ds.StudyInstanceUID = "2.25.76"
        files += one.files()
    placed = place(memory, files, "", "2.25.77")
    source = DownloadIndex(
        "2.25.76",
        tuple(
            replace(placed, role=role, selector=("TemporalPositionIdentifier", str(number)))
            for number, role in enumerate(ROLES, 1)
        ),
    )
    _, measured = lab_work(source, marks(LARGE), about())
    selectors = [p.selector for p in read_report(parsed(measured.report)).origin.phases]
    assert selectors == [f"TemporalPositionIdentifier {number}" for number in range(1, 5)]


def test_a_zone_that_the_images_declare_is_that_of_the_result(memory):
    source = index(memory, **phases(TimezoneOffsetFromUTC="+0900"))
    primary, measured = lab_work(source, marks(LARGE), about())
    for data in (primary, measured.report):
        ds = parsed(data)
        assert ds.TimezoneOffsetFromUTC == "+0900"
        at = f"{ds.ContentDate}{str(ds.ContentTime)[:6]}+0900"
        said = datetime.strptime(at, "%Y%m%d%H%M%S%z")
        assert abs((datetime.now(UTC) - said).total_seconds()) < 600
    assert read_report(parsed(measured.report)).origin.created.endswith("+09:00")


@pytest.mark.parametrize("declared", [None, "", "0900", "+9900", "Seoul"])
def test_no_zone_is_claimed_for_the_study_time_where_the_images_declare_none(memory, declared):
    changes = {} if declared is None else {"StudyComments": "x"}
    series = phases(**changes)
    if declared is not None:
        for one in series.values():
            for ds in one.datasets:
                ds.add_new("TimezoneOffsetFromUTC", "SH", declared)
    primary, measured = lab_work(index(memory, **series), marks(LARGE), about())
    for data in (primary, measured.report):
        assert "TimezoneOffsetFromUTC" not in parsed(data)


OLDER = UUID("0b0f6f0e-9a4c-4f25-9d2e-1d1a6b8f0c99")


def older_spec() -> ResultSpec:
    return spec(
        primary_series_uid=identity.primary_series_uid(OLDER),
        primary_instance_uid=identity.primary_instance_uid(OLDER),
        report_series_uid=identity.report_series_uid(OLDER),
        report_instance_uid=identity.report_instance_uid(OLDER),
    )


@pytest.mark.parametrize("found", [True, False], ids=["lesions", "nothing"])
@pytest.mark.parametrize("found_before", [True, False], ids=["lesions", "nothing"])
def test_a_report_names_the_one_that_it_replaces(memory, found, found_before):
    source = index(memory, **phases())
    primary, measured = lab_work(source, marks(*[LARGE] * found_before), older_spec())
    older = measured.report or primary
    now, again = lab_work(source, marks(*[LARGE] * found), about(predecessor=older))

    report = parsed(again.report or now)
    (document,) = report.PredecessorDocumentsSequence
    assert document.StudyInstanceUID == source.study_uid
    (named,) = document.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert named.ReferencedSOPInstanceUID == parsed(older).SOPInstanceUID
    assert read_report(report).predecessor_uid == parsed(older).SOPInstanceUID


def test_what_is_no_report_of_the_study_is_no_predecessor(memory):
    source = index(memory, **phases())
    seg, measured = lab_work(source, marks(LARGE), older_spec())
    foreign = parsed(measured.report)
    foreign.StudyInstanceUID = "2.25.5"
    buffer = BytesIO()
    foreign.save_as(buffer)
    for older in (seg, buffer.getvalue(), b"something else"):
        _, again = lab_work(source, marks(LARGE), about(predecessor=older))
        assert "PredecessorDocumentsSequence" not in parsed(again.report)


def test_other_software_reads_what_is_stored(memory, tmp_path: Path):
    source = index(memory, **phases())
    made_by = about(key_instance_uids=(identity.key_instance_uid(REQUEST, 1),))
    primary, measured = lab_work(source, marks(SMALL, LARGE), made_by)

    volume = highdicom.seg.segread(BytesIO(primary)).get_volume(combine_segments=True)
    assert (np.count_nonzero(volume.array == 1), np.count_nonzero(volume.array == 2)) == (240, 8)
    assert measured.report is not None
    groups = highdicom.sr.srread(BytesIO(measured.report)).content
    assert len(groups.get_volumetric_roi_measurement_groups()) == 2

    file = tmp_path / "picture.dcm"
    file.write_bytes(measured.key_slices[0])
    picture = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file)))
    np.testing.assert_array_equal(picture[0], parsed(measured.key_slices[0]).pixel_array)
    (tmp_path / "seg.dcm").write_bytes(primary)
    frames = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "seg.dcm")))
    assert np.count_nonzero(frames) == 248


#: Codes that dcmdump must show: (value, scheme).
CODES = [
    ("126000", "DCM"),
    ("118565006", "SCT"),
    ("L0JK", "IBSI"),
    ("103339001", "SCT"),
    ("MARKS", "99LABRELAY"),
    ("LEFTOUT", "99LABRELAY"),
    ("110816", "DCM"),
    ("109058", "DCM"),
    ("AFTERFIRST", "99LABRELAY"),
    ("RID49530", "RADLEX"),
    ("RID6058", "RADLEX"),
    ("130599", "DCM"),
    ("123110", "DCM"),
]


def test_dcmdump_shows_the_codes(memory, tmp_path: Path):
    _, measured = lab_work(index(memory, **phases()), marks(SMALL, LARGE), about())
    assert measured.report is not None
    file = tmp_path / "report.dcm"
    file.write_bytes(measured.report)
    lines = subprocess.run(
        ["dcmdump", str(file)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    values = [line.split("[")[1].split("]")[0] for line in lines if "(0008,0100)" in line]
    schemes = [line.split("[")[1].split("]")[0] for line in lines if "(0008,0102)" in line]
    shown = set(zip(values, schemes, strict=True))
    assert set(CODES) <= shown
