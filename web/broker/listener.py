"""``mri.replies``: outcomes are written down, then acknowledged. Nothing here is a hint.

What settles a delivery:

- ack, after the commit that holds the event (or knew it already, or knows no such request);
- reject without requeue, when it can never be read: it goes to ``mri.dead``;
- nack with requeue, after a pause, when a newer site will read it, or a fault of ours is mended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import UUID

import structlog
from aio_pika.abc import AbstractIncomingMessage
from django.db import transaction

from messages.codec import decode
from messages.errors import UndecodableMessage, UnknownVersion
from messages.events import InferenceCompleted, RunEvent
from messages.topology import POOLS, replies_queue
from web.broker.connection import Session
from web.broker.hold import Holding
from web.database import DatabaseThread, patiently
from web.inference.record import record_event
from web.inference.superseded import with_superseded
from web.live import notify

log = structlog.get_logger(__name__)

#: Deliveries in hand, and so the most that one transaction takes.
PREFETCH = 100

Readable = tuple[AbstractIncomingMessage, RunEvent]


class Listener:
    """Applies the events of labs to requests."""

    def __init__(self, database: DatabaseThread) -> None:
        self._database = database

    async def attend(self, session: Session) -> None:
        """Work until the connection ends."""
        async with asyncio.TaskGroup() as tasks:
            for pool in POOLS:
                tasks.create_task(self._attend_pool(session, pool))

    async def _attend_pool(self, session: Session, pool: str) -> None:
        # Deliveries of an earlier connection cannot be settled on this one.
        inbox: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            holding = Holding(
                session, replies_queue(pool), inbox.put, prefetch=PREFETCH, tasks=tasks
            )
            while True:
                await holding.consume()
                batch = [await inbox.get()]
                while not inbox.empty():
                    batch.append(inbox.get_nowait())
                await self._settle(batch, holding)

    async def _settle(self, batch: Sequence[AbstractIncomingMessage], holding: Holding) -> None:
        readable: list[Readable] = []
        for message in batch:
            try:
                readable.append((message, decoded(message)))
            except UndecodableMessage as exc:
                log.warning("reply_rejected", message_id=message.message_id, detail=str(exc))
                await message.reject(requeue=False)
            except UnknownVersion as exc:
                log.warning("reply_held", message_id=message.message_id, detail=str(exc))
                holding.hold(message)
        try:
            changed = await self._commit(readable)
        except Exception:
            # One of them meets a fault of ours. Alone, each shows whether it is the one.
            log.exception("replies_not_written", count=len(readable))
            for pair in readable:
                await self._alone(pair, holding)
        else:
            await _settled(readable, changed)

    async def _alone(self, pair: Readable, holding: Holding) -> None:
        try:
            changed = await self._commit([pair])
        except Exception:
            # Outcomes are never lost: kept in the queue until a site without the fault comes.
            log.exception("reply_held", request_id=str(pair[1].request_id))
            holding.hold(pair[0])
        else:
            await _settled([pair], changed)

    async def _commit(self, pairs: Sequence[Readable]) -> list[UUID]:
        if not pairs:
            return []
        events = [event for _, event in pairs]
        return await patiently(lambda: self._database.run(write, events))


async def _settled(pairs: Sequence[Readable], changed: Sequence[UUID]) -> None:
    # THE ACK: the events are committed.
    for message, _ in pairs:
        await message.ack()
    await notify.requests_changed(changed)


def decoded(message: AbstractIncomingMessage) -> RunEvent:
    """The event of a delivery; raises as `messages.codec.decode` does."""
    event = decode(message.body, type_=message.type, content_type=message.content_type)
    if not isinstance(event, RunEvent):
        raise UndecodableMessage(f"{event.wire_type()} is no event of a request")
    return event


def write(events: Sequence[RunEvent]) -> list[UUID]:
    """Apply events in one transaction; return the requests that changed, each once.

    With those whose results are superseded now.
    """
    # Whoever locks rows of several requests locks them in this order, or two would wait for each
    # other; the events of one request stay in theirs.
    ordered = sorted(events, key=lambda event: event.request_id)
    with transaction.atomic():
        changed = [event for event in ordered if record_event(event)]
        results = [e.request_id for e in changed if isinstance(e, InferenceCompleted)]
        older = with_superseded(results) if results else []
        return list(dict.fromkeys([*(event.request_id for event in changed), *older]))
