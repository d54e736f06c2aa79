"""What waits in queues, and since when the labs are heard: known on one and the same connection."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from messages.topology import progress_queue, replies_queue
from web.broker.connection import ANSWER_SECONDS, Session
from web.broker.errors import BrokerLost
from web.broker.loss import library
from web.cancellation import heed_cancel

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Depth:
    """Of several queues together. What a consumer holds unacknowledged is in neither number."""

    #: Messages that wait to be taken.
    ready: int
    #: Consumers that take them.
    consumers: int


class QueueDepth:
    """Where this process hears the labs: the connection that it asks on, and queues by pool."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._since = 0.0
        #: Since when each queue is consumed.
        self._queues: dict[str, float] = {}

    @contextmanager
    def on(self, session: Session) -> Iterator[None]:
        """Ask on this connection, until the block ends."""
        self._session, self._since = session, time.monotonic()
        try:
            yield
        finally:
            self._session = None

    @contextmanager
    def listening(self, queue: str) -> Iterator[None]:
        """Hear what comes to this queue, until the block ends."""
        self._queues[queue] = time.monotonic()
        try:
            yield
        finally:
            self._queues.pop(queue, None)

    @property
    def since(self) -> float | None:
        """Since when there is a broker, in seconds of the monotonic clock; None without one."""
        return None if self._session is None else self._since

    def since_of(self, pool: str) -> float | None:
        """Since when the labs of a pool are heard without a break; None while they are not.

        Both outcomes and hints: a lab whose heartbeats cannot come is not silent.
        """
        both = [self._queues.get(name) for name in (replies_queue(pool), progress_queue(pool))]
        since = [self.since, *both]
        received = [one for one in since if one is not None]
        return max(received) if len(received) == len(since) else None

    async def depth(self, queues: Sequence[str]) -> Depth | None:
        """What waits there; None when the broker does not say.

        By passive declares, which need no right up to RabbitMQ 4.2.5, and any right on the queue
        from 4.2.7 and 4.3.1 on: writing to it, which is refused all the same, is the least.
        Without it `mri-web check` says so.
        """
        session = self._session
        if session is None:
            return None
        found = None
        try:
            with library():
                found = await _declared(session, queues)
        except BrokerLost as exc:
            # Also when a queue is missing or not shown: the broker then closes the channel, and
            # only that.
            log.warning("depth_unknown", queues=list(queues), detail=str(exc))
        # Whoever asks may be one of a group of tasks, and those are cancelled once.
        heed_cancel()
        return found


async def _declared(session: Session, queues: Sequence[str]) -> Depth:
    # A channel of its own: its end is not the end of the session.
    channel = await session.connection.channel()
    try:
        ready = consumers = 0
        for name in queues:
            queue = await channel.declare_queue(name, passive=True, timeout=ANSWER_SECONDS)
            ready += queue.declaration_result.message_count or 0
            consumers += queue.declaration_result.consumer_count or 0
    finally:
        await channel.close()
    return Depth(ready, consumers)
