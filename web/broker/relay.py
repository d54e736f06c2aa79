"""Outbox rows become confirmed messages.

A row is leased by compare-and-swap, published, and marked once the broker has confirmed it. A
crash in between leaves the lease to run out; the row is then published again under the same
`message_id`, and the lab's derived identities make the second copy harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, DeliveryError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from messages.envelope import CONTENT_TYPE
from messages.request import InferenceRequested
from messages.topology import REQUESTS
from web.broker.connection import Needs, Session, supervise
from web.database import DatabaseAway, DatabaseThread
from web.inference.models import Outbox
from web.inference.outbox import APP_ID, written
from web.inference.record import record_published
from web.live import notify

log = structlog.get_logger(__name__)

#: Seconds between looks at the outbox when no commit wakes the relay: after a restart, or when
#: another process wrote.
POLL_SECONDS = 1.0

#: Seconds that the broker may take to confirm. It is a millisecond unless the broker is in alarm.
CONFIRM_SECONDS = 10.0

#: Seconds that a row stays with the relay that took it; longer than a confirm can take.
LEASE_SECONDS = 15

#: Seconds until a row that the broker refused (full, unroutable) is tried again.
REFUSED_SECONDS = 5

#: Rows taken at once, and thereby the most messages in flight for one look.
BATCH = 50

#: What the relay publishes to.
NEEDS = Needs(exchanges=(REQUESTS,))


class Relay:
    """Publishes what the outbox holds. One per process; several processes share the outbox."""

    def __init__(self, urls: Sequence[str], database: DatabaseThread) -> None:
        self._urls = urls
        self._database = database
        self._bell = asyncio.Event()
        #: Rows that this process has just committed: no need to look for them.
        self._fresh: list[Outbox] = []
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
        try:
            async with asyncio.TaskGroup() as flight:
                while True:
                    self._bell.clear()
                    rows = await self._leased(lease)
                    for row in rows:
                        flight.create_task(self._publish(channel, user, row))
                    if not rows:
                        await self._wait()
        finally:
            # What was in flight is free at once, and not only after the lease.
            await asyncio.shield(self._quietly(lease))

    async def _wait(self) -> None:
        # Not `wait_for`, which in Python 3.11 can lose a cancel that comes with the bell.
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._bell.wait()

    async def _leased(self, lease: UUID) -> list[Outbox]:
        fresh, self._fresh = self._fresh[:BATCH], []
        try:
            if fresh:
                return await self._database.run(take_fresh, lease, fresh)
            return await self._database.run(take, lease, BATCH)
        except DatabaseAway as exc:
            log.warning("outbox_unreadable", detail=str(exc))
            return []

    async def _publish(self, channel: AbstractChannel, user: str, row: Outbox) -> None:
        exchange = await channel.get_exchange(row.exchange, ensure=False)
        try:
            await exchange.publish(
                _message(row, user), row.routing_key, mandatory=True, timeout=CONFIRM_SECONDS
            )
        except DeliveryError as exc:
            log.warning(
                "publish_refused",
                request_id=str(row.request_id),
                routing_key=row.routing_key,
                error=type(exc).__name__,
            )
            await self._try_database(refused, row.pk)
            return
        except TimeoutError:
            # Perhaps it arrived: published again after the lease, under the same message_id.
            log.warning("publish_unconfirmed", request_id=str(row.request_id))
            return
        except CONNECTION_EXCEPTIONS as exc:
            # The session notices its end by itself, and the lease is given back then.
            log.warning(
                "publish_interrupted", request_id=str(row.request_id), error=type(exc).__name__
            )
            return
        log.info("request_published", request_id=str(row.request_id), message=row.type)
        if await self._try_database(mark_sent, row.pk):
            await notify.requests_changed([row.request_id])

    async def _try_database(self, function: Callable[[int], bool], row_id: int) -> bool:
        try:
            return await self._database.run(function, row_id)
        except DatabaseAway as exc:
            # The lease runs out, and the row is published once more.
            log.warning("outbox_unwritable", detail=str(exc))
            return False

    async def _quietly(self, lease: UUID) -> None:
        try:
            await self._database.run(give_back, lease)
        except DatabaseAway as exc:
            log.warning("outbox_unwritable", detail=str(exc))


def take_fresh(lease: UUID, rows: Sequence[Outbox]) -> list[Outbox]:
    """Lease rows that were just written; the short way, as a reader waits for them.

    Row by row: a look at the outbox may have taken one already, under the very same lease.
    """
    now = timezone.now()
    until = now + timedelta(seconds=LEASE_SECONDS)
    free = _free(now)
    return [r for r in rows if free.filter(pk=r.pk).update(lease=lease, leased_until=until)]


def take(lease: UUID, limit: int) -> list[Outbox]:
    """Lease the oldest free rows; a row that another relay took in between is left out."""
    now = timezone.now()
    free = _free(now)
    ids = list(free.order_by("id").values_list("id", flat=True)[:limit])
    if not ids:
        return []
    until = now + timedelta(seconds=LEASE_SECONDS)
    free.filter(id__in=ids).update(lease=lease, leased_until=until)
    return list(Outbox.objects.filter(id__in=ids, lease=lease, sent_at=None).order_by("id"))


def _free(now: datetime) -> QuerySet[Outbox]:
    return Outbox.objects.filter(Q(leased_until=None) | Q(leased_until__lt=now), sent_at=None)


def give_back(lease: UUID) -> None:
    """Free what a relay has leased and not sent."""
    Outbox.objects.filter(lease=lease, sent_at=None).update(lease=None, leased_until=None)


def refused(row_id: int) -> bool:
    """Try the row again in a while."""
    until = timezone.now() + timedelta(seconds=REFUSED_SECONDS)
    return Outbox.objects.filter(pk=row_id).update(lease=None, leased_until=until) > 0


def mark_sent(row_id: int) -> bool:
    """Mark the row as confirmed; return whether its request changed."""
    with transaction.atomic():
        row = Outbox.objects.filter(pk=row_id, sent_at=None).first()
        if row is None:
            return False
        row.sent_at = timezone.now()
        row.leased_until = None
        row.save(update_fields=["sent_at", "leased_until"])
        if row.type != InferenceRequested.wire_type():
            return False
        return record_published(row.request_id)


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
