"""The few threads in which waiting calls use the database and the archive."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

from web.database import DatabaseThread

#: Calls that are taken in at once; as many database connections. The others wait for one of them,
#: and hold neither.
TAKING = 8

#: Outcomes that are read at once: one row each, without the archive.
READING = 2

P = ParamSpec("P")
T = TypeVar("T")


class CallThreads(DatabaseThread):
    """Like `DatabaseThread`, with several threads; each keeps its connection."""

    def __init__(self, name: str, number: int) -> None:
        self._executor = ThreadPoolExecutor(number, thread_name_prefix=f"legacy-{name}")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function in one of them; raises `DatabaseAway` as `DatabaseThread` does."""
        return await super().run(partial(_fresh, partial(function, *args, **kwargs)))


def _fresh(call: Callable[[], T]) -> T:
    # A connection that broke meanwhile is noticed here, and not as a failure of the call.
    close_old_connections()
    return call()


taking = CallThreads("take", TAKING)

#: Apart, so that an archive that hangs keeps no result from those who wait for it.
reading = CallThreads("read", READING)
