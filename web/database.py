"""A thread of its own for the database work of one task.

`database_sync_to_async` would share one thread with all pages and sockets: a slow page would
hold up the relay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

import structlog
from django.db import InterfaceError, OperationalError, connection, connections
from django.db.migrations.executor import MigrationExecutor

from web import database_file

log = structlog.get_logger(__name__)

#: Seconds between attempts while the database is away: doubled from the first to the second.
FIRST_RETRY, LONGEST_RETRY = 0.25, 10.0

_MIGRATE = "migrations are missing: run mri-web migrate (in a host project: manage.py migrate)"

P = ParamSpec("P")
T = TypeVar("T")


class DatabaseAway(Exception):
    """Locked, restarting or gone. Nothing was written; hold what is in hand and try again."""


class DatabaseThread:
    """Runs synchronous functions one after the other, on one connection that stays open."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"db-{name}")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run the function there; raises `DatabaseAway` when the database cannot be used."""
        call = partial(_guarded, partial(function, *args, **kwargs))
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def close(self) -> None:
        """Close the connection and end the thread, after what it is doing."""
        await asyncio.get_running_loop().run_in_executor(self._executor, connections.close_all)
        self._executor.shutdown(wait=False)


def _guarded(call: Callable[[], T]) -> T:
    try:
        done = call()
    except (OperationalError, InterfaceError) as exc:
        # The next call opens a new connection, also after a restart of the server.
        connections.close_all()
        raise DatabaseAway(type(exc).__name__) from exc
    if database_file.is_gone():
        # Written into a file that nobody will open again: what this was done for is not settled.
        raise DatabaseAway("the file is gone")
    return done


def why_not_migrated() -> str | None:
    """The sentence that says that migrations are missing, or None.

    None as well when the database does not answer: the site starts without, and waits for it.
    """
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (OperationalError, InterfaceError):
        return None
    finally:
        # Of the thread that asked, which may never ask again.
        connection.close()
    return _MIGRATE if missing else None


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat while the database is away: a delivery stays ours, and nothing is dead-lettered."""
    wait = FIRST_RETRY
    while True:
        try:
            return await attempt()
        except DatabaseAway as exc:
            log.warning("database_away", detail=str(exc), next_try_s=wait)
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_RETRY)
