"""The viewer's files, as `infra.viewer.fetch` has made them."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from whitenoise.base import WhiteNoise  # type: ignore[import-untyped]

log = structlog.get_logger(__name__)

#: The page, and what says that the folder is whole.
PAGE, STAMP = "index.html", "labrelay-viewer.txt"

#: Files whose names hold a hash of their content.
_HASHED = re.compile(r"(?:.+\.bundle\.)?[0-9a-f]{16}\.[a-z0-9]+")


class ViewerMissing(Exception):
    """No viewer lies where the settings say."""


class Files:
    """One folder; what is in it is looked up once."""

    def __init__(self, folder: Path) -> None:
        self._noise = WhiteNoise(
            None,
            folder,
            max_age=0,
            allow_all_origins=False,
            immutable_file_test=lambda _path, url: _HASHED.fullmatch(url[1:]) is not None,
        )

    def find(self, name: str) -> Any:
        """Whitenoise's file of this name below the folder, or None."""
        return None if name == STAMP else self._noise.files.get(f"/{name}")


def folder() -> Path:
    """Where the viewer lies, if it does."""
    path: Path = settings.SITE.viewer_dir
    return path


def is_there() -> bool:
    """Whether there is a viewer, complete."""
    try:
        return (folder() / STAMP).is_file()
    except OSError as error:
        # Of another user, say: then it is not there for us, and the pages must work without.
        log.warning("viewer_unreadable", detail=type(error).__name__)
        return False


def files() -> Files:
    """The viewer's files; raises `ViewerMissing`."""
    stamp = folder() / STAMP
    try:
        # Another viewer in the same folder has another time.
        return _read(folder(), stamp.stat().st_mtime_ns)
    except OSError:
        raise ViewerMissing("no viewer is in the folder") from None


@lru_cache(maxsize=2)
def _read(path: Path, _made_at: int) -> Files:
    return Files(path)
