"""What tests let a child process do. A module of its own: the child imports it by name."""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import signal
import time
from pathlib import Path


def double(value: int) -> int:
    return 2 * value


def pid() -> int:
    return os.getpid()


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exhaust() -> None:
    raise MemoryError


def fail() -> None:
    raise RuntimeError("of the function itself")


def compute() -> None:
    """Stay in C, where no Python signal handler runs, for minutes."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)


def pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def seize(size: int) -> int:
    """Take memory, all of it touched."""
    return len(bytearray(size))


#: What `hoard` took.
_held: list[bytearray] = []


def hoard(size: int) -> int:
    """Take memory and keep it, as a library with a leak does."""
    _held.append(bytearray(size))
    return sum(map(len, _held))


def write_file(path: str, size: int) -> None:
    """Write a file of that size, or as much of it as may be."""
    with Path(path).open("wb", buffering=0) as file:
        file.write(b"\0" * size)


def grow_file(path: str, size: int) -> None:
    """Give a file that size."""
    os.truncate(path, size)


def limits() -> dict[str, int]:
    """What the kernel allows this process."""
    names = ("RLIMIT_CORE", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_NOFILE")
    return {name: resource.getrlimit(getattr(resource, name))[1] for name in names}


def fault() -> None:
    """End as a decoder ends that writes where it must not."""
    ctypes.string_at(0)
