"""A job on recording fakes: what the broker hears, and a hook at every step of the analysis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Event
from uuid import uuid4

import numpy as np

from consumer.bundle import Bundle, read_bundle
from consumer.children.segmenter import SegmentationJob
from consumer.jobs.announcer import Announcer
from consumer.jobs.job import Job
from consumer.jobs.lab import ArchiveWatchPort, Lab
from consumer.memory import MemoryFile
from consumer.payloads import (
    DownloadIndex,
    Figures,
    Grid,
    Measured,
    PackagedPrimary,
    ResultSpec,
    SliceIndex,
    StoredModel,
    VolumeHeader,
    Volumes,
)
from consumer.stop_conditions import StopConditions
from messages import codec
from messages.envelope import Message, Wire
from messages.request import InferenceRequested, InputSeries

HELD = Path(__file__).parents[1] / "bundles" / "held"
ROLES = ("pre", "post1", "post2", "last")
ORTHANC_ID = "01234567-89abcdef-01234567-89abcdef-0123456{}"

#: Two slices in two files.
INDEX = SliceIndex(
    Grid(np.zeros((2, 3)), np.zeros(6), (1.0, 1.0, 1.0), 3, 3, "1.2.9"), ((1, None), (2, None))
)

#: The steps of a run before its first upload, and those from there on.
BEFORE_UPLOAD = ("download", "find", "read", "segment", "package")
FROM_UPLOAD = ("store", "fetch", "measure")


@dataclass
class RecordingSender:
    sent: list[tuple[str, str, Message]] = field(default_factory=list)
    #: What happens before the broker has confirmed.
    on_sent: Callable[[Message], None] = lambda _: None

    def publish(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        message = codec.decode(wire.body, type_=wire.type)
        self.sent.append((exchange, routing_key, message))
        self.on_sent(message)

    def hint(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        codec.decode(wire.body, type_=wire.type)


@dataclass
class MemoryArchive:
    """Keeps the first object under a UID, as the real one does."""

    step: Callable[[str], None]
    #: By the archive's id.
    objects: dict[str, bytes] = field(default_factory=dict)
    #: The archive's ids by UID.
    ids: dict[object, str] = field(default_factory=dict)
    #: The UID of a file. Each is its own where nobody says which share one.
    uid_of: Callable[[bytes], object] = lambda dicom: dicom
    #: The archive's id of the study that everything lies in.
    study_id: str = ORTHANC_ID.format(7)
    #: UIDs of series that were deleted after their download.
    deleted: set[str] = field(default_factory=set)
    #: The archive's id of an instance that another run has stored.
    primary_id: str | None = None

    def holds(self, primary: bytes) -> None:
        self.primary_id = self._keep(primary)

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile, *, check_stop: Callable[[], None]
    ) -> list[tuple[int, int]]:
        self.step("download")
        into.write(b"DICM")
        return [(0, 4)]

    def study_of(
        self, series_id: str, series_uid: str, study_uid: str, *, check_stop: Callable[[], None]
    ) -> str | None:
        return None if series_uid in self.deleted else self.study_id

    def find_instance(
        self, sop_instance_uid: str, study_id: str, *, check_stop: Callable[[], None]
    ) -> str | None:
        assert study_id == self.study_id
        self.step("find")
        return self.primary_id or self.ids.get(sop_instance_uid)

    def fetch_instance(
        self, instance_id: str, *, as_stored: bool = False, check_stop: Callable[[], None]
    ) -> bytes:
        self.step("fetch")
        return self.objects[instance_id]

    def store(self, dicom: bytes, *, study_id: str, check_stop: Callable[[], None]) -> str:
        assert study_id == self.study_id
        self.step("store")
        return self._keep(dicom)

    def _keep(self, dicom: bytes) -> str:
        key = self.ids.setdefault(self.uid_of(dicom), ORTHANC_ID.format(len(self.ids)))
        self.objects.setdefault(key, dicom)
        return key


@dataclass
class ScriptedWorkbench:
    step: Callable[[str], None]
    calls: list[str] = field(default_factory=list)
    #: Spec and voxels of which report and pictures would be made.
    measured_from: tuple[ResultSpec, Volumes | None] | None = None

    def read(
        self, source: DownloadIndex, volumes_path: str, stop_conditions: StopConditions
    ) -> VolumeHeader:
        self.calls.append("read")
        self.step("read")
        return VolumeHeader(
            ROLES, (4, 2, 3, 3), ((1.0,) * 4,) * 4, (1, 1, 1), ((),) * 4, (None,) * 4, (INDEX,) * 4
        )

    def segment(self, job: SegmentationJob, stop_conditions: StopConditions) -> None:
        self.calls.append(f"segment at {job.threshold}")
        self.step("segment")

    def package(
        self,
        source: DownloadIndex,
        mask_path: str,
        shape: tuple[int, int, int],
        spec: ResultSpec,
        stop_conditions: StopConditions,
    ) -> PackagedPrimary:
        self.calls.append("package")
        self.step("package")
        return PackagedPrimary("seg", spec.primary_instance_uid, spec.primary_series_uid, b"SEG")

    def measure(
        self,
        stored: bytes,
        source: DownloadIndex,
        spec: ResultSpec,
        volumes: Volumes | None,
        stop_conditions: StopConditions,
    ) -> Measured:
        self.calls.append(f"measure {stored!r}")
        self.measured_from = (spec, volumes)
        self.step("measure")
        made_by = StoredModel("held", "0.0.2 of another lab", "c" * 64)
        pictures = tuple(f"SC {uid}".encode() for uid in spec.key_instance_uids)
        return Measured(Figures(True, 5, 0.1, 4.0, 2, 1), made_by, b"SR", pictures)


@dataclass
class NeverAway:
    """An archive that answers each probe."""

    away: bool = False
    asked: int = 0

    def wait_if_away(self, stop_conditions: StopConditions) -> bool:
        self.asked += 1
        return False


@dataclass
class Once:
    """In hand under the first delivery, until a test says otherwise."""

    count: int = 0
    cancelled: Event = field(default_factory=Event)
    #: What the broker still had for this lab, heard with `sync_cancels`.
    unheard: Callable[[], None] = lambda: None

    def sync_cancels(self) -> None:
        self.unheard()


@dataclass
class Bench:
    """Calls `hook` with the name of each step, and raises there what `fails` says."""

    lab: str = "lab1"
    sender: RecordingSender = field(default_factory=RecordingSender)
    watch: ArchiveWatchPort = field(default_factory=NeverAway)
    steps: list[str] = field(default_factory=list)
    hook: Callable[[str], None] = lambda _: None
    fails: dict[str, Exception] = field(default_factory=dict)
    archive: MemoryArchive = field(init=False)
    workbench: ScriptedWorkbench = field(init=False)
    stopping: Event = field(default_factory=Event)
    max_series_instances: int = 20_000
    max_request_bytes: int = 8 * 1024**3
    key_slices: int = 0

    def __post_init__(self) -> None:
        self.archive = MemoryArchive(self._step)
        self.workbench = ScriptedWorkbench(self._step)

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self.hook(name)
        if name in self.fails:
            raise self.fails[name]

    def job(self) -> Job:
        lab = Lab(
            name=self.lab,
            device="cpu",
            threshold=0.5,
            bundles={"held": _bundle()},
            archive=self.archive,
            archive_watch=self.watch,
            workbench=self.workbench,
            announcer=Announcer(self.sender, user=self.lab, pool="lab"),
            stopping=self.stopping,
            max_series_instances=self.max_series_instances,
            max_request_bytes=self.max_request_bytes,
            key_slices=self.key_slices,
        )
        return Job(lab)

    @property
    def told(self) -> list[type[Message]]:
        """Kinds of what was sent and confirmed, in order."""
        return [type(message) for _, _, message in self.sender.sent]

    @property
    def last(self) -> Message:
        return self.sender.sent[-1][2]


@cache
def _bundle() -> Bundle:
    return read_bundle(HELD)


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
