"""That a lab of this name runs on this machine, and how much it has in hand: a locked file.

The lock is the kernel's: it ends with the process, however that ends. The file stays.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

#: Read by whoever may drain: the lab's own user and root.
_MODE = 0o600

#: Characters of the number in the file, so that each one covers the one before.
_WIDTH = 10

#: ``struct flock`` of a 64-bit Linux (fcntl(2)): type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi0q")


class PresenceError(Exception):
    """One sentence for an operator."""


@dataclass(frozen=True)
class Sighting:
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
        self._told = -1
        self.tell(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def tell(self, in_hand: int) -> None:
        """Say how much is in hand; written only when it changed."""
        if in_hand != self._told:
            self._told = in_hand
            os.pwrite(self._file, str(in_hand).rjust(_WIDTH).encode(), 0)


def look_for(directory: Path, lab: str) -> Sighting | None:
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
    return Sighting(pid=None if kind == fcntl.F_UNLCK else pid, in_hand=in_hand)


def _path(directory: Path, lab: str) -> Path:
    return directory / f"mri-consumer-{lab}"
