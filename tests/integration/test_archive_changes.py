"""Archives that re-encode what they store and read undeclared text each in its own way.

A result lies in the study of its images and is shown, whatever they do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
import requests
from pydicom import dcmread

from consumer.checks import archive as lab_check
from consumer.checks.line import State
from consumer.children import reader
from consumer.errors import UploadRejected
from consumer.memory import MemoryFile
from consumer.orthanc import Archive
from consumer.payloads import DownloadIndex, Measured, ResultSpec
from infra.local.orthanc import OrthancNode
from messages import identity
from messages.part10 import EXPLICIT_LITTLE, PLAIN, only_part, transfer_syntax
from messages.request import InputSeries
from tests.dicom_factory import Series, part10, place, spec
from tests.integration.nodes import running_orthanc
from web.checks import results
from web.inference.models import InferenceRequest
from web.legacy.frames import frames_of, stored_segmentation
from web.orthanc.archive import Orthanc
from web.phases.phase_names import PhaseName
from web.results.overlay import overlay_of
from web.results.stored_report import stored_report
from web.results.stored_result import Asked, stored_result

#: IngestTranscoding and DefaultEncoding of three archives.
ARCHIVES = {
    "jpeg lossless": ("1.2.840.10008.1.2.4.70", "Latin1"),
    "deflated": ("1.2.840.10008.1.2.1.99", "Utf8"),
    "jpeg-ls": ("1.2.840.10008.1.2.4.80", "Korean"),
}

#: Columns in eights: see the last test.
SHAPE = (3, 9, 8)
KIM = "김희중"

#: Specific Character Set (None: absent) and Patient ID of the images, as they are written.
PATIENTS: dict[str, tuple[bytes | None, bytes | None]] = {
    "ASCII": (b"ISO_IR 100", b"T-1"),
    "UTF-8": (b"ISO_IR 192", KIM.encode()),
    "EUC-KR, declared": (b"\\ISO 2022 IR 149", b"\x1b$)C" + KIM.encode("euc_kr")),
    "EUC-KR, declared, without its escape": (b"\\ISO 2022 IR 149", KIM.encode("euc_kr")),
    "EUC-KR as ISO_IR 149": (b"ISO_IR 149", KIM.encode("euc_kr")),
    "EUC-KR, undeclared": (None, KIM.encode("euc_kr")),
    "EUC-KR, declared as nothing": (b"", KIM.encode("euc_kr")),
    "Latin 1, undeclared": (None, "Gr\u00fcn-7".encode("latin-1")),
    "GB18030": (b"GB18030", "王小东".encode("gb18030")),
    "JIS": (b"\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B"),
    "spaces": (b"ISO_IR 192", b"  t 1  "),
    "lower case": (b"ISO_IR 192", b"abc"),
    "control characters": (b"ISO_IR 192", b"a\x01b\tc\n"),
    "backslash": (b"ISO_IR 192", b"A\\B"),
    "empty": (b"ISO_IR 192", b""),
    "absent": (b"ISO_IR 192", None),
}


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, OrthancNode]]:
    with ExitStack() as running:
        yield {
            name: running.enter_context(
                running_orthanc(
                    tmp_path_factory.mktemp("orthanc"),
                    IngestTranscoding=syntax,
                    DefaultEncoding=encoding,
                )
            )
            for name, (syntax, encoding) in ARCHIVES.items()
        }


@dataclass(frozen=True)
class Made:
    """A study of one phase, and how a lab makes its result."""

    request_id: UUID
    series: Series
    images: list[bytes]
    about: ResultSpec

    def primary(self) -> bytes:
        return self._with_source(self._package)

    def measured(self, stored: bytes) -> Measured:
        return self._with_source(partial(self._measure, stored))

    def _with_source(self, work: Callable[[DownloadIndex], Any]) -> Any:
        with MemoryFile() as memory:
            phase = place(memory, self.images, "pre", self.series.series_uid)
            return work(DownloadIndex(self.series.study_uid, (phase,)))

    def _package(self, source: DownloadIndex) -> bytes:
        shape = (self.series.slices, self.series.rows, self.series.columns)
        mask = np.zeros(shape, np.uint8)
        mask[1:, 2:5, 3:7] = 1
        with MemoryFile() as memory:
            memory.write(mask.tobytes())
            return reader.package(source, memory.path, shape, self.about).dicom_bytes

    def _measure(self, stored: bytes, source: DownloadIndex) -> Measured:
        return reader.measure_stored(stored, source, self.about)


def made(
    character_set: bytes | None = b"ISO_IR 192",
    number: bytes | None = b"T-1",
    columns: int = SHAPE[2],
) -> Made:
    series = Series(slices=SHAPE[0], rows=SHAPE[1], columns=columns)
    request_id = uuid4()
    about = spec(
        request_id=str(request_id),
        primary_series_uid=identity.primary_series_uid(request_id),
        primary_instance_uid=identity.primary_instance_uid(request_id),
        report_series_uid=identity.report_series_uid(request_id),
        report_instance_uid=identity.report_instance_uid(request_id),
        key_series_uid=identity.key_series_uid(request_id),
        key_instance_uids=(identity.key_instance_uid(request_id, 1),),
    )
    images = [with_patient(part10(ds), character_set, number) for ds in series.datasets]
    return Made(request_id, series, images, about)


def with_patient(data: bytes, character_set: bytes | None, number: bytes | None) -> bytes:
    """The file with these bytes in place of those that the factory has written."""
    data = data.replace(*_element(b"\x08\x00\x05\x00CS", b"ISO_IR 192", character_set))
    return data.replace(*_element(b"\x10\x00\x20\x00LO", b"T-1 ", number))


def _element(head: bytes, old: bytes, new: bytes | None) -> tuple[bytes, bytes]:
    before = head + len(old).to_bytes(2, "little") + old
    if new is None:
        return before, b""
    new += b" " * (len(new) % 2)
    return before, head + len(new).to_bytes(2, "little") + new


@cache
def objects_of(patient: str) -> tuple[Made, bytes, Measured]:
    """Images and result of a patient, made once for all archives."""
    one = made(*PATIENTS[patient])
    primary = one.primary()
    return one, primary, one.measured(primary)


@dataclass(frozen=True)
class Stored:
    study_id: str
    series_id: str


def lab_of(node: OrthancNode) -> Archive:
    return Archive(node.url, node.user, node.password)


def asked(node: OrthancNode, path: str, **headers: str) -> requests.Response:
    answer = requests.get(
        node.url + path, auth=(node.user, node.password), headers=headers, timeout=30
    )
    answer.raise_for_status()
    return answer


def store_images(node: OrthancNode, images: list[bytes]) -> Stored:
    ids = [lab_of(node).store(data) for data in images]
    series = asked(node, f"/instances/{ids[0]}/series").json()
    return Stored(series["ParentStudy"], series["ID"])


@pytest.mark.parametrize("patient", PATIENTS)
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_result_lies_in_the_study_of_its_images_whatever_their_patient_is_called(
    nodes: dict[str, OrthancNode], name: str, patient: str
) -> None:
    node, lab = nodes[name], lab_of(nodes[name])
    one, primary, told = objects_of(patient)
    stored = store_images(node, one.images)
    study_id = lab.study_of(stored.series_id, one.series.series_uid, one.series.study_uid)
    assert study_id == stored.study_id
    assert told.report is not None
    assert len(told.key_slices) == 1
    for data in (primary, told.report, *told.key_slices):
        # It raises where the archive says that the object lies elsewhere.
        lab.store(data, study_id=study_id)
    assert len(asked(node, f"/studies/{study_id}").json()["Series"]) == 4
    assert lab.find_instance(one.about.primary_instance_uid, study_id) is not None


# The old call for frames asks which request the segmentation is of.
@pytest.mark.django_db
@pytest.mark.parametrize("name", ARCHIVES)
def test_a_result_that_the_archive_re_encodes_is_read_by_lab_and_site_alike(
    nodes: dict[str, OrthancNode], name: str
) -> None:
    node, lab, one = nodes[name], lab_of(nodes[name]), made(number=b"T-2")
    stored = store_images(node, one.images)
    # As `consumer.jobs.analysis` does: store, read back, and all else from the stored bytes.
    primary_id = lab.store(one.primary(), study_id=stored.study_id)
    told = one.measured(lab.fetch_instance(primary_id))
    assert told.report is not None
    report_id = lab.store(told.report, study_id=stored.study_id)
    (picture_id,) = [lab.store(one, study_id=stored.study_id) for one in told.key_slices]
    kept = {
        transfer_syntax(lab.fetch_instance(one, as_stored=True))
        for one in (primary_id, report_id, picture_id)
    }
    assert ARCHIVES[name][0] in kept
    assert transfer_syntax(lab.fetch_instance(report_id)) in PLAIN
    # A second run finds it and tells the same.
    again = lab.find_instance(one.about.primary_instance_uid, stored.study_id)
    assert again == primary_id
    assert one.measured(lab.fetch_instance(again)).figures == told.figures

    site = Orthanc(node.url, node.user, node.password)
    inputs = (
        InputSeries(
            role="pre",
            series_id=stored.series_id,
            series_uid=one.series.series_uid,
            instance_count=SHAPE[0],
        ),
    )
    study = (stored.study_id, one.series.study_uid)
    read = stored_result(Asked(one.request_id, *study, inputs, told.model.name), site)
    assert read is not None
    assert (read.seg_instance_id, read.sr_instance_id) == (primary_id, report_id)
    assert read.volume_voxels == told.figures.volume_voxels == 24
    report = stored_report(one.request_id, study, site, tumor_detected=True)
    assert report.details.volume_ml == pytest.approx(told.figures.volume_ml, abs=1e-4)
    overlay = overlay_of(
        stored.study_id, [PhaseName(stored.series_id, None)], primary_id, orthanc=site
    )
    assert overlay.areas == {1: 12, 2: 12}
    row = InferenceRequest(
        id=one.request_id,
        study_id=stored.study_id,
        study_uid=one.series.study_uid,
        inputs=[item.model_dump(mode="json") for item in inputs],
        result={"tumor_detected": True, "seg_instance_id": primary_id},
    )
    assert str(results.read(row, site)).startswith("✓ newest result")
    # The old front end's pictures, and what a viewer is given that asks for any encoding.
    assert len(frames_of(site, stored_segmentation(site, primary_id))) == SHAPE[0]
    for instance_id in (primary_id, report_id, picture_id):
        path = asked(node, f"/instances/{instance_id}/tags?simplify").json()
        address = "/dicom-web/studies/{StudyInstanceUID}/series/{SeriesInstanceUID}"
        address += "/instances/{SOPInstanceUID}"
        answer = asked(
            node, address.format(**path), Accept='multipart/related; type="application/dicom"'
        )
        viewed = only_part(answer.content, answer.headers["Content-Type"])
        assert viewed is not None
        assert dcmread(BytesIO(viewed)).file_meta.TransferSyntaxUID == EXPLICIT_LITTLE
    site.close()


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_labs_check_says_what_the_archive_changes(
    nodes: dict[str, OrthancNode], name: str
) -> None:
    lines = {line.noun: line for line in lab_check.check(lab_of(nodes[name]), lab="x", store=True)}
    masks = lines.pop("masks")
    # An archive without a proxy may name no time.
    assert lines.pop("clock").state in {State.OK, State.SKIPPED}
    assert masks.state is (State.WARNED if refuses_odd_masks(nodes[name]) else State.OK)
    assert {line.state for line in lines.values()} == {State.OK}, list(map(str, lines.values()))
    assert ARCHIVES[name][0] in lines["read back"].text


def refuses_odd_masks(node: OrthancNode) -> bool:
    """Orthanc 1.13.0 re-encodes no mask of one bit whose columns do not fill its last byte."""
    version = asked(node, "/system").json()["Version"]
    newer = tuple(map(int, version.split(".")[:2])) >= (1, 13)
    return newer and "IngestTranscoding" in node.options


def test_a_width_that_the_archive_cannot_encode_is_refused_and_nothing_is_kept(
    nodes: dict[str, OrthancNode],
) -> None:
    for node in nodes.values():
        lab, one = lab_of(node), made(number=b"T-9", columns=9)
        stored = store_images(node, one.images)
        if refuses_odd_masks(node):
            with pytest.raises(UploadRejected):
                lab.store(one.primary(), study_id=stored.study_id)
            assert lab.find_instance(one.about.primary_instance_uid, stored.study_id) is None
        else:
            lab.store(one.primary(), study_id=stored.study_id)
