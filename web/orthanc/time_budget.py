"""How long the archive may take for one page or click, over all the calls that it needs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from web.orthanc.errors import ArchiveUnavailable

#: Seconds for everything that a page or a click asks of the archive. A study may need a hundred
#: calls; a browser waits 30 s for the answer to a click.
PAGE_SECONDS = 20.0

#: Questions about different things that the archive leaves unanswered in a row before it is taken
#: to be away: one or two may be about what it cannot read.
MOST_UNANSWERED = 3

#: Until when (monotonic seconds) the calls of this thread may go on; None: nobody waits for them.
_until: ContextVar[float | None] = ContextVar("until", default=None)


@contextmanager
def within(seconds: float = PAGE_SECONDS) -> Iterator[None]:
    """Let all calls to the archive in here take no longer than that together.

    What is inside of another one ends with it at the latest. They raise `ArchiveUnavailable` then.
    """
    end, outer = time.monotonic() + seconds, _until.get()
    token = _until.set(end if outer is None else min(end, outer))
    try:
        yield
    finally:
        _until.reset(token)


def seconds_left() -> float | None:
    """Seconds until the time is over, or None without a limit; raises `ArchiveUnavailable`."""
    end = _until.get()
    if end is None:
        return None
    left = end - time.monotonic()
    if left <= 0:
        raise ArchiveUnavailable("Orthanc took too long for all that was asked of it")
    return left
