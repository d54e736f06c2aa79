"""Whether the SQLite file that the site has open is still the one at its path.

A file that was removed, or replaced by a backup, goes on working for those who have it open: what
they write is gone with them, and an answer of 202 would promise what nobody will ever find. So an
answer is given, and a message acknowledged, only while the file is the same; and the process ends
once it is not, for its successor opens what is there now.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import structlog
from asgiref.sync import sync_to_async
from django.db import connection

log = structlog.get_logger(__name__)

#: Exit status of a site whose database file is gone. Not 0: systemd starts it again.
GONE = 4

#: Seconds between two looks. In between answers look for themselves.
LOOK_SECONDS = 1.0

#: Seconds for those who wait at that moment to be answered 503.
GOODBYE_SECONDS = 0.5

#: A descriptor for looking only. Closing any other one of a database file would take the locks
#: that SQLite holds in this process (sqlite.org/howtocorrupt.html, 2.2).
_LOOK_ONLY = getattr(os, "O_PATH", None)


class _Held:
    """A file as it was found: its number is nobody else's as long as this is held."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = None if _LOOK_ONLY is None else os.open(path, _LOOK_ONLY)
        found = path.stat() if self._descriptor is None else os.fstat(self._descriptor)
        self._identity = found.st_dev, found.st_ino

    def why_gone(self) -> str | None:
        """What happened to the file, as a sentence, or None. Raises `OSError` if nobody knows."""
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return f"{self._path} was removed"
        if (found.st_dev, found.st_ino) != self._identity:
            return f"{self._path} was replaced by another file"
        return None

    def let_go(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


class DatabaseFile:
    """The file of the database and those that SQLite keeps beside it.

    It holds a connection that does nothing. While one is open SQLite removes neither journal nor
    index: whoever finds them gone finds that somebody else has removed them.
    """

    def __init__(self, path: Path) -> None:
        """Raises `sqlite3.Error` and `OSError` where there is no database to open."""
        self._connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw", uri=True, check_same_thread=False, timeout=5
        )
        self._files: list[_Held] = []
        try:
            # Opens the journal too, in the mode that writes one.
            self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            names = (path, Path(f"{path}-wal"), Path(f"{path}-shm"))
            for name in names:
                if name == path or name.exists():
                    self._files.append(_Held(name))
        except BaseException:
            self.close()
            raise

    def why_gone(self) -> str | None:
        """What happened, as a sentence for an operator, or None."""
        return next(filter(None, (file.why_gone() for file in self._files)), None)

    def close(self) -> None:
        """Let go of everything."""
        self._connection.close()
        for file in self._files:
            file.let_go()


class _Kept:
    """That of this process, once it serves."""

    file: DatabaseFile | None = None
    #: Whether it was said that it could not be opened.
    said = False


def is_gone() -> bool:
    """Whether the file is certainly not the one at the path any more.

    False where the site has no such file, and where the path cannot be looked at.
    """
    with suppress(OSError):
        return _Kept.file is not None and _Kept.file.why_gone() is not None
    return False


def keep() -> None:
    """Remember the file from now on, if the database is one; otherwise a later look tries again."""
    path = _path()
    if path is None or _Kept.file is not None:
        return
    try:
        _Kept.file = DatabaseFile(path)
    except (sqlite3.Error, OSError) as exc:
        if not _Kept.said:
            _Kept.said = True
            log.warning("database_file_unwatched", detail=type(exc).__name__)


def let_go() -> None:
    """Forget the file."""
    kept, _Kept.file = _Kept.file, None
    if kept is not None:
        kept.close()


async def watch() -> None:
    """Look again and again until cancelled; ends the process when the file is gone."""
    while _path() is not None:
        await asyncio.sleep(LOOK_SECONDS)
        if _Kept.file is None:
            await sync_to_async(keep)()
        try:
            problem = None if _Kept.file is None else _Kept.file.why_gone()
        except OSError as exc:
            log.warning("database_file_unseen", detail=exc.strerror)
            continue
        if problem:
            log.critical("database_file_gone", detail=f"{problem}: the site ends")
            # Whatever is asked meanwhile is refused, by `is_gone`.
            await asyncio.sleep(GOODBYE_SECONDS)
            sys.stderr.flush()
            # Not by a stop in order: that would still write, for nobody.
            os._exit(GONE)


def _path() -> Path | None:
    """Of the database, where that is a file."""
    if connection.vendor != "sqlite":
        return None
    name = str(connection.settings_dict["NAME"])
    return None if not name or ":memory:" in name or name.startswith("file:") else Path(name)
