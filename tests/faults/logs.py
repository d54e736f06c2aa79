"""What the processes' logs say: lines of JSON, to which each start of a process appends."""

from __future__ import annotations

from pathlib import Path
from weakref import WeakKeyDictionary

from infra.local.process import Service


class Log:
    """Counts lines; each is read once, however often is asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._lines: list[str] = []
        #: Lines looked through and found, by what was asked for.
        self._counted: dict[tuple[str, str], tuple[int, int]] = {}

    def count(self, event: str, about: str = "") -> int:
        """How many whole lines name the event, and what it is about."""
        self._read()
        begin, count = self._counted.get((event, about), (0, 0))
        name = f'"{event}"'
        count += sum(name in line and about in line for line in self._lines[begin:])
        self._counted[event, about] = (len(self._lines), count)
        return count

    def _read(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            # What has no end yet is being written.
            whole = file.read().rpartition(b"\n")[0]
        if whole:
            self._offset += len(whole) + 1
            self._lines += whole.decode("utf-8", errors="replace").split("\n")


#: A log belongs to its process for as long as somebody can ask for it.
_LOGS: WeakKeyDictionary[Service, Log] = WeakKeyDictionary()


def said(service: Service, event: str, about: str = "") -> int:
    """How many lines of the process's log name the event, and what it is about."""
    if service not in _LOGS:
        _LOGS[service] = Log(service.log)
    return _LOGS[service].count(event, about)
