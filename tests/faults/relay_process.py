"""A further relay of a site: a process that publishes from its outbox and does nothing else.

It says when it is about to take rows that it has seen free, and how many it got: fewer than it saw
where another relay was first.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import django
from django.conf import settings
from django.db import connection

from infra.local.process import Service

#: What it says: that it takes, and then what came of it. Each with a number of rows.
TAKES, GOT, AWAY = "relay_takes", "relay_got", "relay_without_database"

#: How `web.broker.leases` takes rows; what gives them back sets NULL.
_TAKE = 'UPDATE "labrelay_inference_outbox" SET "lease" = %s,'


def takes_under_way(relay: Service) -> int:
    """Takes of the process that wait for the database: one, as it does one after the other."""
    said = _said(relay)
    return said.count((TAKES, 0)) - sum(event in {GOT, AWAY} for event, _ in said)


def rows_got(relay: Service) -> list[int]:
    """How many rows each take got, of one or more that it had seen free."""
    return [rows for event, rows in _said(relay) if event == GOT]


def _said(relay: Service) -> list[tuple[str, int]]:
    if not relay.log.exists():
        return []
    lines = relay.log.read_text("utf-8", errors="replace").splitlines()
    return [tuple(json.loads(line)) for line in lines if line.startswith('["relay_')]


def _say(event: str, rows: int = 0) -> None:
    sys.stdout.write(json.dumps([event, rows]) + "\n")
    sys.stdout.flush()


def _tell_of_takes(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    if not sql.startswith(_TAKE):
        return execute(sql, params, many, context)
    _say(TAKES)
    try:
        result = execute(sql, params, many, context)
    except Exception:
        _say(AWAY)
        raise
    _say(GOT, context["cursor"].rowcount)
    return result


async def _relay() -> None:
    from web.broker.relay import Relay
    from web.database import DatabaseThread

    database = DatabaseThread("relay")
    # On the connection of that thread, which stays.
    await database.run(lambda: connection.execute_wrappers.append(_tell_of_takes))
    await Relay(settings.SITE.broker_urls, database).run()


if __name__ == "__main__":
    django.setup()
    asyncio.run(_relay())
