"""Keeps this process in an office that only one of a site may hold, or waits for it to be free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

import structlog

from web.database import DatabaseAway, DatabaseThread
from web.reconciler import site_lease

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Takes the lease, renews it, and gives it back. `on_taken` is called when it became ours."""

    def __init__(
        self,
        name: str,
        database: DatabaseThread,
        *,
        lease_s: float,
        every_s: float,
        on_taken: Callable[[], None],
    ) -> None:
        self._name = name
        self._database = database
        self._lease_s = lease_s
        self._every_s = min(every_s, lease_s / 3)
        self._on_taken = on_taken
        self._id = uuid4()
        self._until = 0.0

    @property
    def holds(self) -> bool:
        """Whether the lease is ours now, by the monotonic clock: that of the row may be set."""
        return time.monotonic() < self._until

    async def run(self) -> None:
        """Keep it until cancelled."""
        while True:
            asked = time.monotonic()
            try:
                mine = await self._database.run(
                    site_lease.take, self._name, self._id, self._lease_s
                )
            except DatabaseAway as exc:
                # What we have runs out by itself.
                log.warning("lease_not_renewed", lease=self._name, detail=str(exc))
            except Exception:
                log.exception("lease_not_renewed", lease=self._name)
            else:
                self._became(asked + self._lease_s if mine else 0.0)
            await asyncio.sleep(self._every_s)

    def _became(self, until: float) -> None:
        taken = until and not self.holds
        self._until = until
        if taken:
            log.info("lease_taken", lease=self._name, holder=str(self._id))
            self._on_taken()

    async def give_back(self) -> None:
        """Let another process take it at once."""
        self._until = 0.0
        with suppress(DatabaseAway):
            await self._database.run(site_lease.give_back, self._name, self._id)
