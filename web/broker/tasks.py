"""The tasks of one site process that speak with the broker: started and stopped together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from django.db import connection

from messages.topology import DEAD_QUEUE, control_exchange, progress_queue, replies_queue
from web.broker import relay, tolerant
from web.broker.connection import Needs, Session, supervise
from web.broker.dead_letters import DeadLetters
from web.broker.listener import Listener
from web.broker.progress import ProgressFeed
from web.broker.queue_depth import QueueDepth
from web.broker.relay import Relay
from web.cancellation import end
from web.confirming.confirmer import Confirmer
from web.confirming.pace import Pace as ConfirmerPace
from web.database import DatabaseThread
from web.follower.follow import Follower
from web.follower.turn import Pace as FollowerPace
from web.reconciler.pace import Pace
from web.reconciler.reconcile import Reconciler

#: What each connection needs before it works. Not the queues of pools: one that is missing is said,
#: looked for again, and holds up no other.
NOTHING = Needs()
LETTERS = Needs(queues=(DEAD_QUEUE,))


def needs(pool: str) -> Needs:
    """What the site needs of a broker before it starts: with the queues of its own pool."""
    return Needs(
        exchanges=(*relay.NEEDS.exchanges, control_exchange(pool)),
        queues=(replies_queue(pool), progress_queue(pool), *LETTERS.queues),
    )


class BrokerTasks:
    """Relay on one connection, outcomes on another, hints on a third, dead letters on a fourth.

    A broker in alarm stops reading from publishers, and acknowledgements must still get through.
    ``mri.progress.<pool>`` lies on one node of a cluster and is away with it, and outcomes go on.
    In ``mri.dead`` lies what strangers sent: whatever it does to a connection, outcomes go on too.
    The reconciler works also while no broker is there: it has the broker of the consumers asked.
    The follower asks the archive only, and so does the confirmer, for what a lab has reported.
    """

    def __init__(
        self,
        urls: Sequence[str],
        pace: Pace | None = None,
        following: FollowerPace | None = None,
        confirming: ConfirmerPace | None = None,
    ) -> None:
        self._urls = urls
        self._pace = pace
        self._following = following
        self._confirming = confirming
        self._queue_depth = QueueDepth()
        self._tasks: list[asyncio.Task[None]] = []
        self._databases = _databases()
        tolerant.install()

    def start(self) -> None:
        """Start; returns at once, whether or not a broker is there."""
        relaying = Relay(self._urls, self._databases["relay"])
        self._tasks = [
            asyncio.create_task(relaying.run(), name="relay"),
            asyncio.create_task(self._consume(), name="consume"),
            asyncio.create_task(self._heed_hints(), name="hints"),
            asyncio.create_task(self._collect(), name="letters"),
            asyncio.create_task(self._confirm(), name="confirm"),
            asyncio.create_task(self._reconcile(), name="reconcile"),
            asyncio.create_task(self._follow(), name="follow"),
        ]

    async def stop(self) -> None:
        """End the tasks; what they held goes back to queue and outbox."""
        await end(self._tasks)
        for database in set(self._databases.values()):
            await database.close()

    async def _consume(self) -> None:
        listener = Listener(self._databases["listener"], self._queue_depth)

        async def work(session: Session) -> None:
            with self._queue_depth.on(session):
                await session.run(listener.attend(session))

        await supervise("consume", self._urls, NOTHING, work)

    async def _heed_hints(self) -> None:
        feed = ProgressFeed(self._databases["progress"], self._queue_depth)

        async def work(session: Session) -> None:
            await session.run(feed.attend(session))

        await supervise("hints", self._urls, NOTHING, work)

    async def _collect(self) -> None:
        letters = DeadLetters(self._databases["letters"])

        async def work(session: Session) -> None:
            await session.run(letters.attend(session))

        await supervise("letters", self._urls, LETTERS, work)

    async def _confirm(self) -> None:
        database = self._databases["confirmer"]
        await Confirmer(database, self._another_thread, self._confirming).run()

    def _another_thread(self, name: str) -> DatabaseThread:
        """One that ends with the others."""
        return self._databases.setdefault(name, DatabaseThread(name))

    async def _reconcile(self) -> None:
        work, errands = self._databases["reconciler"], self._databases["errands"]
        await Reconciler(work, errands, self._queue_depth, self._pace).run()

    async def _follow(self) -> None:
        work, errands = self._databases["reconciler"], self._databases["follower"]
        await Follower(work, errands, self._following).run()


def _databases() -> dict[str, DatabaseThread]:
    """A thread for each task; on SQLite one for all but those that wait for the archive.

    SQLite has one writer. Threads of one process that wait for each other there sleep in steps of
    up to 100 ms; in the queue of one thread they do not.
    """
    names = ("relay", "listener", "progress", "letters", "reconciler", "confirmer")
    # They wait for the archive, and nobody else may wait for them.
    errands = {name: DatabaseThread(name) for name in ("errands", "follower")}
    if connection.vendor == "sqlite":
        return {**dict.fromkeys(names, DatabaseThread("broker")), **errands}
    return {**{name: DatabaseThread(name) for name in names}, **errands}
