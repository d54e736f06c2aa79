"""What a test lets a child process do once. A module of its own: the child imports it by name."""

from __future__ import annotations

import time
from pathlib import Path


def slow_once(mark: str) -> int:
    """Hang at the first call, in whichever process it comes."""
    path = Path(mark)
    if not path.exists():
        path.touch()
        time.sleep(600.0)
    return 7
