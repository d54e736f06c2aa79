from __future__ import annotations

import traceback
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import DataElement, Dataset, config, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.uid import generate_uid

from consumer.children import reader
from consumer.children.evidence import building
from consumer.errors import ModelFailed, UnreadableDicom, UploadRejected
from consumer.memory import MemoryFile
from consumer.payloads import (
    DownloadIndex,
    Figures,
    Measured,
    PackagedPrimary,
    ResultSpec,
    StoredModel,
)
from consumer.result.origin import description
from infra.phantom.dicom import write_study
from infra.phantom.grid import Grid
from infra.phantom.study import simulate
from tests.dciodvfy import dicom_errors
from tests.dicom_factory import AXIAL, SAGITTAL, Series, index, oblique, part10, place, spec

ORIENTATIONS = {"axial": AXIAL, "sagittal": SAGITTAL, "oblique": oblique()}


class Case:
    """Phases in memory, and what the reader makes of a mask on them."""

    def __init__(self, memory: MemoryFile, **phases: Series) -> None:
        self.phases = phases
        self.source: DownloadIndex = index(memory, **phases)
        self.spec: ResultSpec = spec()

    def package(self, mask: np.ndarray) -> PackagedPrimary:
        with MemoryFile() as memory:
            memory.write(np.ascontiguousarray(mask, dtype=np.uint8).tobytes())
            return reader.package(self.source, memory.path, mask.shape, self.spec)

    def measure(self, primary: bytes) -> tuple[Figures, bytes | None]:
        measured = self.measured(primary)
        return measured.figures, measured.report

    def measured(self, primary: bytes) -> Measured:
        return reader.measure_stored(primary, self.source, self.spec)


@pytest.fixture
def memory():
    with MemoryFile() as file:
        yield file


def four_phases(**changes: object) -> dict[str, Series]:
    pre = Series(**changes)
    later = {"study_uid": pre.study_uid, "frame_uid": pre.frame_uid, **changes}
    return {"pre": pre, **{role: Series(**later) for role in ("post1", "post2", "last")}}


def blob(shape: tuple[int, int, int] = (6, 8, 10)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[2:4, 3:6, 4:9] = 1
    mask[3, 6, 4] = 1
    return mask


def unchecked(ds: Dataset) -> bytes:
    """As a scanner writes it that does not keep to the standard."""
    mode, config.settings.writing_validation_mode = (
        config.settings.writing_validation_mode,
        config.IGNORE,
    )
    try:
        return part10(ds)
    finally:
        config.settings.writing_validation_mode = mode


def parsed(data: bytes) -> Dataset:
    return dcmread(BytesIO(data))


def marked_points(seg: Dataset) -> np.ndarray:
    """LPS mm of every marked voxel, from the SEG's own attributes alone, sorted."""
    shared = seg.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    points = []
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for item, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        corner = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        for row, column in np.argwhere(frame):
            points.append(corner + axes[3:] * down * row + axes[:3] * across * column)
    return np.array(sorted(np.round(points, 3).tolist()))


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reversed"])
def test_the_stored_mask_lies_on_the_anatomy(memory, orientation, reverse):
    series = Series(orientation=orientation)
    if reverse:
        series.datasets.reverse()
    mask = blob()

    seg = parsed(Case(memory, pre=series).package(mask).dicom_bytes)

    indices = np.argwhere(mask)
    expected = (series.affine() @ np.c_[indices, np.ones(len(indices))].T).T[:, :3]
    expected = np.array(sorted(np.round(expected, 3).tolist()))
    np.testing.assert_allclose(marked_points(seg), expected, atol=2e-3)


def test_the_segmentation_refers_to_the_first_series_after_contrast_only(memory):
    phases = four_phases()
    case = Case(memory, **phases)
    made = case.package(blob())
    seg, first = parsed(made.dicom_bytes), phases["post1"]

    assert (made.kind, seg.Modality, seg.SegmentationType) == ("seg", "SEG", "BINARY")
    assert [s.SeriesInstanceUID for s in seg.ReferencedSeriesSequence] == [first.series_uid]
    named = {
        image.ReferencedSOPInstanceUID
        for frame in seg.PerFrameFunctionalGroupsSequence
        for derivation in frame.DerivationImageSequence
        for image in derivation.SourceImageSequence
    }
    assert named == {first.datasets[2].SOPInstanceUID, first.datasets[3].SOPInstanceUID}
    assert seg.NumberOfFrames == 2
    assert seg.StudyInstanceUID == first.study_uid
    assert seg.FrameOfReferenceUID == first.frame_uid
    assert seg.SeriesInstanceUID == made.series_uid == case.spec.primary_series_uid
    assert seg.SOPInstanceUID == made.sop_instance_uid == case.spec.primary_instance_uid
    assert seg.SeriesNumber >= 900
    assert seg.PatientID == "T-1"


def test_the_segmentation_names_model_hash_and_notice(memory):
    case = Case(memory, pre=Series())
    seg = parsed(case.package(blob()).dicom_bytes)
    segment = seg.SegmentSequence[0]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]

    day, clock = str(seg.ContentDate), str(seg.ContentTime)
    when = f"{day[4:6]}-{day[6:]} {clock[:2]}:{clock[2:4]}"
    assert seg.SeriesDescription == f"breast-dce-phantom {when}: ...not for clinical use"
    assert seg.ContentDescription == seg.SeriesDescription
    assert f"notice={case.spec.notice}".replace(",", "，") in algorithm.AlgorithmParameters
    assert algorithm.AlgorithmName == case.spec.model_name
    assert algorithm.AlgorithmVersion == case.spec.model_version
    assert case.spec.model_sha256 in algorithm.AlgorithmParameters
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "108369006"
    assert segment.AnatomicRegionSequence[0].CodeValue == "76752008"


