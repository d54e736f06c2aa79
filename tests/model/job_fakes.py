"""The recording fakes of `tests.unit.job_bench`, for several runs that share one archive.

A file is its UID, the number of the run that computed it, and how many voxels that found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from consumer.children.segmenter import SegmentationJob
from consumer.errors import ArchiveUnavailable
from consumer.memory import MemoryFile
from consumer.payloads import (
    DownloadIndex,
    Figures,
    Measured,
    PackagedPrimary,
    ResultSpec,
    StoredModel,
    VolumeHeader,
    Volumes,
)
from consumer.stop_conditions import StopConditions
from messages import codec
from messages.envelope import Wire
from messages.events import (
    InferenceCancelled,
    InferenceCompleted,
    InferenceFailed,
    InferenceRetryScheduled,
    RunEvent,
)
from tests.unit.job_bench import (
    ORTHANC_ID,
    MemoryArchive,
    NeverAway,
    RecordingSender,
    ScriptedWorkbench,
)

#: What the archive answers with while nothing is stored under it.
_NOBODY = ORTHANC_ID.format(9)

#: What a run can end in.
ENDS = (InferenceCompleted, InferenceFailed, InferenceCancelled, InferenceRetryScheduled)


class Mood(Enum):
    """How the archive is."""

    WELL = auto()
    #: It answers nobody.
    AWAY = auto()
    #: It answers its probe and fails each request.
    FAILS = auto()
    #: It fails each request, was away at each probe and answers at once.
    FLAPS = auto()


class NotKept(Exception):
    """The archive says that it has stored, and has not."""


@dataclass(frozen=True)
class File:
    """What a fake DICOM file says."""

    uid: str
    #: Number of the run that computed it.
    author: int
    voxels: int

    def __bytes__(self) -> bytes:
        """As it is stored."""
        return f"{self.uid} {self.author} {self.voxels}".encode()

    @classmethod
    def read(cls, dicom: bytes) -> File:
        """The other way."""
        uid, author, voxels = dicom.decode().split()
        return cls(uid, int(author), int(voxels))


@dataclass
class SharedArchive(MemoryArchive):
    """One run's way to the archive: `objects` and `ids` are the same for all."""

    uid_of: Callable[[bytes], object] = lambda dicom: File.read(dicom).uid

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile, *, check_stop: Callable[[], None]
    ) -> list[tuple[int, int]]:
        files = super().download_series(study_uid, series_uid, into, check_stop=check_stop)
        check_stop()
        return files

    def study_of(
        self, series_id: str, series_uid: str, study_uid: str, *, check_stop: Callable[[], None]
    ) -> str | None:
        self.step("check")
        check_stop()
        return super().study_of(series_id, series_uid, study_uid, check_stop=check_stop)

    def find_instance(
        self, sop_instance_uid: str, study_id: str, *, check_stop: Callable[[], None]
    ) -> str | None:
        found = super().find_instance(sop_instance_uid, study_id, check_stop=check_stop)
        if found is not None:
            self.step("found")
        check_stop()
        return found

    def fetch_instance(
        self, instance_id: str, *, as_stored: bool = False, check_stop: Callable[[], None]
    ) -> bytes:
        try:
            stored = super().fetch_instance(instance_id, check_stop=check_stop)
        except KeyError:
            raise ArchiveUnavailable("HTTP 404") from None
        check_stop()
        return stored

    def store(self, dicom: bytes, *, study_id: str, check_stop: Callable[[], None]) -> str:
        try:
            key = super().store(dicom, study_id=study_id, check_stop=check_stop)
        except NotKept:
            return _NOBODY
        # What is stored may be lost again on the way of the answer.
        self.step("stored")
        check_stop()
        return key


@dataclass
class RunWorkbench(ScriptedWorkbench):
    """Finds so many voxels; measures what is stored, whoever computed it."""

    author: int = 0
    voxels: int = 0
    #: Of the run, once it has asked for something.
    stop_conditions: StopConditions | None = None

    def read(
        self, source: DownloadIndex, volumes_path: str, stop_conditions: StopConditions
    ) -> VolumeHeader:
        self.stop_conditions = stop_conditions
        header = super().read(source, volumes_path, stop_conditions)
        stop_conditions.check()
        return header

    def segment(self, job: SegmentationJob, stop_conditions: StopConditions) -> None:
        super().segment(job, stop_conditions)
        stop_conditions.check()

    def package(
        self,
        source: DownloadIndex,
        mask_path: str,
        shape: tuple[int, int, int],
        spec: ResultSpec,
        stop_conditions: StopConditions,
    ) -> PackagedPrimary:
        super().package(source, mask_path, shape, spec, stop_conditions)
        uid = spec.primary_instance_uid
        file = bytes(File(uid, self.author, self.voxels))
        return PackagedPrimary("seg" if self.voxels else "sr", uid, spec.primary_series_uid, file)

    def measure(
        self,
        stored: bytes,
        source: DownloadIndex,
        spec: ResultSpec,
        volumes: Volumes | None,
        stop_conditions: StopConditions,
    ) -> Measured:
        self.stop_conditions = stop_conditions
        super().measure(stored, source, spec, volumes, stop_conditions)
        file = File.read(stored)
        figures = Figures(file.voxels > 0, file.voxels, file.voxels / 1000, 1.0, 2, 1)
        report = File(spec.report_instance_uid, file.author, file.voxels)
        made_by = StoredModel("held", f"0.0.{file.author}", "c" * 64)
        return Measured(figures, made_by, bytes(report) if file.voxels else None)


@dataclass
class RunWatch(NeverAway):
    """Waits as the real one does, in as many steps as a schedule likes."""

    step: Callable[[str], None] = lambda _: None
    mood: Callable[[], Mood] = lambda: Mood.WELL
    stop_conditions: StopConditions | None = None
    #: What it has said.
    answers: list[bool] = field(default_factory=list)

    def wait_if_away(self, stop_conditions: StopConditions) -> bool:
        self.stop_conditions = stop_conditions
        super().wait_if_away(stop_conditions)
        self.step("probe")
        was_away = self.mood() in {Mood.AWAY, Mood.FLAPS}
        while self.mood() is Mood.AWAY:
            stop_conditions.check()
            self.step("wait")
        self.answers.append(was_away)
        return was_away


@dataclass
class RunSender(RecordingSender):
    """The broker has a message between `tell` and `told`; confirmed it is after that.

    An end has names of its own, `tell end` and `told end`.
    """

    step: Callable[[str], None] = lambda _: None
    #: Every event of the run, hints too.
    events: list[RunEvent] = field(default_factory=list)
    confirmed: int = 0
    on_hint: Callable[[RunEvent], None] = lambda _: None

    def publish(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        message = codec.decode(wire.body, type_=wire.type)
        end = " end" if isinstance(message, ENDS) else ""
        self.step(f"tell{end}")
        super().publish(wire, exchange=exchange, routing_key=routing_key)
        if isinstance(message, RunEvent):
            self.events.append(message)
        self.step(f"told{end}")
        self.confirmed += 1

    def hint(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        self.step("hint")
        message = codec.decode(wire.body, type_=wire.type)
        assert isinstance(message, RunEvent)
        self.events.append(message)
        self.on_hint(message)
