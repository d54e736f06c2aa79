"""What was run, where and with what: the head of everything that is written down."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from typing import Any

from infra.local.settings import REPOSITORY
from tests.faults.world import World
from tests.integration.lab import orthanc_get


def circumstances() -> dict[str, Any]:
    """Commit and whether the checkout differs from it, date, processors, versions."""
    # Without the lock that a status takes to remember what it saw: others work here too.
    changed = _git("--no-optional-locks", "status", "--porcelain")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": None if changed is None else bool(changed),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "versions": {"rabbitmq": None, "orthanc": None, "python": platform.python_version()},
    }


def versions_of(world: World) -> dict[str, str]:
    """Versions of the servers, asked of those that run."""
    return {
        "rabbitmq": world.stack.rabbitmq.ctl("-q", "version").strip(),
        "orthanc": str(orthanc_get(world.stack.orthanc, "/system")["Version"]),
    }


def _git(*arguments: str) -> str | None:
    """What git prints; None where this is no checkout of it."""
    command = ("git", "-C", str(REPOSITORY), *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()
