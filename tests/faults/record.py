"""What the matrix has shown, in a file that is whole after each row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.faults.circumstances import circumstances, versions_of
from tests.faults.run import Shown
from tests.faults.world import World


class Record:
    """Everything that a run has shown so far; written down as it comes."""

    def __init__(self, path: Path | None, not_shown: list[tuple[str, str]]) -> None:
        """Without a `path` nothing is written. `not_shown`: faults of no row, and why."""
        self._path = path
        self._head = circumstances()
        self._not_shown = not_shown
        #: In the order of their end.
        self.shown: list[Shown] = []

    def met(self, world: World) -> None:
        """Note the versions of the world's servers."""
        self._head["versions"].update(versions_of(world))

    def keep(self, shown: Shown) -> None:
        """Add what a row has shown, and write all of it."""
        self.shown.append(shown)
        if self._path is not None:
            write_json(self._path, self.as_json())

    def as_json(self) -> dict[str, Any]:
        """The circumstances, each row, and what no row shows."""
        rows = [_row(one) for one in self.shown]
        return {**self._head, "rows": rows, "not_shown": self._not_shown}


def write_json(path: Path, value: object) -> None:
    """Write it whole or not at all: who reads meanwhile, or after a crash, has one of the two."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def _row(shown: Shown) -> dict[str, Any]:
    return {
        "row": shown.row.name,
        "fault": shown.row.fault,
        "injected": shown.row.injected,
        "held": shown.held,
        "faults": [str(fault) for fault in shown.faults],
        "measures": shown.row.measures,
        "recovery_s": shown.recovery,
        "goal_s": shown.row.goal,
        "took_s": round(shown.took, 1),
        "outcomes": list(shown.outcomes),
    }
