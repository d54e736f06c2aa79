"""Enhanced (multi-frame) MR: from frames to volumes, and results that refer to the frames."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    ExplicitVRBigEndian,
    LegacyConvertedEnhancedMRImageStorage,
    RLELossless,
)

from consumer.children import reader
from consumer.errors import (
    GeometryMismatch,
    LabError,
    MissingAttribute,
    PhasesOutOfOrder,
    SeriesChanged,
    UnreadableDicom,
)
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex, PackagedPrimary, VolumeHeader
from tests.dciodvfy import dicom_errors
from tests.dicom_factory import AXIAL, SAGITTAL, Series, oblique, part10, place, spec
from tests.enhanced_factory import SHARED, enhanced

#: Of the functional groups that the reader needs, those that may be shared here.
ALL_SHARED = SHARED | {"PixelValueTransformationSequence"}

TWO = (("pre", "1"), ("post1", "2"))


def two_phases(**changes: object) -> list[Series]:
    pre = Series(**changes)
    post = Series(
        **{
            "study_uid": pre.study_uid,
            "series_uid": pre.series_uid,
            "frame_uid": pre.frame_uid,
            "pixels": pre.pixels + 500,
            "time": "101630",
            **changes,
        }
    )
    return [pre, post]


class Case:
    """Instances of one series in memory, and the phases that a request wants of them."""

    def __init__(
        self,
        memory: MemoryFile,
        instances: Sequence[Dataset],
        wanted: Sequence[tuple[str, str]] = TWO,
        keyword: str = "TemporalPositionIndex",
    ) -> None:
        files = [part10(ds) for ds in instances]
        first = instances[0]
        phases = tuple(
            place(
                memory,
                files,
                role,
                first.SeriesInstanceUID,
                selector=(keyword, value) if value else None,
            )
            for role, value in wanted
        )
        self.source = DownloadIndex(first.StudyInstanceUID, phases)
        self.spec = spec()

    def read(self) -> tuple[VolumeHeader, np.ndarray]:
        with MemoryFile() as target:
            header = reader.read_phases(self.source, target.path)
            return header, target.open_array(header.shape, np.float32).copy()

    def know(self) -> None:
        """As after a run that has read the phases."""
        header, _ = self.read()
        self.source = self.source.as_read(header)

    def package(self, mask: np.ndarray) -> PackagedPrimary:
        with MemoryFile() as memory:
            memory.write(np.ascontiguousarray(mask, dtype=np.uint8).tobytes())
            return reader.package(self.source, memory.path, mask.shape, self.spec)


@pytest.fixture
def memory():
    with MemoryFile() as file:
        yield file


def mixed(phases: Sequence[Series]) -> list[tuple[int, int]]:
    """Frames of all phases in an order that nothing follows from."""
    every = [(phase, at) for phase, one in enumerate(phases) for at in range(one.slices)]
    return [every[i] for i in np.random.default_rng(4).permutation(len(every))]


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, oblique()])
@pytest.mark.parametrize("shared", [frozenset(), SHARED, ALL_SHARED], ids=["own", "some", "all"])
def test_all_phases_in_one_instance_are_taken_apart_whatever_the_order_of_its_frames(
    memory, orientation, shared
):
    phases = two_phases(orientation=orientation)

    header, volume = Case(memory, [enhanced(phases, order=mixed(phases), shared=shared)]).read()

    assert header.shape == (2, 6, 8, 10)
    np.testing.assert_array_equal(volume[0], phases[0].pixels)
    np.testing.assert_array_equal(volume[1], phases[1].pixels)
    np.testing.assert_allclose(header.affine_lps, phases[0].affine(), atol=1e-5)
    np.testing.assert_allclose(header.spacing, (2.5, 0.8, 0.6), atol=1e-6)


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("TemporalPositionIndex", ("1", "2")),
        ("AcquisitionNumber", ("11", "12")),
        ("AcquisitionTime", ("101500.25", "101630.25")),
    ],
)
def test_each_keyword_of_a_frame_tells_its_phase(memory, keyword, values):
    phases = two_phases()
    wanted = tuple(zip(("pre", "post1"), values, strict=True))
    _, volume = Case(memory, [enhanced(phases)], wanted, keyword).read()
    np.testing.assert_array_equal(volume[1] - volume[0], 500.0)


def test_one_instance_for_each_phase_is_told_apart_by_what_the_instances_say(memory):
    phases = two_phases()
    instances = [enhanced([phase]) for phase in phases]
    for number, ds in enumerate(instances, 1):
        ds.TemporalPositionIdentifier = number
    _, volume = Case(memory, instances[::-1], TWO, "TemporalPositionIdentifier").read()
    np.testing.assert_array_equal(volume, [phase.pixels for phase in phases])


def test_a_volume_that_is_split_over_instances_is_put_together(memory):
    phases = two_phases()
    order = mixed(phases)
    instances = [enhanced(phases, order=part) for part in (order[:5], order[5:6], order[6:])]
    _, volume = Case(memory, instances).read()
    np.testing.assert_array_equal(volume, [phase.pixels for phase in phases])


def test_a_converted_object_tells_phases_by_what_its_converter_could_not_place(memory):
    phases = two_phases()
    ds = enhanced(phases, sop_class=LegacyConvertedEnhancedMRImageStorage)
    for group in ds.PerFrameFunctionalGroupsSequence:
        content = group.FrameContentSequence[0]
        other = Dataset()
        other.TriggerTime = str(900 * content.TemporalPositionIndex)
        group.UnassignedPerFrameConvertedAttributesSequence = [other]
        del content.TemporalPositionIndex
    wanted = (("pre", "900"), ("post1", "1800"))
    _, volume = Case(memory, [ds], wanted, "TriggerTime").read()
    np.testing.assert_array_equal(volume[1] - volume[0], 500.0)


def test_rescale_is_applied_frame_by_frame(memory):
    phase = Series()
    for number, ds in enumerate(phase.datasets):
        ds.RescaleSlope, ds.RescaleIntercept = f"{0.5 + number}", "-3"
    _, volume = Case(memory, [enhanced([phase])], (("pre", ""),)).read()
    for number in range(6):
        expected = phase.pixels[number] * (0.5 + number) - 3
        np.testing.assert_allclose(volume[0, number], expected)


@pytest.mark.parametrize("syntax", [RLELossless, ExplicitVRBigEndian])
def test_encoded_frames_are_decoded_each_by_itself(memory, syntax):
    phases = two_phases()
    ds = enhanced(phases, order=mixed(phases))
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds["PixelData"].VR = "OW"
    _, volume = Case(memory, [ds]).read()
    np.testing.assert_array_equal(volume, [phase.pixels for phase in phases])


def marked(seg: Dataset, ds: Dataset) -> set[tuple[int, int, int, int]]:
    """(TemporalPositionIndex, InStackPositionNumber, row, column) of every marked voxel.

    By the frames to which the SEG refers, whose position must be the SEG's own.
    """
    found = set()
    frames = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    for group, frame in zip(seg.PerFrameFunctionalGroupsSequence, frames, strict=True):
        [image] = group.DerivationImageSequence[0].SourceImageSequence
        assert image.ReferencedSOPInstanceUID == ds.SOPInstanceUID
        assert image.ReferencedSOPClassUID == ds.SOPClassUID
        source = ds.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
        assert (
            source.PlanePositionSequence[0].ImagePositionPatient
            == group.PlanePositionSequence[0].ImagePositionPatient
        )
        content = source.FrameContentSequence[0]
        at = (content.TemporalPositionIndex, content.InStackPositionNumber)
        found |= {(*at, *pixel) for pixel in np.argwhere(frame).tolist()}
    return found


@pytest.mark.parametrize("seen", [False, True], ids=["anew", "known"])
def test_the_segmentation_refers_to_the_frames_of_the_phase_after_contrast(memory, seen):
    phases = two_phases(orientation=oblique())
    ds = enhanced(phases, order=mixed(phases))
    case = Case(memory, [ds])
    mask = np.zeros((6, 8, 10), np.uint8)
    mask[1:4, 2:5, 3] = 1
    mask[5, 7, 9] = 1

    if seen:
        case.know()
    made = case.package(mask)
    seg = dcmread(BytesIO(made.dicom_bytes))

    assert marked(seg, ds) == {(2, k + 1, r, c) for k, r, c in np.argwhere(mask).tolist()}
    [series] = seg.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == ds.SeriesInstanceUID
    for reference in (series.ReferencedInstanceSequence, seg.SourceImageSequence):
        [one] = reference
        assert one.ReferencedSOPInstanceUID == ds.SOPInstanceUID
        assert one.ReferencedSOPClassUID == ds.SOPClassUID
    measured = reader.measure_stored(made.dicom_bytes, case.source, case.spec)
    assert measured.figures.volume_voxels == 10
    assert measured.figures.volume_ml == pytest.approx(10 * 2.5 * 0.8 * 0.6 / 1000)
    assert (measured.figures.slices, measured.figures.slices_with_tumor) == (6, 4)


@pytest.mark.parametrize("seen", [False, True], ids=["anew", "known"])
def test_a_segmentation_of_a_split_volume_names_each_instance_once(memory, seen):
    phases = two_phases()
    order = [(0, 3), (1, 0), (0, 1), (0, 0), (1, 1), (0, 2), (1, 2), (1, 3), (0, 4), (0, 5)]
    instances = [enhanced(phases, order=part) for part in (order[:4], order[4:])]
    case = Case(memory, instances, (("pre", "1"),))
    if seen:
        case.know()
    seg = dcmread(BytesIO(case.package(np.ones((6, 8, 10), np.uint8)).dicom_bytes))

    [series] = seg.ReferencedSeriesSequence
    named = [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence]
    assert sorted(named) == sorted(ds.SOPInstanceUID for ds in instances)
    frames = {
        (image.ReferencedSOPInstanceUID, image.ReferencedFrameNumber)
        for group in seg.PerFrameFunctionalGroupsSequence
        for image in group.DerivationImageSequence[0].SourceImageSequence
    }
    first, second = (ds.SOPInstanceUID for ds in instances)
    assert frames == {(first, 1), (first, 3), (first, 4), (second, 2), (second, 5), (second, 6)}


@pytest.mark.parametrize("seen", [False, True], ids=["anew", "known"])
def test_the_evidence_of_a_report_names_each_instance_once(memory, seen):
    phases = two_phases()
    ds = enhanced(phases)
    case = Case(memory, [ds])
    if seen:
        case.know()
    seg = case.package(np.ones((6, 8, 10), np.uint8)).dicom_bytes
    nothing = case.package(np.zeros((6, 8, 10), np.uint8)).dicom_bytes
    measured = reader.measure_stored(seg, case.source, case.spec)

    for report, objects in ((measured.report, 2), (nothing, 1)):
        stored = dcmread(BytesIO(report))
        named = [
            item.ReferencedSOPInstanceUID
            for series in stored.CurrentRequestedProcedureEvidenceSequence[
                0
            ].ReferencedSeriesSequence
            for item in series.ReferencedSOPSequence
        ]
        assert len(named) == objects
        assert ds.SOPInstanceUID in named
    assert f"input post1={ds.SeriesInstanceUID} TemporalPositionIndex 2" in stored.to_json()


def test_dciodvfy_finds_no_error_in_what_is_stored(memory, tmp_path):
    case = Case(memory, [enhanced(two_phases(orientation=oblique()))])
    seg = case.package(np.ones((6, 8, 10), np.uint8)).dicom_bytes
    report = reader.measure_stored(seg, case.source, case.spec).report
    nothing = case.package(np.zeros((6, 8, 10), np.uint8)).dicom_bytes

    assert report is not None
    for data in (seg, report, nothing):
        assert dicom_errors(data, tmp_path) == []


def refused(kind: type[LabError], case: Case) -> str:
    with pytest.raises(kind) as caught:
        case.read()
    return caught.value.detail


def test_all_frames_of_several_phases_at_once_are_refused(memory):
    case = Case(memory, [enhanced(two_phases())], (("pre", ""),))
    assert "12 images of pre lie at 6 places" in refused(GeometryMismatch, case)


def test_a_phase_that_no_frame_has_is_a_changed_series(memory):
    case = Case(memory, [enhanced(two_phases())], (("pre", "1"), ("post1", "3")))
    assert "of phase post1" in refused(SeriesChanged, case)


def test_a_keyword_that_no_dictionary_has_chooses_nothing(memory):
    case = Case(memory, [enhanced(two_phases())], TWO, "Nonsense")
    assert "of phase pre" in refused(SeriesChanged, case)


def test_phases_of_one_series_that_are_numbered_against_their_roles_are_out_of_order(memory):
    phases = two_phases(time="101500")
    case = Case(memory, [enhanced(phases)], (("pre", "2"), ("post1", "1")))
    assert "post1" in refused(PhasesOutOfOrder, case)


def test_a_missing_frame_is_a_missing_slice(memory):
    order = [(0, at) for at in (0, 1, 2, 4, 5)]
    case = Case(memory, [enhanced([Series()], order=order)], (("pre", ""),))
    assert "slice 4 is missing" in refused(GeometryMismatch, case)


@pytest.mark.parametrize(
    "damage",
    [
        {"PerFrameFunctionalGroupsSequence": None},
        {"PerFrameFunctionalGroupsSequence": []},
        {"SharedFunctionalGroupsSequence": None},
        {"FrameOfReferenceUID": None},
    ],
)
def test_frames_that_do_not_say_where_they_lie_lack_an_attribute(memory, damage):
    ds = enhanced([Series()])
    for keyword, value in damage.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    refused(MissingAttribute, Case(memory, [ds], (("pre", ""),)))


def test_fewer_functional_groups_than_frames_are_unreadable(memory):
    ds = enhanced([Series()])
    del ds.PerFrameFunctionalGroupsSequence[2]
    refused(UnreadableDicom, Case(memory, [ds], (("pre", ""),)))


def test_a_converted_attribute_is_none_of_the_whole_object(memory):
    pre = Series()
    ds = enhanced([pre], sop_class=LegacyConvertedEnhancedMRImageStorage)
    foreign = Dataset()
    foreign.SOPInstanceUID = foreign.SeriesInstanceUID = foreign.FrameOfReferenceUID = "1.2.3"
    foreign.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    foreign.Rows, foreign.Columns, foreign.BitsStored = 4, 20, 4
    foreign.TemporalPositionIdentifier = 3
    for group in ds.PerFrameFunctionalGroupsSequence:
        group.UnassignedPerFrameConvertedAttributesSequence = [foreign]
    case = Case(memory, [ds], (("pre", "3"),), "TemporalPositionIdentifier")
    header, volume = case.read()
    np.testing.assert_array_equal(volume[0], pre.pixels)
    assert set(header.instances[0]) == {(ds.SOPClassUID, ds.SOPInstanceUID)}
