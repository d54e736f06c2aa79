"""What the kernel allows a child process: memory, files, and no image of it on any disk."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path

#: Files that the reader may hold open: its pipes, its libraries, and the memory of the series.
_OPEN_FILES = 256

#: Bytes of a core dump at which the kernel writes no file and starts no handler either; at 0 it
#: starts one all the same where ``core_pattern`` is a pipe (fs/coredump.c: a limit of 1 ends it).
_NO_CORE = 1


@dataclass(frozen=True)
class ReaderLimits:
    """What one reading may take, in bytes."""

    #: Memory of its own, beside the series, the volume and the libraries.
    memory_bytes: int = 8 * 1024**3
    #: The largest volume, and so the largest thing that the reader may make grow.
    volume_bytes: int = 4 * 1024**3


def no_core_dump() -> None:
    """Let a crash of this process, and of those it starts, leave no memory on a disk."""
    _lower(resource.RLIMIT_CORE, _NO_CORE)


def confine(limits: ReaderLimits) -> None:
    """Bind this process, the reader, for the rest of its life; its libraries are loaded.

    Over its memory it gets MemoryError, or what a decoder makes of that. No time of computation is
    set here: it would add up over all readings, and each has its own (`consumer.children.child`).
    """
    # The series and the volume are shared memory of the main process, and count nowhere here.
    _lower(resource.RLIMIT_DATA, _private_bytes() + limits.memory_bytes)
    # It writes nothing but the volume, and that is memory; no larger file can come to be either.
    _lower(resource.RLIMIT_FSIZE, limits.volume_bytes)
    _lower(resource.RLIMIT_NOFILE, _OPEN_FILES)


def _lower(kind: int, value: int) -> None:
    """Set both limits, and never raise what is lower already."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _private_bytes() -> int:
    """What this process holds of that which ``RLIMIT_DATA`` counts: ``VmData`` of proc(5)."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    for line in status.splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
