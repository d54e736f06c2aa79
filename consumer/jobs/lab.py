"""What all jobs of a lab share, and what they need of archive and children."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from consumer.bundle import Bundle
from consumer.children.segmenter import SegmentationJob
from consumer.jobs.announcer import Announcer
from consumer.memory import MemoryFile
from consumer.payloads import (
    DownloadIndex,
    Measured,
    PackagedPrimary,
    ResultSpec,
    VolumeHeader,
    Volumes,
)
from consumer.stop_conditions import StopConditions


class ArchivePort(Protocol):
    """What a job needs of the archive; `consumer.orthanc.Archive` in the lab.

    Each calls `check_stop` several times a second while it waits, and ends with what that raises.
    """

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile, *, check_stop: Callable[[], None]
    ) -> list[tuple[int, int]]:
        """Append all files of a series to `into`: (offset, length) of each."""

    def study_of(
        self, series_id: str, series_uid: str, study_uid: str, *, check_stop: Callable[[], None]
    ) -> str | None:
        """The archive's id of the study that holds the series now; None where none does."""

    def find_instance(
        self, sop_instance_uid: str, study_id: str, *, check_stop: Callable[[], None]
    ) -> str | None:
        """The archive's id of an instance, if it is stored in this study of the archive."""

    def fetch_instance(
        self, instance_id: str, *, as_stored: bool = False, check_stop: Callable[[], None]
    ) -> bytes:
        """The object as an uncompressed file, or in the encoding that the archive keeps it in."""

    def store(self, dicom: bytes, *, study_id: str, check_stop: Callable[[], None]) -> str:
        """Store, or find that the same UID is stored already; the archive's id either way.

        Raises `ResultMisfiled` where that lies in another study of the archive than `study_id`.
        """


class ArchiveWatchPort(Protocol):
    """What a job needs when the archive fails; `ArchiveWatch` in the lab."""

    @property
    def away(self) -> bool:
        """Whether the archive did not answer its last probe."""

    def wait_if_away(self, stop_conditions: StopConditions) -> bool:
        """True once an archive that was away answers again; False when it was not away."""


class WorkbenchPort(Protocol):
    """What a job needs of the children; `consumer.children.workbench.Workbench` in the lab.

    Each call ends with what `stop_conditions` raises, and the child that worked for it with it.
    """

    def read(
        self, source: DownloadIndex, volumes_path: str, stop_conditions: StopConditions
    ) -> VolumeHeader:
        """Turn the files into volumes."""

    def segment(self, job: SegmentationJob, stop_conditions: StopConditions) -> None:
        """Compute the mask."""

    def package(
        self,
        source: DownloadIndex,
        mask_path: str,
        shape: tuple[int, int, int],
        spec: ResultSpec,
        stop_conditions: StopConditions,
    ) -> PackagedPrimary:
        """Turn the mask into the primary object."""

    def measure(
        self,
        stored: bytes,
        source: DownloadIndex,
        spec: ResultSpec,
        volumes: Volumes | None,
        stop_conditions: StopConditions,
    ) -> Measured:
        """Figures, model, report and key slices of the primary as it is stored.

        `volumes` is what this run has read, if it has read anything.
        """


@dataclass(frozen=True)
class Lab:
    """One lab, put together by `consumer.bootstrap`."""

    name: str
    device: str
    #: Probability from which a voxel counts, where the request names none.
    threshold: float
    bundles: Mapping[str, Bundle]
    archive: ArchivePort
    archive_watch: ArchiveWatchPort
    workbench: WorkbenchPort
    announcer: Announcer
    #: Instances of the largest series that is downloaded.
    max_series_instances: int = 20_000
    #: Bytes of all series of a request together.
    max_request_bytes: int = 8 * 1024**3
    #: mm^3: a connected mark below this is left out of the SEG. 0 keeps all.
    min_lesion_mm3: float = 10.0
    #: Pictures with the outline burnt in for each result; 0 makes none.
    key_slices: int = 0
    #: Set once the lab has to stop or to drain.
    ending: Event = field(default_factory=Event)
    #: Set once the jobs that still run must end: their grace is over.
    stopping: Event = field(default_factory=Event)