@pytest.mark.parametrize("model", ["m", "breast-dce-phantom", "m" * 63])
@pytest.mark.parametrize(
    "notice",
    [
        "Short",
        "Trained on simulated phantoms, not for clinical use",
        "임상용 아님",
        "n" * 64,
        "가" * 99,
    ],
)
@pytest.mark.parametrize("number", [None, 1, 2, 37, 1_000_000])
def test_a_description_fits_64_bytes_and_begins_with_what_differs(model, notice, number):
    made = spec(model_name=model, notice=notice, number=number, created="2026-03-04T10:21:59+09:00")
    text = description(made)
    assert len(text.encode()) <= 64
    count = f" #{number}" if number and number > 1 else ""
    name = model if len(model) <= 20 else f"{model[:17]}..."
    which, _, rest = text.partition(": ")
    assert which == f"{name}{count} 03-04 10:21"
    assert (
        rest == notice
        or (rest.startswith("...") and notice.endswith(rest[3:]))
        or (rest.endswith("...") and notice.startswith(rest[:-3]))
    )


def test_the_series_of_results_count_up_and_a_redelivery_numbers_alike(memory):
    phases = four_phases()
    found = []
    for number in (None, 1, 2, 12):
        case = Case(memory, **phases)
        case.spec = replace(case.spec, number=number)
        seg = case.package(blob()).dicom_bytes
        report = parsed(case.measure(seg)[1])
        # The site that asks again does not count.
        case.spec = replace(case.spec, number=None)
        again = parsed(case.measure(seg)[1])
        assert (again.SeriesNumber, again.SeriesDescription) == (
            report.SeriesNumber,
            report.SeriesDescription,
        )
        stored = parsed(seg)
        assert report.SeriesDescription == stored.SeriesDescription
        found.append((stored.SeriesNumber, report.SeriesNumber, stored.ContentLabel))
    assert found == [
        (900, 901, "TUMOUR"),
        (900, 901, "TUMOUR"),
        (903, 904, "RESULT 2 TUMOUR"),
        (933, 934, "RESULT 12 TUMOUR"),
    ]
    case.spec = replace(case.spec, number=3)
    nothing = parsed(case.package(np.zeros((6, 8, 10), np.uint8)).dicom_bytes)
    assert nothing.SeriesNumber == 906
    assert nothing.SeriesDescription.startswith("breast-dce-phantom #3 ")


