"""Passwords of one installation: made once, kept over restarts, readable by the owner only."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from infra.local.private_files import private_directory, write_private


def stored_passwords(path: Path, names: Iterable[str]) -> dict[str, str]:
    """Return a password for each of `names`, from `path` or newly made and added to it.

    The file is replaced in one step with mode 0600, so that an interrupted start never leaves a
    half-written one.
    """
    kept: dict[str, str] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    wanted = list(names)
    # URL-safe: these stand in RABBITMQ_URL and in Orthanc's credentials without quoting.
    missing = {name: secrets.token_urlsafe(24) for name in wanted if name not in kept}
    if missing:
        if not path.parent.exists():
            private_directory(path.parent)
        write_private(path, json.dumps({**kept, **missing}, indent=2) + "\n")
    return {name: missing.get(name) or kept[name] for name in wanted}
