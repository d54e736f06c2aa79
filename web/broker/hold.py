"""Deliveries that cannot be worked on now and must not be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from web.broker.connection import Session

log = structlog.get_logger(__name__)

#: Seconds that a delivery is held before it is offered again: short enough for a deploy under
#: way, long enough that the log stays readable.
HOLD_SECONDS = 10.0

#: The most that AMQP can say of a prefetch.
MAX_PREFETCH = 65_535


class Holding:
    """A consumer that some deliveries can be held in without keeping the others out.

    What is held uses up the prefetch, and given back it is delivered first again. A prefetch
    cannot be raised under a consumer (RabbitMQ docs, "Consumer Prefetch": it counts for new ones;
    quorum queues know none for a whole channel), so a further consumer makes room.
    """

    def __init__(
        self,
        session: Session,
        queue: str,
        callback: Callable[[AbstractIncomingMessage], Awaitable[None]],
        *,
        prefetch: int,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._session = session
        self._queue = queue
        self._callback = callback
        self._prefetch = prefetch
        self._tasks = tasks
        self._room = 0
        self._held = 0

    async def consume(self) -> None:
        """Start the first consumer, or one more when half of the room is taken: it is doubled."""
        if self._room and self._held <= self._room // 2:
            return
        more = min(self._room or self._prefetch, MAX_PREFETCH)
        if self._room:
            log.warning("room_made", queue=self._queue, held=self._held, room=self._room + more)
        await self._session.consume(self._queue, self._callback, prefetch=more)
        self._room += more

    def hold(self, message: AbstractIncomingMessage) -> None:
        """Give the delivery back to its queue after a pause."""
        self._held += 1
        self._tasks.create_task(_offer_again(message)).add_done_callback(self._given_back)

    def _given_back(self, _: asyncio.Task[None]) -> None:
        self._held -= 1


async def _offer_again(message: AbstractIncomingMessage) -> None:
    await asyncio.sleep(HOLD_SECONDS)
    # After the end of the connection the broker has taken it back by itself.
    with suppress(*CONNECTION_EXCEPTIONS):
        await message.nack(requeue=True)
