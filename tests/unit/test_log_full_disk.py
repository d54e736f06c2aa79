"""A log that cannot be written costs its lines, and no job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import logging, sys, structlog
from consumer import logs
logs.configure("json")
for _ in range(1000):
    structlog.get_logger("lab").info("accepted", action="job.accepted")
    logging.getLogger("urllib3").warning("retried")
# As multiprocessing does before it starts a child.
sys.stderr.flush()
print("went on")
"""


def test_a_lab_goes_on_when_the_disk_under_its_log_is_full() -> None:
    # full(4): whatever is written there finds no space.
    with Path("/dev/full").open("w") as disk:
        done = subprocess.run(
            (sys.executable, "-c", SCRIPT),
            check=True,
            stdout=subprocess.PIPE,
            stderr=disk,
            text=True,
        )
    assert done.stdout == "went on\n"
