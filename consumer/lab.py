"""What all jobs of a lab share, and what they need of archive and children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from consumer.announce import Announcer
from consumer.bundle import Bundle
from consumer.children.segmenter import SegmentationJob
from consumer.handover import DownloadIndex, Measured, PackagedPrimary, ResultSpec, VolumeHeader
from consumer.memory import MemoryFile


class ArchivePort(Protocol):
    """What a job needs of the archive; `consumer.orthanc.Archive` in the lab."""

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile
    ) -> list[tuple[int, int]]:
        """Append all files of a series to `into`: (offset, length) of each."""

    def find_instance(self, sop_instance_uid: str) -> str | None:
        """The archive's id of an instance, if it is stored."""

    def fetch_instance(self, instance_id: str) -> bytes:
        """The stored file."""

    def store(self, dicom: bytes) -> str:
        """Store, or find that the same UID is stored already; the archive's id either way."""


class WorkbenchPort(Protocol):
    """What a job needs of the children; `consumer.children.workbench.Workbench` in the lab."""

    def read(self, source: DownloadIndex, volumes_path: str) -> VolumeHeader:
        """Turn the files into volumes."""

    def segment(self, job: SegmentationJob) -> None:
        """Compute the mask."""

    def package(
        self, source: DownloadIndex, mask_path: str, shape: tuple[int, int, int], spec: ResultSpec
    ) -> PackagedPrimary:
        """Turn the mask into the primary object."""

    def measure(self, stored: bytes, source: DownloadIndex, spec: ResultSpec) -> Measured:
        """Figures, model and report of the primary as it is stored."""


@dataclass(frozen=True)
class Lab:
    """One lab, put together by `consumer.bootstrap`."""

    name: str
    device: str
    #: Probability from which a voxel counts, where the request names none.
    threshold: float
    bundles: Mapping[str, Bundle]
    archive: ArchivePort
    workbench: WorkbenchPort
    announcer: Announcer
