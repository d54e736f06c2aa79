"""A socket that is kept waiting as it joins the group of a request, in `late_join_site`.

By files beside the site's database: one that says that whoever joins must wait, and one by which
whoever waits says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from infra.local.process import wait_until

#: Seconds for a socket to come as far.
_SOON = 30.0


class Moment(StrEnum):
    """When a socket that joins is kept waiting."""

    BEFORE = "before-joining"
    AFTER = "after-joining"


@contextmanager
def kept_waiting(directory: Path, moment: Moment) -> Iterator[None]:
    """Entered before the socket opens; what joins waits until the end of the block."""
    hold = directory / moment
    reached(hold).unlink(missing_ok=True)
    hold.touch()
    try:
        yield
    finally:
        hold.unlink()


def wait_reached(directory: Path, moment: Moment) -> None:
    """Inside the block: return once a socket waits."""
    wait_until(reached(directory / moment).exists, f"be {moment}", _SOON)


def reached(hold: Path) -> Path:
    """The file by which whoever waits says so."""
    return hold.with_name(f"{hold.name}-reached")
