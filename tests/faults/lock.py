"""Another process that holds the site's SQLite and lets nobody write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: What it does; readers still read (WAL).
_PROGRAM = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Entered once the lock is held; given back at the end of the block."""
    command = (sys.executable, "-c", _PROGRAM, str(database))
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "locked\n", "the database could not be locked"
            yield
            assert holder.poll() is None, "the database was not locked until the end"
        finally:
            # The kernel takes back what it holds.
            holder.kill()
