"""The follower as a task of a site process: of several processes one follows at a time."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import structlog

from web.cancellation import heed_cancel
from web.database import DatabaseAway, DatabaseThread
from web.follower.turn import Pace, Turn, take_turn
from web.orthanc.errors import ArchiveError
from web.reconciler.lease import LeaseKeeper

log = structlog.get_logger(__name__)

#: Name of the lease.
LEASE = "follower"


class Follower:
    """Takes turns while it has the lease. `errands` is the thread that speaks with the archive."""

    def __init__(
        self, database: DatabaseThread, errands: DatabaseThread, pace: Pace | None = None
    ) -> None:
        self._errands = errands
        self._pace = pace or Pace()
        self._pause = self._pace.turn_s
        self._turn_due = asyncio.Event()
        self._stopping = threading.Event()
        self._lease = LeaseKeeper(
            LEASE,
            database,
            lease_s=self._pace.lease_s,
            every_s=self._pace.lease_s / 3,
            on_taken=self._turn_due.set,
        )

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._lease.run())
                tasks.create_task(self._work())
        finally:
            # The thread is waited for when it is closed.
            self._stopping.set()
            await asyncio.shield(self._lease.give_back())

    async def _work(self) -> None:
        while True:
            self._turn_due.clear()
            if self._lease.holds:
                await self._take_turn()
            heed_cancel()
            # Not `wait_for`, which in Python 3.11 can lose a cancel that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._turn_due.wait()

    async def _take_turn(self) -> None:
        try:
            turn = await self._errands.run(take_turn, self._pace, stopping=self._stopping)
        except DatabaseAway as exc:
            self._wait_longer("the database is away", str(exc))
        except ArchiveError as exc:
            # Its text quotes no DICOM value.
            self._wait_longer("the archive is away", str(exc))
        except Exception:
            log.exception("follower_failed")
            self._wait_longer("a fault", "")
        else:
            self._went_well(turn)

    def _went_well(self, turn: Turn) -> None:
        if self._pause > self._pace.turn_s:
            log.info("follower_goes_on")
        # Not at once, whatever there is to read: pages and labs ask the archive too.
        self._pause = self._pace.turn_s / (10 if turn.more else 1)

    def _wait_longer(self, why: str, detail: str) -> None:
        if self._pause <= self._pace.turn_s:
            log.warning("follower_waits", why=why, detail=detail)
        self._pause = min(max(self._pause, self._pace.turn_s) * 2, self._pace.longest_s)
