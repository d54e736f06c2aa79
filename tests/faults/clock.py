"""The clock of one process, by libfaketime: the machine's own is nobody's to step."""

from __future__ import annotations

from pathlib import Path

from infra.local.process import ServiceFailed

#: Debian's package faketime; the name of the directory is the machine's.
LIBRARIES = Path("/usr/lib")


class Clock:
    """A wall clock that a test sets; what counts from a start (monotonic) goes on as it was."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.step_to(0)

    @property
    def settings(self) -> dict[str, str]:
        """The environment of a process that lives by this clock."""
        found = sorted(LIBRARIES.glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            raise ServiceFailed("no libfaketime: install Debian's faketime")
        return {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            # Read at each call: a step is seen at once.
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            # Of files: what lies on the disk is as old as it is.
            "NO_FAKE_STAT": "1",
        }

    def step_to(self, seconds: int) -> None:
        """So many seconds ahead of the machine from now on."""
        # One write: a reader in between would see half of it.
        part = self._file.with_suffix(".part")
        part.write_text(f"{seconds:+d}\n")
        part.replace(self._file)
