"""Processes as the kernel lists them: stopped, gone on with, and those that belong to nobody."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.local.process import Service

#: Characters of a command line that are shown.
_SHOWN = 160


@dataclass(frozen=True)
class Process:
    """One process, by ids."""

    pid: int
    parent: int
    session: int

    @property
    def command(self) -> str:
        """Its command line, the beginning of it; empty once it has ended."""
        try:
            line = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return ""
        return line.replace(b"\0", b" ").decode(errors="replace").strip()[:_SHOWN]


def everyone() -> dict[int, Process]:
    """All processes of the machine that we may see, by id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            # proc(5): after the name in parentheses come state, parent, group and session.
            cells = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            found[int(entry.name)] = Process(int(entry.name), int(cells[1]), int(cells[3]))
    return found


def pause(service: Service) -> None:
    """SIGSTOP the process, its session and what comes of it: a lab's children have their own."""
    for one in _family(service):
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGSTOP)


def resume(service: Service) -> None:
    """SIGCONT the same."""
    for one in _family(service):
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGCONT)


def strangers(root: Path, services: Iterable[Service]) -> list[Process]:
    """Processes of the world under `root` that no living one of its services accounts for.

    All that its services start inherit an environment that names `root`, also those that make a
    session of their own, as Erlang's helpers do. So nobody has to remember who was killed when:
    what is of this world and neither in a living service's session nor its descendant was left.
    """
    mark = f"{root.resolve()}/".encode()
    # A service leads its session: their ids are one.
    living = {service.pid for service in services if service.alive}
    all_ = everyone()
    return [
        one
        for one in all_.values()
        if one.pid != os.getpid() and mark in _environment(one) and not _of(living, one, all_)
    ]


def _family(service: Service) -> list[Process]:
    all_ = everyone()
    return [one for one in all_.values() if _of({service.pid}, one, all_)]


def _environment(process: Process) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/environ").read_bytes()
    return b""


def _of(living: set[int | None], process: Process, all_: dict[int, Process]) -> bool:
    one: Process | None = process
    while one is not None:
        if one.session in living:
            return True
        one = all_.get(one.parent)
    return False
