"""What the site reads of a stored result is what the lab told of the same objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from io import BytesIO
from uuid import UUID

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from consumer.children import reader
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex, Measured, ResultSpec
from messages import identity
from messages.request import InputSeries, PhaseSelector
from tests.dicom_factory import SAGITTAL, Series, index, oblique, part10, place, spec
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveUnavailable, UnreadableResult
from web.results.stored_result import Asked, StoredResult, stored_result

REQUEST = UUID("0b0f6f0e-9a4c-4f25-9d2e-1d1a6b8f0c11")


def orthanc_id(text: str) -> str:
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[i : i + 8] for i in range(0, 40, 8))


#: Orthanc's id of the study that is asked for.
STUDY_ID = orthanc_id("study")

#: The model of the results that are made here.
MODEL = spec().model_name


class Shelf:
    """Objects by Orthanc id, behind the three calls that are made of an Orthanc."""

    def __init__(self, **files: bytes) -> None:
        self.files = {orthanc_id(name): data for name, data in files.items()}
        #: UID of the study that holds them, where it is not the one that is asked for.
        self.study_uid = ""
        #: Orthanc's id of the study that holds an object, where it is not the one asked for.
        self.elsewhere: dict[str, str] = {}

    def orthanc(self, study_uid: str) -> Orthanc:
        self.study_uid = self.study_uid or study_uid
        return Orthanc("http://archive", "u", "p", transport=httpx.MockTransport(self.answer))

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/tools/lookup":
            uid = request.content.decode()
            found = [one for one, data in self.files.items() if _uid(data) == uid]
            return httpx.Response(200, json=[{"ID": one, "Type": "Instance"} for one in found])
        _, _, instance, tail = request.url.path.split("/")
        if instance not in self.files:
            return httpx.Response(404)
        if tail == "study":
            tags = {"StudyInstanceUID": self.study_uid}
            study_id = self.elsewhere.get(instance, STUDY_ID)
            return httpx.Response(200, json={"ID": study_id, "MainDicomTags": tags})
        return httpx.Response(200, content=self.files[instance])


def _uid(data: bytes) -> str:
    return str(dcmread(BytesIO(data), stop_before_pixels=True).SOPInstanceUID)


def result_spec(**changes: object) -> ResultSpec:
    return spec(
        request_id=str(REQUEST),
        primary_series_uid=identity.primary_series_uid(REQUEST),
        primary_instance_uid=identity.primary_instance_uid(REQUEST),
        report_series_uid=identity.report_series_uid(REQUEST),
        report_instance_uid=identity.report_instance_uid(REQUEST),
        **changes,
    )


def lab_work(
    source: DownloadIndex, mask: np.ndarray, made_by: ResultSpec
) -> tuple[bytes, Measured]:
    """The primary object, and what the lab reads back from it and tells."""
    with MemoryFile() as memory:
        memory.write(np.ascontiguousarray(mask, dtype=np.uint8).tobytes())
        primary = reader.package(source, memory.path, mask.shape, made_by).dicom_bytes
    return primary, reader.measure_stored(primary, source, made_by)


def asked_for(source: DownloadIndex) -> Asked:
    inputs = tuple(
        InputSeries(
            role=phase.role,
            series_id=orthanc_id(phase.series_uid),
            series_uid=phase.series_uid,
            instance_count=phase.instance_count,
            phase_selector=phase.selector
            and PhaseSelector(keyword=phase.selector[0], value=phase.selector[1]),
        )
        for phase in source.phases
    )
    return Asked(REQUEST, STUDY_ID, source.study_uid, inputs, model=MODEL)


def assert_told_alike(read: StoredResult | None, told: Measured) -> None:
    assert read is not None
    figures, model = told.figures, told.model
    assert read.tumor_detected == figures.tumor_detected
    assert read.volume_voxels == figures.volume_voxels
    assert read.volume_ml == pytest.approx(figures.volume_ml, rel=1e-12)
    # The report has it to 0.01 mm.
    assert read.longest_diameter_mm == pytest.approx(figures.longest_diameter_mm, abs=0.005)
    assert (read.slices, read.slices_with_tumor) == (figures.slices, figures.slices_with_tumor)
    named = (read.model.name, read.model.version, read.model.sha256)
    assert named == (model.name, model.version, model.sha256)


def four_phases(**changes: object) -> dict[str, Series]:
    pre = Series(**changes)
    later = {"study_uid": pre.study_uid, "frame_uid": pre.frame_uid, **changes}
    return {"pre": pre, **{role: Series(**later) for role in ("post1", "post2", "last")}}


def two_foci(shape: tuple[int, int, int] = (6, 8, 10)) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[1:3, 3:6, 4:9] = 1
    mask[4, 6, 2] = 1
    return mask


@pytest.fixture
def memory():
    with MemoryFile() as file:
        yield file


@pytest.mark.parametrize(
    "orientation", [None, SAGITTAL, oblique()], ids=["axial", "sagittal", "oblique"]
)
def test_a_stored_result_is_told_as_the_lab_told_it(memory, orientation):
    geometry = {} if orientation is None else {"orientation": orientation}
    source = index(memory, **four_phases(**geometry))
    primary, told = lab_work(source, two_foci(), result_spec())
    shelf = Shelf(seg=primary, sr=told.report)

    read = stored_result(asked_for(source), shelf.orthanc(source.study_uid))

    assert_told_alike(read, told)
    assert read.volume_voxels == 31
    assert (read.slices, read.slices_with_tumor) == (6, 3)
    assert (read.seg_instance_id, read.sr_instance_id) == (orthanc_id("seg"), orthanc_id("sr"))


def test_of_several_segments_a_voxel_is_counted_once_and_a_slice_too(memory):
    source = index(memory, pre=Series())
    mask = two_foci()
    mask[2, 3:6, 4:6] = 2
    primary, told = lab_work(source, mask, result_spec(labels=("tumour", "cyst")))

    read = stored_result(
        asked_for(source), Shelf(seg=primary, sr=told.report).orthanc(source.study_uid)
    )

    assert_told_alike(read, told)
    assert read.volume_voxels == 31


def test_that_nothing_was_found_is_told_as_the_lab_told_it(memory):
    source = index(memory, **four_phases())
    primary, told = lab_work(source, np.zeros((6, 8, 10)), result_spec())
    assert told.report is None

    read = stored_result(asked_for(source), Shelf(primary=primary).orthanc(source.study_uid))

    assert_told_alike(read, told)
    assert read.seg_instance_id is None
    assert read.sr_instance_id == orthanc_id("primary")
    assert read.slices == 6


@pytest.mark.parametrize("found", [True, False])
def test_phases_that_share_a_series_are_counted_as_one_phase_has_slices(memory, found):
    first = Series()
    second = Series(
        study_uid=first.study_uid, series_uid=first.series_uid, frame_uid=first.frame_uid
    )
    for number, series in enumerate((first, second), 1):
        for ds in series.datasets:
            ds.TemporalPositionIdentifier = number
    files = [*first.files(), *second.files()]
    phases = tuple(
        place(
            memory,
            files,
            role,
            first.series_uid,
            selector=("TemporalPositionIdentifier", str(number)),
        )
        for number, role in enumerate(("pre", "post1"), 1)
    )
    source = DownloadIndex(first.study_uid, phases)
    primary, told = lab_work(source, two_foci() * found, result_spec())
    shelf = Shelf(primary=primary, **({"sr": told.report} if told.report else {}))

    read = stored_result(asked_for(source), shelf.orthanc(source.study_uid))

    assert_told_alike(read, told)
    assert read.slices == 6


def test_half_a_result_is_none(memory):
    source = index(memory, pre=Series())
    primary, told = lab_work(source, two_foci(), result_spec())
    asked = asked_for(source)

    assert stored_result(asked, Shelf().orthanc(source.study_uid)) is None
    assert stored_result(asked, Shelf(seg=primary).orthanc(source.study_uid)) is None
    assert stored_result(asked, Shelf(sr=told.report).orthanc(source.study_uid)) is None


def test_a_copy_in_another_study_is_not_the_result(memory):
    source = index(memory, pre=Series())
    primary, told = lab_work(source, two_foci(), result_spec())
    shelf = Shelf(seg=primary, sr=told.report)
    shelf.study_uid = "2.25.99"

    assert stored_result(asked_for(source), shelf.orthanc(source.study_uid)) is None


@pytest.mark.parametrize("which", ["seg", "sr"])
def test_what_the_archive_filed_under_another_patient_is_not_the_result(memory, which):
    source = index(memory, pre=Series())
    primary, told = lab_work(source, two_foci(), result_spec())
    shelf = Shelf(seg=primary, sr=told.report)
    # Its study has the same UID: what tells them apart is Orthanc's id.
    shelf.elsewhere[orthanc_id(which)] = orthanc_id("study of another patient")

    assert stored_result(asked_for(source), shelf.orthanc(source.study_uid)) is None


def test_of_two_copies_the_one_in_the_study_is_the_result(memory):
    source = index(memory, pre=Series())
    primary, told = lab_work(source, two_foci(), result_spec())
    shelf = Shelf(seg=primary, sr=told.report, copied=primary)
    shelf.elsewhere[orthanc_id("copied")] = orthanc_id("study of another patient")

    read = stored_result(asked_for(source), shelf.orthanc(source.study_uid))
    assert read is not None
    assert read.seg_instance_id == orthanc_id("seg")


def test_an_archive_that_does_not_answer_is_not_an_empty_one(memory):
    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    orthanc = Orthanc("http://archive", "u", "p", transport=httpx.MockTransport(away))
    with pytest.raises(ArchiveUnavailable):
        stored_result(asked_for(index(memory, pre=Series())), orthanc)


def another_volume(seg: Dataset, report: Dataset) -> None:
    group = report.ContentSequence[-1].ContentSequence[0]
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            item.MeasuredValueSequence[0].NumericValue = "99"


def another_study(seg: Dataset, report: Dataset) -> None:
    seg.StudyInstanceUID = "1.2.3"


def no_equipment(seg: Dataset, report: Dataset) -> None:
    del seg.SoftwareVersions


def all_empty(seg: Dataset, report: Dataset) -> None:
    seg.PixelData = bytes(len(seg.PixelData))


def no_spacing(seg: Dataset, report: Dataset) -> None:
    measures = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = "0"


def cut_short(seg: Dataset, report: Dataset) -> None:
    seg.PixelData = seg.PixelData[:2]


def no_figures(seg: Dataset, report: Dataset) -> None:
    del report.ContentSequence


def about_another(seg: Dataset, report: Dataset) -> None:
    for item in [report, *_below(report)]:
        for reference in item.get("ReferencedSOPSequence", ()):
            reference.ReferencedSOPInstanceUID = "2.25.7"


def _below(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _below(child)


def test_a_report_in_the_place_of_the_segmentation_that_states_a_finding_is_no_result(memory):
    source = index(memory, pre=Series())
    _, told = lab_work(source, two_foci(), result_spec())
    report = dcmread(BytesIO(told.report))
    report.SeriesInstanceUID = identity.primary_series_uid(REQUEST)
    uid = identity.primary_instance_uid(REQUEST)
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = uid

    with pytest.raises(UnreadableResult):
        stored_result(asked_for(source), Shelf(sr=part10(report)).orthanc(source.study_uid))


@pytest.mark.parametrize(
    "broken",
    [
        about_another,
        another_volume,
        another_study,
        no_equipment,
        all_empty,
        no_spacing,
        cut_short,
        no_figures,
    ],
)
def test_what_is_no_result_of_ours_is_an_error_that_quotes_nothing(memory, broken):
    source = index(memory, pre=Series())
    primary, told = lab_work(source, two_foci(), result_spec())
    seg, report = dcmread(BytesIO(primary)), dcmread(BytesIO(told.report))
    broken(seg, report)
    shelf = Shelf(seg=part10(seg), sr=part10(report))

    with pytest.raises(UnreadableResult) as raised:
        stored_result(asked_for(source), shelf.orthanc(source.study_uid))

    assert "Phantom" not in str(raised.value)
    assert raised.value.__cause__ is None
