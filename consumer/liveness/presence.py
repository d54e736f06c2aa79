"""That a lab of this name runs on this machine, how much it has in hand, and how it is drained.

A locked file says it. The lock is the kernel's: it ends with the process, however that ends. The
file stays.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

#: Read by whoever may drain: the lab's own user and root.
_MODE = 0o600

#: Characters of the number in the file, so that each one covers the one before.
_WIDTH = 10

#: ``struct flock`` of a 64-bit Linux (fcntl(2)): type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi0q")

#: The signal to drain. SIGTERM would stop a lab within its grace.
DRAIN_SIGNAL = signal.SIGUSR1

#: Seconds between two looks at the lab.
_POLL_SECONDS = 0.5

#: Seconds after which the same is said again, so that nobody takes the wait for a hang.
_REPEAT_SECONDS = 60.0


class PresenceError(Exception):
    """One sentence for an operator."""


@dataclass(frozen=True)
class PresenceRecord:
    """What another process sees of a lab."""

    #: Of the process that holds the lock, as the kernel says it; None: the lab has ended.
    pid: int | None
    #: Requests and messages in hand; of one that has ended, what it left to the broker.
    in_hand: int


class Presence:
    """Held by a lab from its start to its end."""

    def __init__(self, directory: Path, lab: str) -> None:
        """Raises `PresenceError` when another lab of that name runs, or without a place to say it.

        `directory` belongs to the lab's user, or is one in which nobody can touch another's files
        (sticky, as /tmp).
        """
        path = _path(directory, lab)
        try:
            # A link that somebody else put there is not followed.
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, _MODE)
        except OSError as exc:
            raise PresenceError(f"{path} cannot be written ({exc.strerror}): see RUN_DIR.") from exc
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise PresenceError(
                f"A lab named {lab} runs on this machine already ({path}); give this one a "
                "LAB_NAME of its own."
            ) from None
        self._recorded = -1
        self.record(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def record(self, in_hand: int) -> None:
        """Write how much is in hand, if it changed."""
        if in_hand != self._recorded:
            self._recorded = in_hand
            os.pwrite(self._file, str(in_hand).rjust(_WIDTH).encode(), 0)


def find_lab(directory: Path, lab: str) -> PresenceRecord | None:
    """Return the lab of that name, running or ended; None when there never was one.

    Raises `PresenceError` when its file may not be read.
    """
    path = _path(directory, lab)
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise PresenceError(f"{path} cannot be read ({exc.strerror}).") from exc
    try:
        # Asked, not tried: a lab that starts just now must not find it locked by us.
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
        # Empty for the moment between its making and its first number.
        in_hand = int(os.read(file, _WIDTH).decode("ascii") or "0")
    except (ValueError, UnicodeDecodeError):
        raise PresenceError(f"{path} is not the file of a lab.") from None
    finally:
        os.close(file)
    return PresenceRecord(pid=None if kind == fcntl.F_UNLCK else pid, in_hand=in_hand)


def _path(directory: Path, lab: str) -> Path:
    return directory / f"mri-consumer-{lab}"


class DrainFailed(Exception):
    """One sentence for an operator."""


def drain(directory: Path, lab: str, *, say: Callable[[str], None]) -> None:
    """Signal the lab, wait until it has ended, and `say` a line whenever less is in hand.

    Raises `DrainFailed` when there is no such lab, when it may not be signalled, or when it ended
    before it was done.
    """
    seen = _find(directory, lab)
    if seen is None or seen.pid is None:
        raise DrainFailed(f"No lab named {lab} runs on this machine, as far as {directory} says.")
    pid = seen.pid
    try:
        os.kill(pid, DRAIN_SIGNAL)
    except ProcessLookupError:
        raise DrainFailed(f"The lab {lab} has just ended.") from None
    except PermissionError:
        raise DrainFailed(
            f"The lab {lab} (process {pid}) may only be drained by its own user or root."
        ) from None
    reported, again = -1, 0.0
    while seen is not None and seen.pid == pid:
        if seen.in_hand != reported or time.monotonic() >= again:
            reported, again = seen.in_hand, time.monotonic() + _REPEAT_SECONDS
            say(f"{lab} takes no more; in hand: {reported}")
        time.sleep(_POLL_SECONDS)
        seen = _find(directory, lab)
    if seen is not None and seen.pid is not None:
        raise DrainFailed(f"The lab {lab} has ended, and another one was started.")
    if seen is not None and seen.in_hand:
        raise DrainFailed(
            f"The lab {lab} ended with {seen.in_hand} in hand; the broker gives that out again."
        )
    say(f"{lab} has ended")


def _find(directory: Path, lab: str) -> PresenceRecord | None:
    try:
        return find_lab(directory, lab)
    except PresenceError as error:
        raise DrainFailed(str(error)) from error
