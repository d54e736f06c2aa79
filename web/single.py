"""One process for a site: what is told by one process, another's pages would not hear."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path
from typing import IO

from django.conf import settings
from django.db import connection

_TAKEN = "another process serves this site already: without a shared channel layer there can be one"


class OnlyOne:
    """A lock that the kernel gives back when the process ends, however it ends.

    It reaches as far as this machine. Two machines that share a database are not found out.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def take(self) -> str | None:
        """Take the lock for as long as the process serves; the sentence that says why not."""
        path = lock_path()
        try:
            file = path.open("ab")
        except OSError as exc:
            return f"{path} cannot be written: {exc.strerror}"
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return _TAKEN
        self._file = file
        return None

    def release(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None


def lock_path() -> Path:
    """Beside the database where that is a file; otherwise in the directory of the settings."""
    if connection.vendor == "sqlite":
        return Path(f"{connection.settings_dict['NAME']}.serving")
    return Path(settings.SITE.var_dir) / "site.serving"


def why_not_single() -> str | None:
    """Whether another process serves now, as a sentence; takes nothing."""
    lock = OnlyOne()
    problem = lock.take()
    lock.release()
    return problem