def test_the_measurement_report_tells_the_figures_of_the_stored_segmentation(memory):
    phases = four_phases()
    case = Case(memory, **phases)
    result, data = case.measure(case.package(blob()).dicom_bytes)
    assert data is not None
    report = parsed(data)
    numbers = {
        item.ConceptNameCodeSequence[0].CodeValue: (
            float(item.MeasuredValueSequence[0].NumericValue),
            item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue,
        )
        for group in report.ContentSequence[-1].ContentSequence
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }

    # 31 voxels of 2.5 x 0.8 x 0.6 mm; the slice thickness of 5 mm plays no part.
    assert result.volume_voxels == 31
    assert result.volume_ml == pytest.approx(31 * 2.5 * 0.8 * 0.6 / 1000, rel=1e-6)
    assert (result.slices, result.slices_with_tumor) == (6, 2)
    assert numbers["118565006"] == (pytest.approx(result.volume_ml, abs=1e-4), "mL")
    assert numbers["L0JK"] == (pytest.approx(result.longest_diameter_mm, abs=0.01), "mm")
    assert report.VerificationFlag == "UNVERIFIED"
    assert report.SOPInstanceUID == case.spec.report_instance_uid
    assert report.SeriesInstanceUID == case.spec.report_series_uid
    assert report.SeriesNumber >= 900
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert {item.SeriesInstanceUID for item in evidence} == {
        case.spec.primary_series_uid,
        *(series.series_uid for series in phases.values()),
    }
    assert case.spec.model_sha256 in report.to_json()


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_a_result_is_the_same_whether_a_run_has_read_the_phases_or_not(memory, orientation):
    phases = four_phases(orientation=orientation, spacing=(2.5, 1 / 3, 0.7))
    phases["pre"].datasets.reverse()
    case = Case(memory, **phases)
    anew = case.package(blob()).dicom_bytes
    report = parsed(case.measure(anew)[1])
    with MemoryFile() as volumes:
        header = reader.read_phases(case.source, volumes.path)
    case.source = case.source.as_read(header)
    known = case.package(blob()).dicom_bytes

    assert without_chance(parsed(known)) == without_chance(parsed(anew))
    np.testing.assert_allclose(marked_points(parsed(known)), marked_points(parsed(anew)), atol=1e-3)
    assert without_chance(parsed(case.measure(anew)[1])) == without_chance(report)
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert sum(len(item.ReferencedSOPSequence) for item in evidence) == 1 + 4 * 6


def without_chance(ds: Dataset) -> str:
    """What does not differ between two runs: no times, no random UIDs, no rounded positions."""
    for keyword in ("InstanceCreationTime", "ContentTime", "PerFrameFunctionalGroupsSequence"):
        if keyword in ds:
            del ds[keyword]
    for item in ds.ContributingEquipmentSequence:
        item.ContributionDateTime = None
    for segment in ds.get("SegmentSequence", ()):
        del segment.TrackingUID, segment.SegmentationAlgorithmIdentificationSequence
    for item in ds.get("DimensionOrganizationSequence", ()):
        item.DimensionOrganizationUID = None
    for item in ds.get("DimensionIndexSequence", ()):
        item.DimensionOrganizationUID = None
    return ds.to_json()


def test_an_empty_mask_becomes_a_report_that_nothing_was_found(memory):
    case = Case(memory, **four_phases())
    made = case.package(np.zeros((6, 8, 10), np.uint8))
    report = parsed(made.dicom_bytes)

    assert made.kind == "sr"
    assert report.Modality == "SR"
    assert report.SOPInstanceUID == case.spec.primary_instance_uid
    assert "272519000" in report.to_json()
    assert case.spec.notice in report.to_json()
    assert case.measure(made.dicom_bytes) == (Figures(False, 0, 0.0, 0.0, 6, 0), None)


@pytest.mark.parametrize("bare", [False, True], ids=["complete", "de-identified"])
def test_dciodvfy_finds_no_error_in_what_is_stored(memory, tmp_path, bare):
    phases = four_phases(orientation=oblique())
    for series in phases.values():
        for ds in series.datasets:
            if bare:
                for keyword in (
                    "AccessionNumber",
                    "StudyID",
                    "PatientSex",
                    "PatientBirthDate",
                    "ReferringPhysicianName",
                    "SliceThickness",
                ):
                    delattr(ds, keyword)
    case = Case(memory, **phases)
    seg = case.package(blob()).dicom_bytes
    report = case.measure(seg)[1]
    nothing = case.package(np.zeros((6, 8, 10), np.uint8)).dicom_bytes

    assert report is not None
    for data in (seg, report, nothing):
        assert dicom_errors(data, tmp_path) == []


def test_a_korean_name_and_notice_survive_any_character_set_of_the_source(memory, tmp_path):
    series = Series()
    for ds in series.datasets:
        ds.SpecificCharacterSet = ["", "ISO 2022 IR 149"]
        ds.PatientName = "Hong^Gildong=洪^吉洞=홍^길동"
    case = Case(memory, pre=series)
    case.spec = replace(case.spec, notice="모의 영상으로 학습함, 임상용 아님")
    seg = case.package(blob()).dicom_bytes
    report = case.measure(seg)[1]

    assert report is not None
    for data in (seg, report):
        assert str(parsed(data).PatientName) == "Hong^Gildong=洪^吉洞=홍^길동"
        assert parsed(data).SeriesDescription.endswith("임상용 아님")
        assert dicom_errors(data, tmp_path) == []


