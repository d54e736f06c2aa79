"""Outbox rows become confirmed messages.

A row is leased by compare-and-swap, published, and marked once the broker has confirmed it, with
those that were confirmed at about the same time. A crash in between leaves the lease to run out;
the row is then published again under the same `message_id`, and the lab's derived identities make
the second copy harmless.

A broker in alarm confirms nothing for as long as that lasts, and keeps what it was sent: while the
connection lives the relay waits and renews the lease. Published again is on a new one only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import ParamSpec
from uuid import UUID, uuid4

import structlog
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, DeliveryError
from django.utils import timezone

from messages.envelope import CONTENT_TYPE
from messages.topology import CONTROL, REQUESTS
from web.broker import leases
from web.broker.connection import Needs, Session, supervise
from web.broker.leases import Sent
from web.database import DatabaseAway, DatabaseThread
from web.inference.models import Outbox
from web.inference.outbox import APP_ID, written
from web.live import notify

log = structlog.get_logger(__name__)

P = ParamSpec("P")

#: Seconds between looks at the outbox when no commit wakes the relay: after a restart, or when
#: another process wrote.
POLL_SECONDS = 1.0

#: Seconds without a confirm that are worth a line in the log. It takes a millisecond unless the
#: broker is in alarm.
CONFIRM_SECONDS = 10.0

#: Seconds between renewals of the leases in flight: a third of a lease.
RENEW_SECONDS = 5.0

#: Seconds for which confirmed rows gather before one transaction marks them all. On SQLite the
#: lab's first event waits for the same thread: its commit, which a reader sees, goes first.
SETTLE_SECONDS = 0.05

#: Messages in flight at once, and thereby the most rows that one look takes.
BATCH = 50

#: What the relay publishes to.
NEEDS = Needs(exchanges=(REQUESTS, CONTROL))


class Relay:
    """Publishes what the outbox holds. One per process; several processes share the outbox."""

    def __init__(self, urls: Sequence[str], database: DatabaseThread) -> None:
        self._urls = urls
        self._database = database
        self._bell = asyncio.Event()
        #: Rows that this process has just committed: no need to look for them.
        self._fresh: list[Outbox] = []
        #: When the outbox is looked through at the latest, by the loop's clock.
        self._next_look = 0.0
        #: Rows that are published and not marked yet.
        self._flying: set[int] = set()
        #: Those of them that the broker has confirmed.
        self._sent: list[Sent] = []
        self._confirmations = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Work until cancelled."""
        written.connect(self._ring)
        try:
            await supervise("relay", self._urls, NEEDS, self.attend)
        finally:
            written.disconnect(self._ring)

    async def attend(self, session: Session) -> None:
        """Work until the connection ends."""
        await session.run(self._relay(await session.channel(), session.user))

    def _ring(self, row: Outbox, **_: object) -> None:
        # Called in the thread that committed.
        self._loop.call_soon_threadsafe(self._written, row)

    def _written(self, row: Outbox) -> None:
        self._fresh.append(row)
        self._bell.set()

    async def _relay(self, channel: AbstractChannel, user: str) -> None:
        lease = uuid4()
        # What an earlier connection had in flight ended with it.
        self._flying = set()
        try:
            async with asyncio.TaskGroup() as flight:
                flight.create_task(self._renew(lease))
                flight.create_task(self._settle())
                while True:
                    self._bell.clear()
                    rows = await self._leased(lease)
                    for row in rows:
                        self._flying.add(row.pk)
                        flight.create_task(self._publish(channel, user, row))
                    if not rows:
                        await self._wait()
        finally:
            await asyncio.shield(self._end(lease))

    async def _end(self, lease: UUID) -> None:
        await self._mark()
        # What was in flight is free at once, and not only after the lease.
        await self._quietly(leases.give_back, lease)

    async def _wait(self) -> None:
        # Not `wait_for`, which in Python 3.11 can lose a cancel that comes with the bell.
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._bell.wait()

    async def _leased(self, lease: UUID) -> list[Outbox]:
        room = BATCH - len(self._flying)
        if not room:
            return []
        fresh, self._fresh = self._fresh[:room], self._fresh[room:]
        # Also while clicks come one after the other: what was put off or left by others waits.
        due = self._loop.time() >= self._next_look
        rows = []
        try:
            if fresh:
                rows = await self._database.run(leases.take_fresh, lease, fresh)
            if (due or not fresh) and room > len(rows):
                rows += await self._database.run(leases.take, lease, room - len(rows))
                self._next_look = self._loop.time() + POLL_SECONDS
        except DatabaseAway as exc:
            log.warning("outbox_unreadable", detail=str(exc))
        # A lease that could not be renewed in time is ours again by that look.
        return [row for row in rows if row.pk not in self._flying]

    async def _renew(self, lease: UUID) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if self._flying:
                await self._quietly(leases.renew, lease, list(self._flying))

    async def _publish(self, channel: AbstractChannel, user: str, row: Outbox) -> None:
        late = self._loop.call_later(CONFIRM_SECONDS, _say_late, row)
        try:
            confirmed = await self._confirmed(channel, user, row)
        finally:
            late.cancel()
        if confirmed:
            self._sent.append(Sent(row.pk, timezone.now()))
            self._confirmations.set()
        else:
            self._flying.discard(row.pk)

    async def _confirmed(self, channel: AbstractChannel, user: str, row: Outbox) -> bool:
        exchange = await channel.get_exchange(row.exchange, ensure=False)
        # A lab that is away has no control queue; it is told again when it takes the request.
        must_arrive = row.exchange != CONTROL
        try:
            await exchange.publish(_message(row, user), row.routing_key, mandatory=must_arrive)
        except DeliveryError as exc:
            log.warning(
                "publish_refused",
                request_id=str(row.request_id),
                routing_key=row.routing_key,
                error=type(exc).__name__,
            )
            await self._quietly(leases.refused, row.pk)
            return False
        except CONNECTION_EXCEPTIONS as exc:
            # The session notices its end by itself, and the lease is given back then.
            log.warning(
                "publish_interrupted", request_id=str(row.request_id), error=type(exc).__name__
            )
            return False
        log.info("request_published", request_id=str(row.request_id), message=row.type)
        return True

    async def _settle(self) -> None:
        while True:
            await self._confirmations.wait()
            self._confirmations.clear()
            await asyncio.sleep(SETTLE_SECONDS)
            await self._mark()

    async def _mark(self) -> None:
        sent, self._sent = self._sent, []
        if not sent:
            return
        try:
            changed = await self._marked(sent)
        except DatabaseAway as exc:
            # Their leases are renewed meanwhile: nobody publishes them once more.
            log.warning("outbox_unwritable", detail=str(exc))
            self._sent = sent + self._sent
            self._loop.call_later(POLL_SECONDS, self._confirmations.set)
            return
        except asyncio.CancelledError:
            # It may not have begun: `_end` does it, and a second time is harmless.
            self._sent = sent + self._sent
            raise
        if len(self._flying) == BATCH:
            # The next rows were waiting for room.
            self._bell.set()
        self._flying.difference_update(item.row_id for item in sent)
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

    async def _quietly(self, function: Callable[P, None], *args: P.args, **kw: P.kwargs) -> None:
        try:
            await self._database.run(function, *args, **kw)
        except DatabaseAway as exc:
            log.warning("outbox_unwritable", detail=str(exc))


def _say_late(row: Outbox) -> None:
    log.warning("publish_unconfirmed", request_id=str(row.request_id), seconds=CONFIRM_SECONDS)


def _message(row: Outbox, user: str) -> Message:
    return Message(
        bytes(row.body),
        content_type=CONTENT_TYPE,
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=str(row.message_id),
        correlation_id=str(row.request_id),
        type=row.type,
        timestamp=row.created_at,
        app_id=APP_ID,
        user_id=user,
        headers=row.headers,
    )
