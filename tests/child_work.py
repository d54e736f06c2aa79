"""What tests let a child process do. A module of its own: the child imports it by name."""

from __future__ import annotations

import hashlib
import os
import signal
import time


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
