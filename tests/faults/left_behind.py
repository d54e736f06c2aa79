"""What a fault has left behind: processes that are nobody's, files that do not belong."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from infra.local.process import Service
from tests.faults.processes import strangers

#: Seconds that what was killed may take to end: children notice it by signal or a closed pipe.
SECONDS = 10.0

#: What a lab keeps in its RUN_DIR: its lock, a file that stays (`consumer.liveness.presence`).
_PRESENCE = "mri-consumer-"

#: Seconds between two looks.
_LOOK = 0.25


def left_behind(root: Path, services: Iterable[Service], seconds: float = SECONDS) -> list[str]:
    """A sentence for each process and file that is there still after so many seconds.

    `root` is the world's directory, `services` those of its processes that are to live.
    """
    services = list(services)
    latest = time.monotonic() + seconds
    while (found := _look(root, services)) and time.monotonic() < latest:
        time.sleep(_LOOK)
    return found


def _look(root: Path, services: list[Service]) -> list[str]:
    processes = [f"process {one.pid} is left: {one.command}" for one in strangers(root, services)]
    files = [*_in(root / "tmp"), *(f for d in _in(root / "var" / "run") for f in _in(d))]
    return processes + [
        f"file {file.relative_to(root)} is left"
        for file in files
        if file.parent.parent != root / "var" / "run" or not file.name.startswith(_PRESENCE)
    ]


def _in(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []
