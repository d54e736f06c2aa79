"""What one queue delivers, on a channel of its own: taken in batches, and in part again later."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from messages.envelope import MAX_BODY_BYTES
from web.broker.connection import Session
from web.broker.errors import BrokerLost
from web.broker.loss import LOST

log = structlog.get_logger(__name__)

#: The most that one batch takes: messages, and bytes of their bodies. A pool has one batch in hand
#: at a time, and the thread of the database takes those of all pools in turn: so long does the
#: flood of one hold up another.
BATCH, BATCH_BYTES = 100, 1024 * 1024

#: Seconds after which a delivery that was handed back to its queue comes again: short enough for a
#: deploy under way, long enough that the log stays readable.
HOLD_SECONDS = 10.0

#: Seconds until what has failed here is tried again. A passing fault is over by then.
PAUSES = (0.2, 1.0, 4.0, 20.0)

#: Deliveries of a queue that wait for that. Of more, each is given up after its first try: a queue
#: full of them must not wait for the pauses of each, nor the database for all their tries. Whose
#: they are shares the places: each may have as many as are left, so that nobody takes the last.
MOST_TRIED = 200

#: Seconds until that is tried again of which not even a trace could be kept: no letter's own fault.
LONGEST_PAUSE = 60.0


@dataclass(eq=False)
class Item:
    """A delivery in hand."""

    message: AbstractIncomingMessage
    #: How often it was tried already.
    tries: int = 0
    #: Whether it lay in the queue before this consumer came.
    old: bool = False


class Inbox:
    """A consumer of one queue. Its end is not the end of the connection, or of other queues'."""

    def __init__(self, session: Session, queue: str, *, prefetch: int) -> None:
        self._session = session
        self._queue = queue
        self._prefetch = prefetch
        self._items: asyncio.Queue[Item | None] = asyncio.Queue()
        #: Messages that lay in the queue, once that is known, and those that have come.
        self._lying: int | None = None
        self._taken = 0
        self._handing_back: set[asyncio.Task[None]] = set()
        self._trying: set[asyncio.Task[None]] = set()
        #: How many of those are whose.
        self._whose: Counter[str] = Counter()
        self._channel: AbstractChannel | None = None

    async def __aenter__(self) -> Self:
        """Begin to consume; raises `TopologyMissing` where the queue is not there."""
        self._channel, self._lying = await self._session.consume(
            self._queue, self._take, prefetch=self._prefetch, ended=self._ended
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for task in self._handing_back | self._trying:
            task.cancel()
        # What is not settled goes back to the queue. Cancelled, the connection is closed by whoever
        # has cancelled.
        if self._channel is not None and not isinstance(error, asyncio.CancelledError):
            with suppress(*CONNECTION_EXCEPTIONS, *LOST):
                await self._channel.close()

    async def batch(self, most: int = BATCH, most_bytes: int = BATCH_BYTES) -> list[Item]:
        """The next deliveries, at least one; raises `BrokerLost` when no more can come."""
        items: list[Item] = []
        size = 0
        while not items or (len(items) < most and size < most_bytes and not self._items.empty()):
            item = await self._items.get()
            if item is None:
                raise BrokerLost(f"the consumer of {self._queue} ended")
            items.append(item)
            size += len(item.message.body)
        return items

    @property
    def held(self) -> int:
        """Deliveries that go back to the queue later, and use up the prefetch until then."""
        return len(self._handing_back)

    def try_again(self, item: Item, whose: str) -> bool:
        """Have it in a later batch, after the next of `PAUSES`; it stays ours.

        False when there is none left, or no place for one more of theirs.
        """
        left = MOST_TRIED - self._whose.total()
        if item.tries >= len(PAUSES) or self._whose[whose] >= left:
            return False
        self._again(item, PAUSES[item.tries], whose)
        return True

    def keep_back(self, item: Item, whose: str) -> None:
        """Have it in a later batch, whatever has become of its tries."""
        self._again(item, LONGEST_PAUSE, whose)

    def hand_back(self, item: Item, seconds: float = HOLD_SECONDS) -> None:
        """Give it back to its queue after a pause; whoever can read it by then may take it."""
        _after(seconds, lambda: _handed_back(item.message), self._handing_back)

    def _again(self, item: Item, seconds: float, whose: str) -> None:
        async def put_back() -> None:
            self._whose[whose] -= 1
            self._items.put_nowait(Item(item.message, item.tries + 1, item.old))

        self._whose[whose] += 1
        _after(seconds, put_back, self._trying)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        # The first ones may come before their number is known.
        old = self._lying is None or self._taken < self._lying
        self._taken += 1
        if message.body_size > MAX_BODY_BYTES:
            # No message of ours, by one byte as by a million: the rest is not kept in memory, for
            # each of a whole prefetch. `body_size` goes on naming the size that it came with.
            message.body = message.body[: MAX_BODY_BYTES + 1]  # type: ignore[misc] # of its class
        self._items.put_nowait(Item(message, old=old))

    def _ended(self, *_: object) -> None:
        self._items.put_nowait(None)


def _after(
    seconds: float, what: Callable[[], Awaitable[None]], among: set[asyncio.Task[None]]
) -> None:
    async def wait() -> None:
        await asyncio.sleep(seconds)
        await what()

    task = asyncio.create_task(wait())
    among.add(task)
    task.add_done_callback(among.discard)


async def _handed_back(message: AbstractIncomingMessage) -> None:
    # After the end of the channel the broker has taken it back by itself.
    with suppress(*CONNECTION_EXCEPTIONS, *LOST):
        await message.nack(requeue=True)
