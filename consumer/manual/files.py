"""SEG and SR as files in a folder. They hold patient data, so only their owner may read them."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID

from consumer.manual.asked import CannotInfer


def prepare(folder: Path) -> None:
    """Make the folder if need be, before hours are spent; raises `CannotInfer`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise _unusable(folder, exc) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotInfer(f"{folder} cannot be written")


def write(folder: Path, request_id: UUID, objects: dict[str, bytes]) -> dict[str, str]:
    """Write the Part 10 files; returns their paths by kind. Raises `CannotInfer`."""
    try:
        return {kind: _write(folder, request_id, kind, data) for kind, data in objects.items()}
    except OSError as exc:
        raise _unusable(folder, exc) from None


def _write(folder: Path, request_id: UUID, kind: str, content: bytes) -> str:
    path = folder / f"{request_id}-{kind}.dcm"
    path.touch(mode=0o600)
    path.write_bytes(content)
    return str(path)


def _unusable(folder: Path, error: OSError) -> CannotInfer:
    return CannotInfer(f"{folder} cannot be written: {error.strerror or 'no reason is known'}")
