"""A real model of one phase on a real scanner's series: what the phantom cannot show."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import requests
from pydicom import Dataset, dcmread

from consumer.bundle import find_bundles
from infra.brain.fetch import Brain
from infra.local.orthanc import OrthancNode
from messages import topology
from messages.envelope import Message
from messages.events import InferenceCompleted, InferenceFailed
from messages.failures import FailureCode
from messages.request import InputSeries
from tests.integration.lab import (
    Clinic,
    StoredStudy,
    orthanc_post,
    running_lab,
    stored_objects,
)
from tests.integration.nodes import TestBroker

MODEL = "brain_mask_deepbet"

#: Whoever made the series anonymous put 0.0.0.0 before its UIDs, which is no root. A result must
#: name study, series and slices by them, and dciodvfy says so of each.
SOURCE_UID = re.compile(r'Error - Illegal root for UID - "0\.0\.0\.0\.')


@pytest.fixture
def brain() -> Brain:
    brain = Brain()
    assert brain.has_bundles(), "the weights are missing: run `make setup-test`"
    assert brain.has_series(), "the series is missing: run `make setup-test`"
    return brain


@pytest.fixture
def clinic(rabbit: TestBroker) -> Iterator[Clinic]:
    clinic = Clinic(rabbit)
    clinic.forget()
    yield clinic
    clinic.forget()


def stored(archive: OrthancNode, brain: Brain) -> StoredStudy:
    """The real study, with the roles that the bundle asks for."""
    answers = [orthanc_post(archive, "/instances", file.read_bytes()) for file in brain.files]
    assert len({answer["ParentSeries"] for answer in answers}) == 1
    first = dcmread(brain.files[0], specific_tags=["StudyInstanceUID", "SeriesInstanceUID"])
    roles = find_bundles(brain.bundles)[MODEL].descriptor.roles
    inputs = [
        InputSeries(
            role=role,
            series_id=answers[0]["ParentSeries"],
            series_uid=first.SeriesInstanceUID,
            instance_count=len(answers),
        )
        for role in roles
    ]
    return StoredStudy(answers[0]["ParentStudy"], first.StudyInstanceUID, tuple(inputs))


def dicom(archive: OrthancNode, instance_id: str) -> bytes:
    answer = requests.get(
        f"{archive.url}/instances/{instance_id}/file",
        auth=(archive.user, archive.password),
        timeout=30,
    )
    answer.raise_for_status()
    return answer.content


def dicom_errors(data: bytes, file: Path) -> list[str]:
    file.write_bytes(data)
    done = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert any(line in {"Segmentation", "ComprehensiveSR"} for line in lines), lines
    errors = [line for line in lines if line.startswith("Error")]
    return [line for line in errors if not SOURCE_UID.match(line)]


def ends(replies: list[Message]) -> list[Message]:
    return [event for event in replies if isinstance(event, InferenceCompleted | InferenceFailed)]


def code(sequence: list[Dataset]) -> tuple[str, str]:
    return sequence[0].CodeValue, sequence[0].CodeMeaning


def test_a_model_of_one_phase_marks_the_brain_on_the_series_of_a_real_scanner(
    tmp_path: Path, rabbit: TestBroker, orthanc: OrthancNode, clinic: Clinic, brain: Brain
) -> None:
    study = stored(orthanc, brain)
    assert [item.role for item in study.inputs] == ["image"]
    misnamed = (study.inputs[0].model_copy(update={"role": "pre"}),)
    with running_lab(
        tmp_path,
        broker=rabbit,
        archive=orthanc,
        archive_url=orthanc.url,
        bundle=brain.bundles,
    ):
        clinic.ask(study.request(model=MODEL, inputs=misnamed))
        clinic.ask(study.request(model=MODEL))
        replies = clinic.replies(lambda r: len(ends(r)) == 2, timeout=180)
    refused, done = ends(replies)
    assert isinstance(refused, InferenceFailed)
    assert refused.code is FailureCode.WRONG_PHASE_COUNT
    assert isinstance(done, InferenceCompleted), done
    assert clinic.ready(topology.requests_queue("lab")) == 0

    # What the package itself computes on this series, voxel for voxel: 249 963 voxels, 1292 ml.
    assert done.slices == 20
    assert done.slices_with_tumor == 19
    assert done.volume_ml == pytest.approx(1292.3, rel=0.01)

    assert done.seg_instance_id is not None
    assert stored_objects(orthanc, study) == {"SEG": 1, "SR": 1}
    written = dicom(orthanc, done.seg_instance_id)
    report = dicom(orthanc, done.sr_instance_id)
    assert dicom_errors(written, tmp_path / "seg.dcm") == []
    assert dicom_errors(report, tmp_path / "sr.dcm") == []
    assert_says_brain_and_lies_on_the_series(dcmread(BytesIO(written)), brain)
    assert b"Neoplasm" not in written + report
    assert b"reast" not in written + report


def assert_says_brain_and_lies_on_the_series(seg: Dataset, brain: Brain) -> None:
    (segment,) = seg.SegmentSequence
    assert segment.SegmentLabel == "brain 1"
    assert code(segment.SegmentedPropertyCategoryCodeSequence)[1] == "Anatomical Structure"
    assert code(segment.SegmentedPropertyTypeCodeSequence) == ("12738006", "Brain")
    assert seg.ContentLabel == "BRAIN"
    assert seg.SeriesDescription.endswith("no clinical use.")
    places = {
        str(ds.SOPInstanceUID): [float(v) for v in ds.ImagePositionPatient]
        for ds in (dcmread(file, stop_before_pixels=True) for file in brain.files)
    }
    assert len(places) == 20
    assert (seg.Rows, seg.Columns) == (256, 256)
    marked = {}
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        place = places[source.ReferencedSOPInstanceUID]
        stands = [float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient]
        assert stands == pytest.approx(place)
        marked[place[2]] = int(pixels.sum())
    areas = [marked[height] for height in sorted(marked)]
    assert len(areas) == 19
    # Small at the neck, largest through the hemispheres, smaller again at the crown.
    assert areas.index(max(areas)) in range(9, 14)
    assert areas[0] < 1000
    assert areas[-1] < 10000
