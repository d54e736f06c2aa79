"""The few calls of the kernel for which Python has no function: prctl(2) and plain system calls."""

from __future__ import annotations

import ctypes
import os

#: prctl(2): the signal that a process gets when its parent ends; whether it may be looked into;
#: no new privileges by exec; orphans of its descendants become its children.
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def prctl(option: int, *values: int) -> None:
    """Set an attribute of this process; values that are left out are 0. Raises OSError."""
    words = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if _libc.prctl(ctypes.c_int(option), *words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def syscall(number: int, *values: object) -> int:
    """Call the system call of that number; each value a ctypes one. Raises OSError."""
    answer: int = _libc.syscall(ctypes.c_long(number), *values)
    if answer < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return answer


def keep_memory_private() -> None:
    """Let no process of the same user look into this one, and no crash write it to a disk.

    Without it whoever runs as this user reads ``/proc/<pid>/environ`` and ``mem``, and attaches as
    a debugger does. The kernel clears it when another program is executed.
    """
    prctl(PR_SET_DUMPABLE, 0)
