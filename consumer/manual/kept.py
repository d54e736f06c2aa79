"""An archive that is read and not written: what would be stored is kept in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from consumer.lab import ArchivePort
from consumer.memory import MemoryFile


@dataclass
class Kept:
    """Reads from the archive and keeps what would be stored there."""

    archive: ArchivePort
    _objects: dict[str, bytes] = field(default_factory=dict)

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile, *, look: Callable[[], None]
    ) -> list[tuple[int, int]]:
        """See `Archive.download_series`."""
        return self.archive.download_series(study_uid, series_uid, into, look=look)

    def has_series(self, series_uid: str, *, look: Callable[[], None]) -> bool:
        """See `Archive.has_series`."""
        return self.archive.has_series(series_uid, look=look)

    def find_instance(self, _sop_instance_uid: str, *, look: Callable[[], None]) -> str | None:
        """Nothing: the request is new."""
        look()
        return None

    def fetch_instance(self, instance_id: str, *, look: Callable[[], None]) -> bytes:
        """What was kept under it."""
        look()
        return self._objects[instance_id]

    def store(self, dicom: bytes, *, look: Callable[[], None]) -> str:
        """Keep it, under an id that has the form of Orthanc's."""
        look()
        digits = hashlib.sha256(dicom).hexdigest()
        key = "-".join(digits[place : place + 8] for place in range(0, 40, 8))
        self._objects[key] = dicom
        return key
