"""What a child of the lab cannot do: it decodes foreign files and runs foreign code.

docs/decisions/0041-what-a-child-cannot-do.md says what was tried and what remains.
"""

from __future__ import annotations

import ctypes
import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from consumer.sandbox import landlock, seccomp
from consumer.sandbox.kernel import (
    PR_SET_NO_NEW_PRIVS,
    keep_memory_private,
    prctl,
    syscall,
)

#: prctl(2), capabilities(7): drop one of those that an exec may give; drop the ambient ones.
_PR_CAPBSET_DROP = 24

_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

#: capset(2) on x86_64 and aarch64, and its version for 64 capabilities.
_CAPSET = {"x86_64": 126, "aarch64": 91}

_CAPABILITY_VERSION_3 = 0x20080522

#: More than Linux has; dropping one that it does not know is an error that means nothing.
_MOST_CAPABILITIES = 64

#: Files that the reader may hold open: its pipes, its libraries, and the memory of the series.
_OPEN_FILES = 256

#: Bytes of a core dump at which the kernel writes no file and starts no handler either; at 0 it
#: starts one all the same where ``core_pattern`` is a pipe (fs/coredump.c: a limit of 1 ends it).
_NO_CORE = 1


@dataclass(frozen=True)
class Confinement:
    """How tightly a child is held."""

    #: Whether it may open sockets of its own machine, as the workers of torch's DataLoader do.
    sockets: bool
    #: Whether it is closed in by Landlock where the kernel has that. Tests look at the walls
    #: before it, which are all that older kernels have.
    landlock: bool = True


def confine_family(how: Confinement, lab: int) -> None:
    """Bind the keeper of a child, and so the child: before any foreign byte is read.

    Nothing here ends the start: a kernel without one of these still serves a lab, and
    ``mri-consumer check`` says what does not hold.
    """
    no_core_dump()
    with suppress(OSError):
        keep_memory_private()
    with suppress(OSError):
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    with suppress(OSError, KeyError):
        _drop_capabilities()
    with suppress(seccomp.NoFilter):
        guarded = {lab, os.getpid()}
        with suppress(OSError):
            guarded.add(os.getpgid(lab))
        seccomp.refuse(seccomp.rules(sockets=how.sockets, guarded=sorted(guarded)))


def confine_child(how: Confinement) -> None:
    """Bind the child alone, so that its keeper is outside of what it can reach."""
    if how.landlock:
        with suppress(OSError):
            landlock.enclose()


def _drop_capabilities() -> None:
    """Give up what root has beside its name, so that nothing of the lab is open to it for that."""
    for number in range(_MOST_CAPABILITIES):
        with suppress(OSError):
            prctl(_PR_CAPBSET_DROP, number)
    with suppress(OSError):
        prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable, for 32 capabilities and for the next 32.
    none = (ctypes.c_uint32 * 6)()
    syscall(_CAPSET[os.uname().machine], ctypes.byref(header), ctypes.byref(none))


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
