"""A step of a set-up: a command that works for a while, seen to live. Standard library only."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterable, Sequence

from infra.local.private_files import private_directory
from infra.local.settings import REPOSITORY, VAR

#: What all steps print.
LOG = VAR / "log" / "setup.log"

#: Seconds between two signs of life of a long step.
HEARTBEAT_SECONDS = 15.0

#: How much of the log a failure shows.
TAIL_LINES = 20


class SetupError(Exception):
    """The set-up cannot go on; the text is one sentence that says what to do."""


class StepFailed(SetupError):
    """A step's command failed; `output` is what it printed."""

    def __init__(self, sentence: str, output: str) -> None:
        super().__init__(sentence)
        self.output = output


def run_step(title: str, command: Sequence[str], *, remedy: str, tail: int = TAIL_LINES) -> None:
    """Run one step: a line when it starts, one now and then while it works.

    On failure the last `tail` lines of its log, and `StepFailed`.
    """
    print(f"set-up: {title}", flush=True)
    private_directory(VAR)
    private_directory(LOG.parent)
    began = time.monotonic()
    with LOG.open("ab") as log:
        log.write(f"\n== {title}\n".encode())
        log.flush()
        here = log.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=REPOSITORY
        )
        try:
            while not _ended(process):
                seconds = time.monotonic() - began
                print(f"set-up: ... still at it after {seconds:.0f} s", flush=True)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        output = LOG.read_bytes()[here:].decode(errors="replace")
        lines = output.splitlines()
        _show(lines[len(lines) - min(tail, len(lines)) :])
        shown = LOG.relative_to(REPOSITORY)
        raise StepFailed(f"{title} failed ({shown} holds the whole output); {remedy}", output)


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(HEARTBEAT_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True


def _show(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"  {line}", file=sys.stderr)
