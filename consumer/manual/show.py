"""What the engineer sees of a run under way, on standard error."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

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


class Show(Protocol):
    """Is told of the parts of a run, one after the other."""

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


def show_on(console: Console, words: dict[str, str]) -> AbstractContextManager[Show]:
    """A bar on a terminal; plain lines elsewhere, and on a terminal that cannot move its cursor."""
    moves = console.is_terminal and not console.is_dumb_terminal
    return Bar(console, words) if moves else Lines(console, words)


@dataclass
class Lines:
    """One line for each part and each count: for a file, a pipe, a journal."""

    console: Console
    words: dict[str, str]
    _begun: set[str] = field(default_factory=set)

    def begin(self, part: str) -> None:
        """See `Show`."""
        if part not in self._begun:
            self._begun.add(part)
            self.say(self.words[part])

    def count(self, part: str, done: int, total: int) -> None:
        """See `Show`."""
        self._begun.add(part)
        self.say(f"{self.words[part]} {done} of {total} instances")

    def size(self, part: str, count: int) -> None:
        """See `Show`; that would be too many lines."""

    def end(self, part: str) -> None:
        """See `Show`; the next line says it."""

    def say(self, line: str) -> None:
        """See `Show`."""
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


class Bar:
    """A bar for each part: moving where it is counted, pulsing where nobody knows how long."""

    def __init__(self, console: Console, words: dict[str, str]) -> None:
        self._words = words
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]\N{CHECK MARK}"),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}{task.fields[size]}"),
            TimeElapsedColumn(),
            console=console,
        )

    def begin(self, part: str) -> None:
        """See `Show`."""
        if part not in self._tasks:
            self._tasks[part] = self._progress.add_task(
                self._words[part], total=None, told="", size=""
            )

    def count(self, part: str, done: int, total: int) -> None:
        """See `Show`."""
        self.begin(part)
        # Not yet full: the part ends when the run says so.
        self._progress.update(
            self._tasks[part], completed=done, total=total + 1, told=f"{done} of {total} instances"
        )

    def size(self, part: str, count: int) -> None:
        """See `Show`."""
        self.begin(part)
        self._progress.update(self._tasks[part], size=f", {count / 1e6:.0f} MB")

    def end(self, part: str) -> None:
        """See `Show`."""
        self._progress.update(self._tasks[part], completed=1, total=1, size="")

    def say(self, line: str) -> None:
        """See `Show`."""
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
