"""The tasks of one site process that speak with the broker: started and stopped together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from messages.topology import DEAD_QUEUE, PROGRESS_QUEUE, REPLIES_QUEUE
from web.broker import relay
from web.broker.connection import Needs, Session, end, supervise
from web.broker.dead_letters import DeadLetters
from web.broker.listener import Listener
from web.broker.progress import ProgressFeed
from web.broker.relay import Relay
from web.database import DatabaseThread

#: What the site consumes.
CONSUMES = Needs(queues=(REPLIES_QUEUE, PROGRESS_QUEUE, DEAD_QUEUE))

#: Everything that the site needs of a broker.
NEEDS = Needs(exchanges=relay.NEEDS.exchanges, queues=CONSUMES.queues)


class BrokerTasks:
    """Relay on one connection, consumers on another.

    A broker in alarm stops reading from publishers, and acknowledgements must still get through.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start; returns at once, whether or not a broker is there."""
        self._tasks = [
            asyncio.create_task(Relay(self._urls).run(), name="relay"),
            asyncio.create_task(consume(self._urls), name="consume"),
        ]

    async def stop(self) -> None:
        """End the tasks; what they held goes back to queue and outbox."""
        await end(self._tasks)


async def consume(urls: Sequence[str]) -> None:
    """Listen to replies, hints and dead letters until cancelled."""
    threads = [DatabaseThread(name) for name in ("listener", "progress", "letters")]
    listener = Listener(threads[0])
    feed = ProgressFeed(threads[1])
    letters = DeadLetters(threads[2])

    async def work(session: Session) -> None:
        await session.run(listener.attend(session), feed.attend(session), letters.attend(session))

    try:
        await supervise("consume", urls, CONSUMES, work)
    finally:
        for thread in threads:
            await thread.close()