def with_odd_value(memory: MemoryFile, keyword: str, value: str) -> Case:
    series = Series()
    for ds in series.datasets:
        ds[keyword] = DataElement(keyword, dictionary_VR(keyword), value, config.IGNORE)
    case = Case(memory, pre=Series())
    phase = place(memory, [unchecked(ds) for ds in series.datasets], "pre", series.series_uid)
    case.source = DownloadIndex(series.study_uid, (phase,))
    return case


@pytest.mark.parametrize("keyword", ["PatientBirthDate", "StudyDate", "StudyTime", "PatientSex"])
def test_a_date_or_sex_that_is_none_is_left_out_and_stops_no_result(memory, keyword):
    case = with_odd_value(memory, keyword, "Phantom")
    seg = case.package(blob()).dicom_bytes
    assert not parsed(seg)[keyword].value
    assert case.measure(seg)[1] is not None


def test_a_value_that_a_library_refuses_is_not_quoted(memory):
    source = Case(memory, pre=Series()).source
    with pytest.raises(UnreadableDicom) as caught, building(source):
        raise ValueError("Phantom")
    assert "Phantom" not in "".join(traceback.format_exception(caught.value))


def test_lesions_of_two_labels_are_segments_of_their_own_and_measured_together(memory, tmp_path):
    case = Case(memory, pre=Series())
    case.spec = replace(case.spec, labels=("mass", "non-mass"))
    mask = blob()
    mask[0, 0, 0:2] = 2
    seg = case.package(mask).dicom_bytes

    assert [s.SegmentLabel for s in parsed(seg).SegmentSequence] == ["mass 1", "non-mass 2"]
    assert case.measure(seg)[0].volume_voxels == 33
    assert dicom_errors(seg, tmp_path) == []


def test_a_mask_that_does_not_fit_is_the_models_fault(memory):
    case = Case(memory, pre=Series())
    with pytest.raises(ModelFailed, match="shape"):
        case.package(blob((6, 10, 10)))
    with pytest.raises(ModelFailed, match="value 2"):
        case.package(blob() * 2)


@pytest.mark.parametrize(
    "change",
    [
        {"SOPInstanceUID": generate_uid()},
        {"SeriesInstanceUID": generate_uid()},
        {"StudyInstanceUID": generate_uid()},
        {"FrameOfReferenceUID": generate_uid()},
        {"Modality": "MR"},
        {"SharedFunctionalGroupsSequence": []},
        {"NumberOfFrames": 1},
    ],
)
def test_a_foreign_object_under_our_uid_is_not_measured(memory, change):
    case = Case(memory, pre=Series())
    seg = parsed(case.package(blob()).dicom_bytes)
    for keyword, value in change.items():
        setattr(seg, keyword, value)
        if keyword == "SOPInstanceUID":
            seg.file_meta.MediaStorageSOPInstanceUID = value
    with pytest.raises(UploadRejected):
        case.measure(part10(seg))


def test_what_is_no_dicom_under_our_uid_is_not_measured(memory):
    with pytest.raises(UploadRejected):
        Case(memory, pre=Series()).measure(b"something else")


def ellipsoid(radii_mm: tuple[float, float, float], series: Series) -> np.ndarray:
    """Mask of an ellipsoid whose axes are turned against patient and grid alike."""
    a, b = np.deg2rad(35), np.deg2rad(50)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    shape = (series.slices, series.rows, series.columns)
    indices = np.stack(np.indices(shape)).reshape(3, -1)
    points = (series.affine() @ np.vstack([indices, np.ones(indices.shape[1])]))[:3]
    centre = (series.affine() @ [*(np.array(shape) / 2), 1])[:3]
    along = turn.T @ (points - centre[:, None]) / np.array(radii_mm)[:, None]
    return ((along**2).sum(axis=0) <= 1).reshape(shape).astype(np.uint8)


