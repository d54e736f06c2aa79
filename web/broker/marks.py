"""Rows that the broker has confirmed: gathered for a moment, and marked together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from uuid import UUID

import structlog

from web import notify
from web.broker import leases
from web.broker.leases import Sent
from web.database import DatabaseAway, DatabaseThread

log = structlog.get_logger(__name__)

#: Seconds until rows are tried again that could not be marked, as the database was away.
AGAIN_SECONDS = 1.0


class Marks:
    """Marks the rows of one relay; `done` hears which of them need no lease any more."""

    def __init__(self, database: DatabaseThread, done: Callable[[Collection[int]], None]) -> None:
        self._database = database
        self._done = done
        self._sent: list[Sent] = []
        self._something = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def add(self, sent: Sent) -> None:
        """Mark this one with the next ones."""
        self._sent.append(sent)
        self._something.set()

    async def keep_marking(self, gather: float) -> None:
        """Work until cancelled; rows gather for so many seconds before they are marked."""
        while True:
            await self._something.wait()
            self._something.clear()
            await asyncio.sleep(gather)
            await self.mark()

    async def mark(self) -> None:
        """Mark what has gathered; what the database does not take now is kept."""
        sent, self._sent = self._sent, []
        if not sent:
            return
        try:
            changed = await self._marked(sent)
        except DatabaseAway as exc:
            # Their leases are renewed meanwhile: nobody publishes them once more.
            log.warning("outbox_unwritable", detail=str(exc))
            self._sent = sent + self._sent
            self._loop.call_later(AGAIN_SECONDS, self._something.set)
            return
        except asyncio.CancelledError:
            # It may not have begun: the relay's end does it, and a second time is harmless.
            self._sent = sent + self._sent
            raise
        self._done([item.row_id for item in sent])
        await notify.requests_changed(changed)

    async def _marked(self, sent: list[Sent]) -> list[UUID]:
        try:
            return await self._database.run(leases.mark_sent, sent)
        except DatabaseAway:
            raise
        except Exception:
            log.exception("rows_not_marked", rows=len(sent))
        # One that cannot be marked must not keep the others from it; its lease runs out.
        changed = []
        for item in sent:
            try:
                changed += await self._database.run(leases.mark_sent, [item])
            except DatabaseAway:
                raise
            except Exception:
                log.exception("row_not_marked", row=item.row_id)
        return changed
