"""Outbox rows become confirmed messages.

A row is leased by compare-and-swap, published, and marked once the broker has confirmed it, with
those that were confirmed at about the same time. A crash in between leaves the lease to run out;
the row is then published again under the same `message_id`, and the lab's derived identities make
the second copy harmless.

A broker in alarm confirms nothing for as long as that lasts, and keeps what it was sent: while the
connection lives the relay waits, renews the leases and sends no more. Published again is on a new
connection only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import ParamSpec
from uuid import UUID, uuid4

import structlog
from django.utils import timezone

from messages.topology import REQUESTS
from web.broker import leases
from web.broker.alarm import Alarm
from web.broker.connection import Needs, Session, supervise
from web.broker.errors import BrokerLost
from web.broker.leases import Sent
from web.broker.marks import Marks
from web.broker.publisher import Answer, Publisher
from web.cancellation import CHILD_SECONDS, end
from web.database import DatabaseAway, DatabaseThread
from web.inference.models import Outbox
from web.inference.outbox import written

log = structlog.get_logger(__name__)

P = ParamSpec("P")

#: Seconds between looks at the outbox when no commit wakes the relay: after a restart, or when
#: another process wrote.
POLL_SECONDS = 1.0

#: Seconds between renewals of the leases in flight: a third of a lease.
RENEW_SECONDS = 5.0

#: Seconds for which confirmed rows gather before one transaction marks them all. On SQLite the
#: lab's first event waits for the same thread: its commit, which a reader sees, goes first.
SETTLE_SECONDS = 0.05

#: Seconds that a relay which is stopped waits for the confirms of what it has sent. Less than the
#: time after which a cancelled task is cancelled once more.
FINISH_SECONDS = 3.0

#: Messages in flight at once, and thereby the most rows that one look takes.
BATCH = 50

#: What the relay publishes to. Not the exchanges for cancels of each pool: one that is missing
#: refuses its own.
NEEDS = Needs(exchanges=(REQUESTS,))


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
        #: Rows that are leased and not marked yet.
        self._flying: set[int] = set()
        #: One task for each message whose confirm is still to come.
        self._publishing: set[asyncio.Task[None]] = set()
        self._marks = Marks(database, self._landed)
        self._alarm: Alarm | None = None
        self._stopping = False
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Work until cancelled; what the broker has got by then is still marked."""
        written.connect(self._ring)
        working = asyncio.create_task(supervise("relay", self._urls, NEEDS, self.attend))
        try:
            await asyncio.shield(working)
        finally:
            written.disconnect(self._ring)
            await self._finish()
            await end([working], patience=CHILD_SECONDS)

    async def attend(self, session: Session) -> None:
        """Work until the connection ends."""
        self._alarm = Alarm(session)
        publisher = Publisher(await session.channel(), session, self._alarm)
        await session.run(self._relay(publisher), self._alarm.watch())

    async def _finish(self) -> None:
        """Send no more, and wait for the confirms that are on their way."""
        self._stopping = True
        if self._publishing and not self._in_alarm:
            await asyncio.wait(self._publishing, timeout=FINISH_SECONDS)

    @property
    def _in_alarm(self) -> bool:
        return self._alarm is not None and self._alarm.on

    def _ring(self, row: Outbox, **_: object) -> None:
        # Called in the thread that committed.
        self._loop.call_soon_threadsafe(self._written, row)

    def _written(self, row: Outbox) -> None:
        self._fresh.append(row)
        self._bell.set()

    async def _relay(self, publisher: Publisher) -> None:
        lease = uuid4()
        # What an earlier connection had in flight ended with it.
        self._flying = set()
        try:
            async with asyncio.TaskGroup() as flight:
                flight.create_task(self._renew(lease))
                flight.create_task(self._marks.keep_marking(SETTLE_SECONDS))
                while True:
                    self._bell.clear()
                    rows = await self._leased(lease)
                    for row in rows:
                        self._flying.add(row.pk)
                        task = flight.create_task(self._publish(publisher, row))
                        self._publishing.add(task)
                        task.add_done_callback(self._publishing.discard)
                    if not rows:
                        await self._wait()
        finally:
            await asyncio.shield(self._end(lease))

    async def _end(self, lease: UUID) -> None:
        await self._marks.mark()
        # What was in flight is free at once, and not only after the lease.
        await self._quietly(leases.give_back, lease)

    async def _wait(self) -> None:
        # Not `wait_for`, which in Python 3.11 can lose a cancel that comes with the bell.
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._bell.wait()

    async def _leased(self, lease: UUID) -> list[Outbox]:
        if self._in_alarm:
            # What nobody has sent can still be taken back. A look finds it when that is over.
            self._fresh.clear()
        room = BATCH - len(self._flying)
        if not room or self._stopping or self._in_alarm:
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
        if self._stopping:
            # Given back with the lease.
            return []
        # A lease that could not be renewed in time is ours again by that look.
        return [row for row in rows if row.pk not in self._flying]

    async def _renew(self, lease: UUID) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if self._flying:
                await self._quietly(leases.renew, lease, list(self._flying))

    async def _publish(self, publisher: Publisher, row: Outbox) -> None:
        answer = await publisher.publish(row)
        if answer is Answer.CONFIRMED:
            self._marks.add(Sent(row.pk, timezone.now()))
            return
        if answer is Answer.REFUSED:
            await self._quietly(leases.refused, row.pk)
        self._flying.discard(row.pk)
        if publisher.stuck:
            log.warning("publish_stuck", detail="all was refused; tried on another connection")
            raise BrokerLost("every request was refused")

    def _landed(self, row_ids: Collection[int]) -> None:
        if len(self._flying) == BATCH:
            # The next rows were waiting for room.
            self._bell.set()
        self._flying.difference_update(row_ids)

    async def _quietly(self, function: Callable[P, None], *args: P.args, **kw: P.kwargs) -> None:
        try:
            await self._database.run(function, *args, **kw)
        except DatabaseAway as exc:
            log.warning("outbox_unwritable", detail=str(exc))
