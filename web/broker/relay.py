"""Outbox rows become confirmed messages.

A row is leased by compare-and-swap, published, and marked once the broker has confirmed it, with
those that were confirmed at about the same time. A crash in between leaves the lease to run out;
the row is then published again under the same `message_id`, and the lab's derived identities make
the second copy harmless.

A broker in alarm confirms nothing for as long as that lasts, and keeps what it was sent: while the
connection lives the relay waits, renews the leases and sends no more. Published again is on a new
connection only.

What one destination does not take, such as the full queue of a pool, waits alone: rows of others
are taken and published as ever. Each destination has a channel of its own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
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
from web.broker.destination import BATCH, CONFIRM_SECONDS, Destination, destination_of
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

#: Seconds between looks at what owes an answer.
WATCH_SECONDS = 1.0

#: What the relay publishes to. Not the exchanges for cancels of each pool: one that is missing
#: refuses its own.
NEEDS = Needs(exchanges=(REQUESTS,))


class Relay:
    """Publishes what the outbox holds. One per process; several processes share the outbox."""

    def __init__(self, urls: Sequence[str], database: DatabaseThread) -> None:
        self._urls = urls
        self._database = database
        self._turn_due = asyncio.Event()
        #: Rows that this process has just committed: no need to look for them.
        self._fresh: list[Outbox] = []
        #: When the outbox is looked through at the latest, by the loop's clock.
        self._next_look = 0.0
        #: By name. They outlast a connection: what took nothing is tried with one row then, too.
        self._destinations: dict[str, Destination] = {}
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
            await end([working], time_budget=CHILD_SECONDS)

    async def attend(self, session: Session) -> None:
        """Work until the connection ends."""
        self._alarm = Alarm(session)
        await session.run(self._relay(session), self._alarm.watch())

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
        self._turn_due.set()

    async def _relay(self, session: Session) -> None:
        lease = uuid4()
        for destination in self._destinations.values():
            destination.connection_ended()
        channels: dict[str, Publisher] = {}

        def send(row: Outbox) -> bool:
            destination = self._destination(row)
            now = self._loop.time()
            if not destination.room(now):
                # Trouble has begun while the rows were taken.
                return False
            if destination.held and (old := channels.pop(destination.name, None)):
                # A trial is made on another one.
                flight.create_task(old.close())
            publisher = channels.setdefault(destination.name, Publisher(session))
            task = flight.create_task(self._publish(publisher, row, destination, lease))
            destination.sent(row.pk, task, now)
            self._publishing.add(task)
            task.add_done_callback(self._publishing.discard)
            return True

        try:
            async with asyncio.TaskGroup() as flight:
                flight.create_task(self._renew(lease))
                flight.create_task(self._watch(lease))
                flight.create_task(self._marks.keep_marking(SETTLE_SECONDS))
                while True:
                    self._turn_due.clear()
                    rows = await self._leased(lease)
                    spare = [row.pk for row in rows if not send(row)]
                    if spare:
                        await self._quietly(leases.free, lease, spare)
                    if not rows:
                        await self._wait()
        finally:
            await asyncio.shield(self._end(lease))

    async def _end(self, lease: UUID) -> None:
        await self._marks.mark()
        # What was in flight is free at once, and not only after the lease.
        await self._quietly(leases.give_back, lease)

    async def _wait(self) -> None:
        # Not `wait_for`, which in Python 3.11 can lose a cancel that comes with the event.
        with suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._turn_due.wait()

    def _destination(self, row: Outbox) -> Destination:
        name = destination_of(row.exchange, row.routing_key)
        return self._destinations.setdefault(name, Destination(name))

    async def _leased(self, lease: UUID) -> list[Outbox]:
        # What nobody has sent can still be taken back: what finds no room now is left where it is,
        # and a look finds it.
        fresh, self._fresh = self._fresh, []
        if self._stopping or self._in_alarm:
            return []
        now = self._loop.time()
        rooms = {name: one.room(now) for name, one in self._destinations.items()}
        written = len(fresh)
        fresh = [row for row in fresh if self._took_room(row, rooms)]
        some_wait = len(fresh) < written
        rows = []
        try:
            if fresh:
                rows = await self._database.run(leases.take_fresh, lease, fresh)
            # Also while clicks come one after the other: what was put off or left by others waits.
            if now >= self._next_look or not fresh or some_wait:
                found = await self._database.run(leases.take, lease, BATCH, rooms)
                self._looked(found, rooms)
                rows += found
                self._next_look = self._loop.time() + POLL_SECONDS
        except DatabaseAway as exc:
            log.warning("outbox_unreadable", detail=str(exc))
            for one in self._destinations.values():
                one.backlog = True
        if self._stopping:
            # Given back with the lease.
            return []
        # A lease that could not be renewed in time is ours again by that look.
        flying = self._flying()
        return [row for row in rows if row.pk not in flying]

    def _took_room(self, row: Outbox, rooms: dict[str, int]) -> bool:
        destination = self._destination(row)
        room = rooms.setdefault(destination.name, destination.room(self._loop.time()))
        if destination.backlog or room <= 0:
            # The oldest goes first, also as a trial.
            destination.backlog = True
            return False
        rooms[destination.name] = room - 1
        return True

    def _looked(self, rows: Sequence[Outbox], rooms: dict[str, int]) -> None:
        taken = Counter(self._destination(row).name for row in rows)
        for name, destination in self._destinations.items():
            full = taken[name] >= rooms.get(name, BATCH)
            destination.backlog = full or destination.held

    def _flying(self) -> set[int]:
        return set().union(*(one.flying for one in self._destinations.values()))

    async def _renew(self, lease: UUID) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if flying := self._flying():
                await self._quietly(leases.renew, lease, list(flying))

    async def _watch(self, lease: UUID) -> None:
        """Hold back what goes to a destination that owes an answer."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            now = self._loop.time()
            for destination in list(self._destinations.values()):
                if self._in_alarm:
                    # It is everybody's, and said by itself; the answers come after it.
                    destination.heard_at = now
                owed = destination.owes(now)
                if owed > destination.time_budget:
                    destination.give_up(now)
                elif owed > CONFIRM_SECONDS:
                    destination.hold(now, "unconfirmed")
                destination.look(now)
                await self._free(destination, lease)

    async def _publish(
        self, publisher: Publisher, row: Outbox, destination: Destination, lease: UUID
    ) -> None:
        answer = await publisher.publish(row)
        now = self._loop.time()
        match answer:
            case Answer.CONFIRMED:
                destination.confirmed(row.pk, now)
                self._marks.add(Sent(row.pk, timezone.now()))
            case Answer.REFUSED | Answer.MISSING:
                destination.refused(row.pk, now, answer.value)
                await self._free(destination, lease)
            case Answer.INTERRUPTED:
                # The session notices its end by itself, and the lease is given back then.
                destination.drop(row.pk)
            case Answer.FAULT:
                destination.drop(row.pk)
                await self._quietly(leases.put_off, row.pk)

    async def _free(self, destination: Destination, lease: UUID) -> None:
        """Free what was not taken, once all that was sent with it is answered."""
        if destination.returned and not destination.unanswered:
            row_ids, destination.returned = destination.returned, []
            await self._quietly(leases.free, lease, row_ids)

    def _landed(self, row_ids: Collection[int]) -> None:
        for destination in self._destinations.values():
            if destination.width < BATCH or len(destination.flying) == BATCH:
                # The next rows may be waiting for room.
                self._turn_due.set()
            destination.flying.difference_update(row_ids)

    async def _quietly(self, function: Callable[P, None], *args: P.args, **kw: P.kwargs) -> None:
        try:
            await self._database.run(function, *args, **kw)
        except DatabaseAway as exc:
            log.warning("outbox_unwritable", detail=str(exc))
