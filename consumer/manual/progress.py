"""What the engineer sees of a run under way: what a lab publishes goes to the terminal here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Event
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from consumer.jobs.lab import ArchivePort
from consumer.jobs.run import DeliveredRequest, Run
from consumer.memory import MemoryFile
from consumer.stop_conditions import StopConditions
from messages import codec
from messages.envelope import Wire
from messages.events import InferenceProgressed, Stage
from messages.request import InferenceRequested

#: What a part of a run is called; the parts are those of ``stage_seconds``, and two before them.
WORDS = {
    "look": "looking at the series",
    "load": "loading the model",
    "download": "downloading",
    "read": "reading",
    "infer": "inferring",
    "package": "packaging",
    "upload": "uploading",
    "verify": "verifying",
    "report": "uploading the report",
    "key_slices": "uploading the key slices",
}

#: The same for a run whose result is not stored in the archive.
KEPT_WORDS = WORDS | {
    "upload": "keeping the result",
    "report": "keeping the report",
    "key_slices": "keeping the key slices",
}


class ProgressDisplay(Protocol):
    """Shows the parts of a run, one after the other."""

    def begin(self, part: str) -> None:
        """A part begins, if it has not yet."""

    def count(self, part: str, done: int, total: int) -> None:
        """So many instances of a part are done; it begins with that if it has not yet."""

    def size(self, part: str, count: int) -> None:
        """So many bytes of the series that is under way are there."""

    def end(self, part: str) -> None:
        """It has ended well."""

    def say(self, line: str) -> None:
        """Say one line in between."""


def display_on(console: Console, words: dict[str, str]) -> AbstractContextManager[ProgressDisplay]:
    """A bar on a terminal; plain lines elsewhere, and on a terminal that cannot move its cursor."""
    moves = console.is_terminal and not console.is_dumb_terminal
    return ProgressBars(console, words) if moves else ProgressLines(console, words)


@dataclass
class ProgressLines:
    """One line for each part and each count: for a file, a pipe, a journal."""

    console: Console
    words: dict[str, str]
    _begun: set[str] = field(default_factory=set)

    def begin(self, part: str) -> None:
        """See `ProgressDisplay`."""
        if part not in self._begun:
            self._begun.add(part)
            self.say(self.words[part])

    def count(self, part: str, done: int, total: int) -> None:
        """See `ProgressDisplay`."""
        self._begun.add(part)
        self.say(f"{self.words[part]} {done} of {total} instances")

    def size(self, part: str, count: int) -> None:
        """See `ProgressDisplay`; that would be too many lines."""

    def end(self, part: str) -> None:
        """See `ProgressDisplay`; the next line says it."""

    def say(self, line: str) -> None:
        """See `ProgressDisplay`."""
        self.console.print(Text(line), soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to put away."""


class ProgressBars:
    """A bar for each part: moving where it is counted, pulsing where nobody knows how long."""

    def __init__(self, console: Console, words: dict[str, str]) -> None:
        self._words = words
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]\N{CHECK MARK}"),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done_text]}{task.fields[size]}"),
            TimeElapsedColumn(),
            console=console,
        )

    def begin(self, part: str) -> None:
        """See `ProgressDisplay`."""
        if part not in self._tasks:
            self._tasks[part] = self._progress.add_task(
                self._words[part], total=None, done_text="", size=""
            )

    def count(self, part: str, done: int, total: int) -> None:
        """See `ProgressDisplay`."""
        self.begin(part)
        # Not yet full: the part ends when the run says so.
        self._progress.update(
            self._tasks[part],
            completed=done,
            total=total + 1,
            done_text=f"{done} of {total} instances",
        )

    def size(self, part: str, count: int) -> None:
        """See `ProgressDisplay`."""
        self.begin(part)
        self._progress.update(self._tasks[part], size=f", {count / 1e6:.0f} MB")

    def end(self, part: str) -> None:
        """See `ProgressDisplay`."""
        self._progress.update(self._tasks[part], completed=1, total=1, size="")

    def say(self, line: str) -> None:
        """See `ProgressDisplay`."""
        self._progress.console.print(Text(line), soft_wrap=True)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


@dataclass(frozen=True)
class UndeliveredRequest:
    """Nobody delivered it, so it is nobody's second delivery; Ctrl-C cancels it."""

    cancelled: Event
    count: int = 0

    def sync_cancels(self) -> None:
        """There is no broker that could have any."""


@dataclass(frozen=True)
class TerminalPublisher:
    """Takes what a lab would send to the broker."""

    display: ProgressDisplay

    def publish(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        """Ignore it: the command returns the outcome itself."""

    def hint(self, wire: Wire, *, exchange: str, routing_key: str) -> None:  # noqa: ARG002
        """Show how many images are there. The other stages have parts that say more."""
        event = codec.decode(wire.body, type_=wire.type)
        if isinstance(event, InferenceProgressed) and event.stage is Stage.DOWNLOADING:
            self.display.count("download", event.done, event.total)


@dataclass(frozen=True)
class ArchiveWithProgress:
    """An archive whose downloads are shown while they come."""

    archive: ArchivePort
    display: ProgressDisplay

    def download_series(
        self, study_uid: str, series_uid: str, into: MemoryFile, *, check_stop: Callable[[], None]
    ) -> list[tuple[int, int]]:
        """See `ArchivePort`."""

        def check_and_show() -> None:
            check_stop()
            self.display.size("download", into.size)

        return self.archive.download_series(study_uid, series_uid, into, check_stop=check_and_show)

    def study_of(
        self, series_id: str, series_uid: str, study_uid: str, *, check_stop: Callable[[], None]
    ) -> str | None:
        """See `ArchivePort`."""
        return self.archive.study_of(series_id, series_uid, study_uid, check_stop=check_stop)

    def find_instance(
        self, sop_instance_uid: str, study_id: str, *, check_stop: Callable[[], None]
    ) -> str | None:
        """See `ArchivePort`."""
        return self.archive.find_instance(sop_instance_uid, study_id, check_stop=check_stop)

    def fetch_instance(
        self, instance_id: str, *, as_stored: bool = False, check_stop: Callable[[], None]
    ) -> bytes:
        """See `ArchivePort`."""
        return self.archive.fetch_instance(instance_id, as_stored=as_stored, check_stop=check_stop)

    def store(self, dicom: bytes, *, study_id: str, check_stop: Callable[[], None]) -> str:
        """See `ArchivePort`."""
        return self.archive.store(dicom, study_id=study_id, check_stop=check_stop)


class RunWithProgress(Run):
    """Shows its parts as they begin and end."""

    def __init__(
        self,
        request: InferenceRequested,
        *,
        delivered: DeliveredRequest,
        lab: str,
        stop_conditions: StopConditions,
        display: ProgressDisplay,
    ) -> None:
        super().__init__(request, delivered=delivered, lab=lab, stop_conditions=stop_conditions)
        self._display = display

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """See `Run.timed`."""
        with super().timed(part):
            self._display.begin(part)
            yield
            self._display.end(part)