@pytest.mark.parametrize("radii", [(9.0, 9.0, 9.0), (14.0, 7.0, 5.0), (5.0, 6.0, 12.0)])
def test_volume_and_diameter_of_an_ellipsoid_agree_with_its_formula(memory, radii):
    series = Series(slices=20, rows=48, columns=64, orientation=oblique(), spacing=(2.0, 0.9, 0.7))
    case = Case(memory, pre=series)

    result, _ = case.measure(case.package(ellipsoid(radii, series)).dicom_bytes)

    volume = 4 / 3 * np.pi * np.prod(radii) / 1000
    assert result.volume_ml == pytest.approx(volume, rel=0.03)
    # Within one voxel: the diagonal of 2.0 x 0.9 x 0.7 mm.
    assert result.longest_diameter_mm == pytest.approx(2 * max(radii), abs=2.3)


@pytest.mark.parametrize("written", ["0.5", "5", "0", ""])
def test_a_scanners_spacing_between_slices_is_not_believed(memory, written):
    series = Series()
    for ds in series.datasets:
        ds.SpacingBetweenSlices = written
    case = Case(memory, pre=series)
    mask = blob()
    mask[5, 0, 0] = 1
    data = case.package(mask).dicom_bytes

    shared = parsed(data).SharedFunctionalGroupsSequence[0]
    assert float(shared.PixelMeasuresSequence[0].SpacingBetweenSlices) == pytest.approx(2.5)
    result, _ = case.measure(data)
    assert result.volume_ml == pytest.approx(32 * 2.5 * 0.8 * 0.6 / 1000)
    assert result.slices_with_tumor == 3


def test_orientations_that_differ_in_the_last_digit_are_one_orientation(memory):
    series = Series(orientation=oblique())
    for number, ds in enumerate(series.datasets):
        ds.ImageOrientationPatient = [f"{v + number * 1e-7:.8f}" for v in series.orientation]
    case = Case(memory, pre=series)
    assert case.measure(case.package(blob()).dicom_bytes)[0].volume_voxels == 31


@pytest.mark.parametrize("mask", [blob(), np.zeros((6, 8, 10), np.uint8)], ids=["SEG", "SR"])
def test_a_lab_with_another_version_tells_the_model_that_made_the_stored_object(memory, mask):
    case = Case(memory, **four_phases())
    stored = case.package(mask).dicom_bytes
    made_by = case.spec
    case.spec = replace(made_by, model_name="newer", model_version="9", model_sha256="f" * 64)
    measured = case.measured(stored)
    assert measured.model == StoredModel(
        made_by.model_name, made_by.model_version, made_by.model_sha256
    )
    if measured.report:
        report = dcmread(BytesIO(measured.report))
        assert list(report.SoftwareVersions) == [made_by.model_version, made_by.model_sha256]


def test_a_simulated_study_is_read_marked_and_measured_where_its_truth_says(memory, tmp_path):
    study = simulate(seed=5, grid=Grid(slices=40, matrix=96), tumours=1)
    written = write_study(study, tmp_path)
    by_series: dict[str, list[bytes]] = {}
    for path in written.files:
        data = path.read_bytes()
        uid = dcmread(path, stop_before_pixels=True).SeriesInstanceUID
        by_series.setdefault(uid, []).append(data)
    roles = zip(("pre", "post1", "post2", "last"), written.series_instance_uids, strict=True)
    phases = tuple(place(memory, by_series[uid], role, uid) for role, uid in roles)
    source, about = DownloadIndex(written.study_instance_uid, phases), spec()

    with MemoryFile() as volume, MemoryFile() as mask:
        header = reader.read_phases(source, volume.path)
        read = volume.open_array(header.shape, np.float32).copy()
        mask.write(study.truth.astype(np.uint8).tobytes())
        primary = reader.package(source, mask.path, study.truth.shape, about)
    measured = reader.measure_stored(primary.dicom_bytes, source, about)
    result, report = measured.figures, measured.report

    np.testing.assert_allclose(read, study.phases, atol=0.51)
    # The phantom's affine is RAS+: x and y turn their sign.
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    np.testing.assert_allclose(to_ras @ np.array(header.affine_lps), study.affine, atol=1e-3)
    assert result.volume_voxels == int(study.truth.sum())
    voxel_ml = abs(np.linalg.det(study.affine[:3, :3])) / 1000
    assert result.volume_ml == pytest.approx(study.truth.sum() * voxel_ml, rel=1e-4)
    assert result.slices_with_tumor == int(study.truth.any(axis=(1, 2)).sum())
    assert report is not None
    for data in (primary.dicom_bytes, report):
        assert dicom_errors(data, tmp_path) == []
