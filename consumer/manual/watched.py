"""A run that is watched: what it tells the broker elsewhere goes to the terminal here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from consumer.jobs.lab import ArchivePort
from consumer.jobs.run import Held, Run
from consumer.manual.show import Show
from consumer.memory import MemoryFile
from consumer.stop_conditions import Halt
from messages import codec
from messages.envelope import Wire
from messages.events import InferenceProgressed, Stage
from messages.request import InferenceRequested


@dataclass(frozen=True)
class Once:
    """Nobody delivered it, so it is nobody's second delivery; Ctrl-C cancels it."""

    cancelled: Event
    count: int = 0

    def hear_cancels(self) -> None:
        """There is no broker to hear."""


@dataclass(frozen=True)
class Told:
    """Takes what a lab would send to the broker."""

    show: Show

    def publish(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        """Hear it: an outcome is told by what the command returns."""

    def hint(self, wire: Wire, *, exchange: str, routing_key: str) -> None:  # noqa: ARG002
        """Show how many images are there. The other stages have parts that say more."""
        event = codec.decode(wire.body, type_=wire.type)
        if isinstance(event, InferenceProgressed) and event.stage is Stage.DOWNLOADING:
            self.show.count("download", event.done, event.total)


@dataclass(frozen=True)
class WatchedArchive:
    """An archive whose downloads are shown while they come."""

    archive: ArchivePort
    show: Show

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile, *, look: Callable[[], None]
    ) -> list[tuple[int, int]]:
        """See `ArchivePort`."""

        def look_and_show() -> None:
            look()
            self.show.size("download", into.size)

        return self.archive.download_series(study_uid, series_uid, into, look=look_and_show)

    def study_of(
        self, series_id: str, series_uid: str, study_uid: str, *, look: Callable[[], None]
    ) -> str | None:
        """See `ArchivePort`."""
        return self.archive.study_of(series_id, series_uid, study_uid, look=look)

    def find_instance(
        self, sop_instance_uid: str, study_id: str, *, look: Callable[[], None]
    ) -> str | None:
        """See `ArchivePort`."""
        return self.archive.find_instance(sop_instance_uid, study_id, look=look)

    def fetch_instance(
        self, instance_id: str, *, as_stored: bool = False, look: Callable[[], None]
    ) -> bytes:
        """See `ArchivePort`."""
        return self.archive.fetch_instance(instance_id, as_stored=as_stored, look=look)

    def store(self, dicom: bytes, *, study_id: str, look: Callable[[], None]) -> str:
        """See `ArchivePort`."""
        return self.archive.store(dicom, study_id=study_id, look=look)


class WatchedRun(Run):
    """Shows its parts as they begin and end."""

    def __init__(
        self, request: InferenceRequested, *, held: Held, lab: str, halt: Halt, show: Show
    ) -> None:
        super().__init__(request, held=held, lab=lab, halt=halt)
        self._show = show

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """See `Run.timed`."""
        with super().timed(part):
            self._show.begin(part)
            yield
            self._show.end(part)
