"""Who is connected to a port of this machine, as the kernel lists it."""

from __future__ import annotations

import time
from pathlib import Path

#: State of an established connection in /proc/net/tcp (proc(5)).
_ESTABLISHED = "01"

#: Seconds between two looks.
_LOOK = 0.2


def established(port: int) -> int:
    """How many connections to the port of 127.0.0.1 are open."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(f":{port:04X}") and row[3] == _ESTABLISHED for row in rows)


def most_within(port: int, seconds: float) -> int:
    """The most that were open at once within the next so many seconds."""
    latest, most = time.monotonic() + seconds, 0
    while True:
        most = max(most, established(port))
        left = latest - time.monotonic()
        if left <= 0:
            return most
        time.sleep(min(_LOOK, left))
