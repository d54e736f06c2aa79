"""Directories and files that nobody but their owner can read. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path


def private_directory(path: Path) -> Path:
    """Make `path` with mode 0700, and every parent that is not there; return it."""
    for directory in (*reversed(path.parents), path):
        # One by one: mkdir(parents=True) would give the parents the ordinary mode.
        if not directory.exists():
            directory.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write `text` to `path` in one step; nobody but the owner can read it, at no moment."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)
