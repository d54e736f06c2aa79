"""What the site's database says of all requests and letters, whichever database that is."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import httpx

from infra.demo.reader import ENDED
from infra.local.process import ServiceFailed

if TYPE_CHECKING:
    from tests.faults.world import World

_TABLE = "labrelay_inference_inferencerequest"

#: Seconds for cancels to be confirmed: a lab that is away is not waited for longer than 10 s.
_CANCEL_SECONDS = 60.0


def states(world: World) -> list[tuple[str, int]]:
    """How many requests are in each state, by name."""
    query = f"SELECT state, COUNT(*) FROM {_TABLE} GROUP BY state ORDER BY state"  # noqa: S608
    return [(str(state), int(count)) for state, count in world.ask_database(query)]


def versions(world: World) -> int:
    """The sum of all versions: another one means that something has changed."""
    ((total,),) = world.ask_database(f"SELECT SUM(version) FROM {_TABLE}")  # noqa: S608
    return int(total or 0)


def unfinished(world: World) -> list[str]:
    """Ids of the requests without an outcome."""
    rows = world.ask_database(f"SELECT id, state FROM {_TABLE}")  # noqa: S608
    # SQLite has an id without hyphens, PostgreSQL one of its own kind.
    return [str(UUID(str(key))) for key, state in rows if state not in ENDED]


def sweeps_due(world: World) -> int:
    """Cancelled requests for which the archive is to be looked at now."""
    query = f"SELECT sweep_due_at FROM {_TABLE} WHERE state = 'cancelled'"  # noqa: S608
    rows = world.ask_database(f"{query} AND sweep_due_at IS NOT NULL")
    now = datetime.now(UTC)
    return sum(_moment(due) <= now for (due,) in rows)


def letters(world: World) -> int:
    """Dead letters that the site has written down."""
    ((count,),) = world.ask_database("SELECT COUNT(*) FROM labrelay_inference_deadletter")
    return int(count)


def cancel_unfinished(world: World) -> None:
    """Cancel every request without an outcome; raises `ServiceFailed` when some do not end."""
    latest = time.monotonic() + _CANCEL_SECONDS
    while left := unfinished(world):
        if time.monotonic() > latest:
            raise ServiceFailed(f"requests could not be cancelled: {', '.join(left)}")
        for name in left:
            # One that ends meanwhile is refused, one that the site cannot take now is next.
            with suppress(httpx.HTTPError):
                world.reader.post(f"/api/v1/requests/{name}/cancel", {})
        time.sleep(1.0)


def _moment(value: datetime | str) -> datetime:
    """SQLite has text, in UTC and without saying so."""
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value).replace(tzinfo=UTC)
