"""The processes of one lab, found by a word that all of them carry."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4


class Mark:
    """Put `environment` into a lab's environment, and find its processes by it.

    A lab's children get little of its environment, and nobody but root may read it in a process
    that keeps its memory private; where modules are looked for stands in their command lines.
    """

    def __init__(self) -> None:
        self._word = f"labrelay-test-{uuid4().hex}"

    @property
    def environment(self) -> dict[str, str]:
        """What makes the processes known."""
        return {"PYTHONPATH": f"/nowhere/{self._word}"}

    def processes(self) -> list[int]:
        """Every living one, the lab itself where its environment may be read."""
        word = self._word.encode()
        return [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdecimal() and int(entry.name) != os.getpid() and _carries(entry, word)
        ]


def _carries(process: Path, word: bytes) -> bool:
    for file in ("cmdline", "environ"):
        with suppress(OSError):
            if word in (process / file).read_bytes():
                return True
    return False
