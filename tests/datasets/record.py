"""What was said of each series, one line of JSON each: a run that was broken off goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class Record:
    """The lines of one set. They are of one commit: of another they are begun again."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self._path = path
        self.head = head
        lines = read(path)
        kept = lines[0] if lines else {}
        same = all(kept.get(key) == head[key] for key in ("commit", "source"))
        self.lines = lines[1:] if same else []
        if not same:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write([head])

    def has_study(self, place: str, copy: int, study: str) -> bool:
        """Whether a study was judged to its end."""
        wanted = (place, copy, study)
        return any(
            (line.get("place"), line.get("copy"), line.get("study")) == wanted
            for line in self.lines
            if line["kind"] == "study"
        )

    def keep(self, lines: Iterable[dict[str, Any]]) -> None:
        """Add the lines of a study, all or none."""
        added = list(lines)
        self.lines += added
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in added)

    def _write(self, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        self._path.write_text(text, encoding="utf-8")


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, head first; a line that was broken off is left out."""
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines
