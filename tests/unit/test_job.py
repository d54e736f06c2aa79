"""The job alone, with recording fakes: in which order it speaks, and what it ends in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from consumer.amqp.acks import LegalAck
from consumer.announce import Announcer
from consumer.bundle import read_bundle
from consumer.children.segmenter import SegmentationJob
from consumer.errors import ArchiveUnavailable, GeometryMismatch, UploadRejected
from consumer.handover import (
    DownloadIndex,
    Figures,
    Measured,
    PackagedPrimary,
    ResultSpec,
    StoredModel,
    VolumeHeader,
)
from consumer.job import Job
from consumer.lab import Lab
from consumer.memory import MemoryFile
from messages import codec
from messages.envelope import Message, Wire
from messages.events import (
    InferenceCompleted,
    InferenceFailed,
    InferenceRetryScheduled,
    RunEvent,
)
from messages.failures import FailureCode
from messages.request import InferenceRequested, InputSeries

HELD = Path(__file__).parents[1] / "bundles" / "held"
ROLES = ("pre", "post1", "post2", "last")
ORTHANC_ID = "01234567-89abcdef-01234567-89abcdef-0123456{}"


@dataclass
class RecordingSender:
    sent: list[tuple[str, str, Message]] = field(default_factory=list)

    def publish(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        self.sent.append((exchange, routing_key, codec.decode(wire.body, type_=wire.type)))

    def hint(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        codec.decode(wire.body, type_=wire.type)


@dataclass
class MemoryArchive:
    """Keeps the first object under a UID, as the real one does."""

    objects: dict[str, bytes] = field(default_factory=dict)
    #: The archive's id of an instance that another run has stored.
    primary_id: str | None = None
    refuses: Exception | None = None

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile
    ) -> list[tuple[int, int]]:
        into.write(b"DICM")
        return [(0, 4)]

    def find_instance(self, sop_instance_uid: str) -> str | None:
        return self.primary_id

    def fetch_instance(self, instance_id: str) -> bytes:
        return self.objects[instance_id]

    def store(self, dicom: bytes) -> str:
        if self.refuses is not None:
            raise self.refuses
        key = ORTHANC_ID.format(len(self.objects))
        self.objects.setdefault(key, dicom)
        return key


@dataclass
class ScriptedWorkbench:
    calls: list[str] = field(default_factory=list)
    read_fails: Exception | None = None

    def read(self, source: DownloadIndex, volumes_path: str) -> VolumeHeader:
        self.calls.append("read")
        if self.read_fails is not None:
            raise self.read_fails
        return VolumeHeader(ROLES, (4, 2, 3, 3), ((1.0,) * 4,) * 4, (1, 1, 1), ((),) * len(ROLES))

    def segment(self, job: SegmentationJob) -> None:
        self.calls.append(f"segment at {job.threshold}")

    def package(
        self, source: DownloadIndex, mask_path: str, shape: tuple[int, int, int], spec: ResultSpec
    ) -> PackagedPrimary:
        self.calls.append("package")
        return PackagedPrimary("seg", spec.primary_instance_uid, spec.primary_series_uid, b"SEG")

    def measure(self, stored: bytes, source: DownloadIndex, spec: ResultSpec) -> Measured:
        self.calls.append(f"measure {stored!r}")
        made_by = StoredModel("held", "0.0.2 of another lab", "c" * 64)
        return Measured(Figures(True, 5, 0.1, 4.0, 2, 1), made_by, b"SR")


@dataclass
class Once:
    """In hand under the first delivery, until a test says otherwise."""

    count: int = 0


@dataclass
class Bench:
    sender: RecordingSender = field(default_factory=RecordingSender)
    archive: MemoryArchive = field(default_factory=MemoryArchive)
    workbench: ScriptedWorkbench = field(default_factory=ScriptedWorkbench)

    def job(self) -> Job:
        lab = Lab(
            name="lab1",
            device="cpu",
            threshold=0.5,
            bundles={"held": read_bundle(HELD)},
            archive=self.archive,
            workbench=self.workbench,
            announcer=Announcer(self.sender, user="lab1"),
        )
        return Job(lab)

    @property
    def last(self) -> Message:
        return self.sender.sent[-1][2]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def request(**changes: object) -> InferenceRequested:
    values: dict[str, object] = {
        "request_id": uuid4(),
        "attempt": 1,
        "pool": "lab",
        "model": "held",
        "study_uid": "1.2",
        "inputs": tuple(
            InputSeries(
                role=role, series_id=ORTHANC_ID.format(i), series_uid=f"1.2.{i}", instance_count=1
            )
            for i, role in enumerate(ROLES)
        ),
        "deadline_s": 60,
        **changes,
    }
    return InferenceRequested(**values)  # type: ignore[arg-type]


def test_completed_is_told_last_and_holds_what_was_measured_on_the_stored_bytes(
    bench: Bench,
) -> None:
    assert bench.job().handle(request(), Once()) is LegalAck.STORED
    assert bench.workbench.calls == ["read", "segment at 0.5", "package", "measure b'SEG'"]
    assert isinstance(bench.last, InferenceCompleted)
    assert bench.last.volume_voxels == 5
    assert bench.last.model.version == "0.0.2 of another lab"
    assert bench.last.seg_instance_id != bench.last.sr_instance_id


def test_the_threshold_of_the_request_beats_that_of_the_lab(bench: Bench) -> None:
    bench.job().handle(request(threshold=0.9), Once())
    assert "segment at 0.9" in bench.workbench.calls


def test_the_end_is_told_under_the_delivery_that_is_in_hand_then(bench: Bench) -> None:
    held = Once()

    def reconnect(job: SegmentationJob) -> None:
        held.count = 2

    bench.workbench.segment = reconnect  # type: ignore[method-assign]
    bench.job().handle(request(), held)
    told = [m for _, _, m in bench.sender.sent if isinstance(m, RunEvent)]
    assert [m.delivery for m in told] == [0, 2]
    assert told[0].sequence < told[-1].sequence


def test_a_stored_primary_is_measured_and_not_computed_again(bench: Bench) -> None:
    bench.archive.primary_id = bench.archive.store(b"theirs")
    bench.job().handle(request(), Once())
    assert bench.workbench.calls == ["measure b'theirs'"]


@pytest.mark.parametrize(
    ("attempt", "tier"), [(1, "mri.retry.30s"), (2, "mri.retry.2m"), (3, "mri.retry.10m")]
)
def test_a_passing_fault_puts_a_copy_into_the_next_tier_before_it_is_told(
    bench: Bench, attempt: int, tier: str
) -> None:
    bench.archive.refuses = ArchiveUnavailable("down")
    asked = request(attempt=attempt)
    assert bench.job().handle(asked, Once()) is LegalAck.RETRY
    exchange, key, copy = bench.sender.sent[-2]
    assert (exchange, key) == (tier, "lab.held")
    assert copy == asked.model_copy(update={"attempt": attempt + 1})
    assert isinstance(bench.last, InferenceRetryScheduled)
    assert bench.last.code is FailureCode.ARCHIVE_UNAVAILABLE


def test_after_the_last_tier_the_request_fails_with_the_last_code(bench: Bench) -> None:
    bench.archive.refuses = UploadRejected("full")
    assert bench.job().handle(request(attempt=4), Once()) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is FailureCode.UPLOAD_REJECTED


@pytest.mark.parametrize(
    ("prepare", "changes", "code"),
    [
        (lambda b: None, {"archive": "elsewhere"}, FailureCode.SERIES_NOT_FOUND),
        (lambda b: None, {"model": "other"}, FailureCode.MODEL_UNAVAILABLE),
        (lambda b: None, {"inputs": request().inputs[:3]}, FailureCode.WRONG_PHASE_COUNT),
        (
            lambda b: setattr(b.workbench, "read_fails", GeometryMismatch("slice 3")),
            {},
            FailureCode.GEOMETRY_MISMATCH,
        ),
    ],
)
def test_a_lasting_fault_fails_at_once(
    bench: Bench, prepare: Callable[[Bench], None], changes: dict[str, object], code: FailureCode
) -> None:
    prepare(bench)
    assert bench.job().handle(request(**changes), Once()) is LegalAck.FAILED
    assert isinstance(bench.last, InferenceFailed)
    assert bench.last.code is code
    assert len(bench.sender.sent) == 2, "accepted and failed, nothing else"
