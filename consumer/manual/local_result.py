"""A result that stays here: kept in memory instead of stored, and written as files.

The files hold patient data, so only their owner may read them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from consumer.jobs.lab import ArchivePort
from consumer.manual.options import CannotInfer
from consumer.memory import MemoryFile


@dataclass
class ReadOnlyArchive:
    """Reads from the archive and keeps what would be stored there."""

    archive: ArchivePort
    _objects: dict[str, bytes] = field(default_factory=dict)

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile, *, check_stop: Callable[[], None]
    ) -> list[tuple[int, int]]:
        """See `Archive.download_series`."""
        return self.archive.download_series(study_uid, series_uid, into, check_stop=check_stop)

    def study_of(
        self, series_id: str, series_uid: str, study_uid: str, *, check_stop: Callable[[], None]
    ) -> str | None:
        """See `Archive.study_of`."""
        return self.archive.study_of(series_id, series_uid, study_uid, check_stop=check_stop)

    def find_instance(
        self, _sop_instance_uid: str, _study_id: str, *, check_stop: Callable[[], None]
    ) -> str | None:
        """Nothing: the request is new."""
        check_stop()
        return None

    def fetch_instance(
        self,
        instance_id: str,
        *,
        as_stored: bool = False,  # noqa: ARG002 - it is as it was made
        check_stop: Callable[[], None],
    ) -> bytes:
        """What was kept under it."""
        check_stop()
        return self._objects[instance_id]

    def store(self, dicom: bytes, *, study_id: str, check_stop: Callable[[], None]) -> str:  # noqa: ARG002
        """Keep it, under an id that has the form of Orthanc's; it lies in no study."""
        check_stop()
        digits = hashlib.sha256(dicom).hexdigest()
        key = "-".join(digits[place : place + 8] for place in range(0, 40, 8))
        self._objects[key] = dicom
        return key


def prepare_folder(folder: Path) -> None:
    """Make the folder if need be, before hours are spent; raises `CannotInfer`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise _unusable(folder, exc) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotInfer(f"{folder} cannot be written")


def write_files(folder: Path, request_id: UUID, objects: dict[str, bytes]) -> dict[str, str]:
    """Write the Part 10 files; returns their paths by kind. Raises `CannotInfer`."""
    try:
        return {kind: _write(folder, request_id, kind, data) for kind, data in objects.items()}
    except OSError as exc:
        raise _unusable(folder, exc) from None


def _write(folder: Path, request_id: UUID, kind: str, content: bytes) -> str:
    path = folder / f"{request_id}-{kind}.dcm"
    path.touch(mode=0o600)
    path.write_bytes(content)
    return str(path)


def _unusable(folder: Path, error: OSError) -> CannotInfer:
    return CannotInfer(f"{folder} cannot be written: {error.strerror or 'no reason is known'}")
