"""The running system with its site on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from tests.faults.running import running_world
from tests.faults.world import World
from tests.integration.postgres import PostgresNode, running_postgres


class PostgresWorld(World):
    """A world whose database is a server of its own, which can be gone."""

    def __init__(self, postgres: PostgresNode, *parts: Any) -> None:
        super().__init__(*parts)
        self.postgres = postgres

    def heal(self) -> None:
        """Mend what a fault left."""
        if not self.postgres.service.alive:
            self.postgres.start()
        super().heal()

    def ask_database(self, query: str, *values: object) -> list[Any]:
        """What the site's PostgreSQL answers."""
        with psycopg.connect(self.postgres.url, connect_timeout=10) as database:
            return database.execute(query.replace("?", "%s"), values).fetchall()


@contextmanager
def running_postgres_world(
    root: Path, say: Callable[[str], None], *, lab_module: str = "consumer"
) -> Iterator[World]:
    """Start everything; stop everything at the end."""
    with running_postgres() as postgres:
        kind = partial(PostgresWorld, postgres)
        settings = {"DATABASE_URL": postgres.url}
        with running_world(
            root, say, kind=kind, lab_module=lab_module, web_settings=settings
        ) as world:
            yield world
