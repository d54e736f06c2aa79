"""One task for each queue of each pool that the site knows, independent of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from messages.topology import POOLS
from web.broker.connection import Session
from web.broker.errors import BrokerProblem, TopologyMissing
from web.broker.loss import is_loss, named
from web.cancellation import heed_cancel
from web.database import DatabaseAway, DatabaseThread
from web.labs import registry

log = structlog.get_logger(__name__)

#: Seconds between looks for pools that staff have added, and for a queue that is missing.
LOOK_SECONDS = 3.0

#: Seconds after which a consumer that ended is started anew, the first time.
FIRST_PAUSE = 0.5

Attend = Callable[[Session, str], Awaitable[None]]


class PoolQueues:
    """Attends to `name(pool)` of every pool, and to the queue of before while there is one."""

    def __init__(
        self, database: DatabaseThread, name: Callable[[str], str], before: str, attend: Attend
    ) -> None:
        self._database = database
        self._name = name
        self._before = before
        self._attend = attend

    async def work(self, session: Session) -> None:
        """Work until cancelled: a queue that is missing, or ends, holds up no other."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(session, self._before, for_ever=False))
            running: set[str] = set()
            pools: tuple[str, ...] = POOLS
            while True:
                for pool in pools:
                    if pool not in running:
                        running.add(pool)
                        tasks.create_task(self._keep(session, self._name(pool)))
                await asyncio.sleep(LOOK_SECONDS)
                try:
                    pools = await self._database.run(registry.pools)
                except DatabaseAway as exc:
                    log.warning("pools_unreadable", detail=str(exc))
                except Exception:
                    # Those that are known are heard all the same.
                    log.exception("pools_unreadable")
                heed_cancel()

    async def _keep(self, session: Session, queue: str, *, for_ever: bool = True) -> None:
        said, pause = False, FIRST_PAUSE
        while True:
            try:
                await self._attend(session, queue)
            except TopologyMissing as exc:
                if not for_ever:
                    # A broker that was never one of before; asked again on the next connection.
                    return
                if not said:
                    log.warning("queue_missing", queue=queue, detail=str(exc))
                said, pause = True, LOOK_SECONDS
            except BrokerProblem as exc:
                log.warning("queue_lost", queue=queue, detail=str(exc))
            except Exception as exc:
                if is_loss(exc):
                    log.warning("queue_lost", queue=queue, detail=named(exc))
                else:
                    log.exception("queue_failed", queue=queue)
            heed_cancel()
            await asyncio.sleep(pause)
            pause = min(2 * pause, LOOK_SECONDS)
