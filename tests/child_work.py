"""What tests let a child process do. A module of its own: the child imports it by name."""

from __future__ import annotations

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
