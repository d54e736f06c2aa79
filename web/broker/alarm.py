"""A broker in alarm: short of memory or disk it reads nothing more from those who publish.

It says so (``connection.blocked``) to each connection that publishes, and says when it is over.
What was sent meanwhile lies in buffers and is neither confirmed nor lost.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from web.broker.connection import Session

log = structlog.get_logger(__name__)

#: Seconds between two looks. The library knows the state of a connection and tells no change.
LOOK_SECONDS = 0.5


class Alarm:
    """Whether the broker takes what one connection publishes."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.on = False

    async def watch(self) -> None:
        """Look until cancelled. The log says once that an alarm began, and once that it ended."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not await self._takes_messages(LOOK_SECONDS):
                await self._last()

    async def _last(self) -> None:
        began = time.monotonic()
        self.on = True
        # Requests are taken as ever, and wait in the outbox.
        log.warning("broker_blocked", detail="short of memory or disk, it takes no messages")
        try:
            await self._takes_messages(None)
        finally:
            self.on = False
        log.warning("broker_unblocked", blocked_s=round(time.monotonic() - began, 1))

    async def _takes_messages(self, within: float | None) -> bool:
        transport = self._session.connection.transport
        if transport is None:
            # The connection has ended; the session says so.
            return True
        try:
            async with asyncio.timeout(within):
                await transport.ready()
        except TimeoutError:
            return False
        return True
