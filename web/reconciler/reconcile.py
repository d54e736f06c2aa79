"""The reconciler: every few seconds it looks for requests that nobody will ever tell of again.

Rows are compared with what the broker, the labs and the archive say. Of several site processes
one does it at a time; two at once would only do the same work twice, since each decision is taken
again under the row's lock. A fault in one rule or at one row is logged and keeps no other from
its turn.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_save
from django.utils import timezone

from web import notify
from web.cancellation import heed_cancel
from web.confirming.look import StoredObjects
from web.database import DatabaseAway, DatabaseThread
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.orthanc.errors import ArchiveError
from web.orthanc.time_budget import MOST_UNANSWERED
from web.reconciler import archived, arriving, lost, overdue, taken_up, unclaimed
from web.reconciler.archive_turns import ArchiveTurns
from web.reconciler.backlog import Backlog, Backlogs
from web.reconciler.broker_view import BrokerView
from web.reconciler.lease import LeaseKeeper
from web.reconciler.lost import Missing
from web.reconciler.pace import Pace
from web.reconciler.releases import Releases
from web.reconciler.sweep import sweep_due
from web.reconciler.unfinished import pools_of_unfinished

log = structlog.get_logger(__name__)

#: Name of the lease.
LEASE = "reconciler"

#: Seconds for which changes that wake the reconciler gather before its turn.
GATHER_SECONDS = 0.05

#: Cancelled requests that are swept in one step.
SWEEPS = 10


class Reconciler:
    """The task of one site process. `errands` is the thread that speaks with the archive."""

    def __init__(
        self,
        database: DatabaseThread,
        errands: DatabaseThread,
        broker_view: BrokerView,
        pace: Pace | None = None,
    ) -> None:
        self._database = database
        self._errands = errands
        self._broker_view = broker_view
        self._pace = pace or Pace()
        self._lease = LeaseKeeper(
            LEASE,
            database,
            lease_s=self._pace.lease_s,
            every_s=self._pace.turn_s,
            on_taken=self._begin,
        )
        self._began = time.monotonic()
        #: Requests that look lost, and since when by the monotonic clock.
        self._missing: dict[Missing, float] = {}
        self._backlogs = Backlogs()
        self._releases = Releases()
        self._turns = ArchiveTurns()
        #: Whether the log says already that the archive does not answer.
        self._archive_silent = False
        #: Whether the archive has answered in this turn, and whether it has left a question open.
        self._answered = self._unanswered = False
        self._turn_due = asyncio.Event()
        self._woken = -math.inf
        self._waking: asyncio.TimerHandle | None = None
        self._cancel_asked = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Work until cancelled."""
        post_save.connect(self._saved, sender=InferenceRequest)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._lease.run())
                tasks.create_task(self._work())
                tasks.create_task(self._settle_soon())
        finally:
            post_save.disconnect(self._saved, sender=InferenceRequest)
            await asyncio.shield(self._lease.give_back())

    def _begin(self) -> None:
        # What another process saw in the meantime, this one did not.
        self._missing = {}
        self._backlogs = Backlogs()
        self._releases = Releases()
        self._turns = ArchiveTurns()
        self._turn_due.set()

    def _saved(
        self, instance: InferenceRequest, update_fields: Iterable[str] | None, **_: object
    ) -> None:
        # In the thread of whoever saved, within their transaction.
        if "sweep_due_at" in (update_fields or ()) and instance.sweep_due_at is not None:
            self._on_commit(self._wake)
        if "state" in (update_fields or ()) and instance.state == State.CANCELLING:
            self._on_commit(self._cancel_asked.set)

    def _on_commit(self, act: Callable[[], None]) -> None:
        transaction.on_commit(partial(self._loop.call_soon_threadsafe, act), robust=True)

    def _wake(self) -> None:
        """Begin a turn, at most one in so many seconds: a lab can repeat itself without end."""
        if self._waking is None:
            soon = max(0.0, self._woken + self._pace.wake_s - self._loop.time())
            self._waking = self._loop.call_later(soon, self._awake)

    def _awake(self) -> None:
        self._waking, self._woken = None, self._loop.time()
        self._turn_due.set()

    async def _work(self) -> None:
        while True:
            self._turn_due.clear()
            if self._lease.holds:
                await self._turn()
            # Not `wait_for`, which in Python 3.11 can lose a cancel that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.turn_s):
                    await self._turn_due.wait()
            await asyncio.sleep(GATHER_SECONDS)

    async def _turn(self) -> None:
        self._answered = self._unanswered = False
        self._turns.begin()
        for rule in (
            self._expire,
            # Before what is overdue: what a lab has swallowed is sent again, and not ended.
            self._find_lost,
            self._end_overdue,
            self._settle,
            self._release,
            self._sweep,
            self._take_up,
        ):
            try:
                await rule()
            except DatabaseAway as exc:
                log.warning("reconciler_waits", rule=rule.__name__, detail=str(exc))
                # What came meanwhile lies in its queue, and is to be read first.
                self._began = time.monotonic()
                return
            except Exception:
                log.exception("rule_failed", rule=rule.__name__)
            # A library may raise its own error in the place of a cancel, and there is only one:
            # this is one of a group of tasks.
            heed_cancel()
        if self._answered and not self._unanswered:
            # Not after the first answer: an archive that always fails at the same request answers
            # for the others, and the log would say so at every turn.
            self._archive_silent = False

    async def _expire(self) -> None:
        """Nobody has taken it for days."""
        if self._caught_up():
            after_s = settings.SITE.request_expires_seconds
            limits = await self._database.run(overdue.expired, after_s)
            await self._end_each(limits, lambda pk: overdue.expire(pk, after_s))

    async def _end_overdue(self) -> None:
        """It took longer than it may."""
        if self._caught_up():
            grace_s = self._pace.grace_s
            limits = await self._database.run(overdue.overdue, grace_s)
            # What looks lost is about to be sent again. Not for longer: all ends.
            young = time.monotonic() - self._pace.sure_s - grace_s
            lost_soon = {one.request_id for one, since in self._missing.items() if since > young}
            limits = {pk: at for pk, at in limits.items() if pk not in lost_soon}
            await self._end_each(limits, lambda pk: overdue.end_overdue(pk, grace_s))

    async def _end_each(self, limits: dict[UUID, datetime], end: Callable[[UUID], bool]) -> None:
        """End what is over its limit, unless only the news of its result was lost."""
        time_budget = timedelta(seconds=self._pace.grace_s + self._pace.archive_s)

        async def record_or_end(pk: UUID) -> bool:
            result = await self._stored(pk, limits[pk] + time_budget)
            if result is not None and await self._record_found(pk, result):
                return True
            return await self._database.run(end, pk)

        await self._each_looked_for(limits, record_or_end)

    async def _settle(self) -> None:
        """Its cancel was asked, and nobody is there to confirm it."""
        found = await self._database.run(unclaimed.unanswered_cancels, self._pace.cancel_s)
        await self._settle_each(found)
        # One that was asked of another program, which wakes nobody here.
        await self._settle_untaken()

    async def _settle_untaken(self) -> None:
        """Its cancel was asked while it was in a queue: no lab will say anything of it."""
        found = await self._database.run(unclaimed.untaken_cancels, self._pace.untaken_s)
        await self._settle_each(found)

    async def _settle_each(self, found: Iterable[UUID]) -> None:
        await self._each(found, lambda pk: self._database.run(unclaimed.settle_cancel, pk))

    async def _settle_soon(self) -> None:
        """Soon after a cancel, without waiting for a turn, and whoever has the lease."""
        while True:
            await self._cancel_asked.wait()
            self._cancel_asked.clear()
            await asyncio.sleep(self._pace.untaken_s + GATHER_SECONDS)
            try:
                await self._settle_untaken()
            except DatabaseAway as exc:
                log.warning("reconciler_waits", rule="_settle_untaken", detail=str(exc))
            except Exception:
                log.exception("rule_failed", rule="_settle_untaken")
            heed_cancel()

    async def _find_lost(self) -> None:
        """It is on its way, and nowhere."""
        pace, now = self._pace, time.monotonic()
        found = await self._database.run(lost.missing, pace, await self._look_into_pools())
        # One that was seen somewhere begins anew, and so does one of which something was told.
        self._missing = {one: self._missing.get(one, now) for one in found}
        sure = {m.request_id: m for m, at in self._missing.items() if now - at >= pace.sure_s}

        async def heal(pk: UUID) -> bool:
            time_budget = timedelta(seconds=pace.gone_s + pace.sure_s + pace.archive_s)
            result = await self._stored(pk, sure[pk].due_at + time_budget)
            if result is not None:
                return await self._record_found(pk, result)
            return await self._database.run(lost.send_lost, sure[pk])

        await self._each_looked_for(sure, heal)

    async def _look_into_pools(self) -> dict[str, Backlog | None]:
        """What may wait for the labs of each pool that is heard; None where nothing does."""
        found: dict[str, Backlog | None] = {}
        # The one of this turn: another one begins with each lease.
        backlogs = self._backlogs
        for pool in await self._database.run(lost.pools_to_ask, self._pace):
            since = self._broker_view.since_of(pool)
            if since is None or time.monotonic() - since < self._pace.heard_s:
                continue
            depth = await self._broker_view.depth(lost.queues_of(pool))
            found[pool] = await self._database.run(backlogs.look, pool, depth)
        backlogs.keep(found)
        return found

    async def _release(self) -> None:
        """It was held until the images of its series have arrived, and now they have."""
        releases = self._releases
        try:
            due = await self._errands.run(releases.due)
        except ArchiveError as exc:
            self._say_silent(exc)
            return

        async def release(pk: UUID) -> bool:
            finding = await self._errands.run(releases.look, pk)
            self._answered = True
            return finding is not None and await self._database.run(arriving.release, pk, finding)

        await self._each(due, release)

    async def _sweep(self) -> None:
        """It is cancelled, and nothing of it may stay in the archive."""
        left = math.inf
        # In small steps, between which this can be stopped; without progress in the next turn.
        while 0 < (due := await self._errands.run(sweep_due, SWEEPS)) < left:
            left = due

    async def _record_found(self, pk: UUID, result: StoredObjects) -> bool:
        changed = await self._database.run(archived.record_found, pk, result)
        # The older results too.
        await notify.requests_changed(changed)
        return bool(changed)

    async def _take_up(self) -> None:
        """It was put aside until staff had confirmed its lab, or a newer site had come."""
        left = -1
        while True:
            taken = await self._database.run(taken_up.take_up)
            if taken.changed:
                await notify.requests_changed(taken.changed)
            # Each leaves the pile, or else the rest is for the next turn.
            if not taken.left or taken.left == left:
                return
            left = taken.left

    async def _stored(self, pk: UUID, waits_until: datetime) -> StoredObjects | None:
        """The whole result in the archive; raises `ArchiveError` while an answer is waited for."""
        try:
            with self._turns.looking(pk):
                result = await self._errands.run(archived.whole_result, pk)
        except ArchiveError:
            if timezone.now() < waits_until:
                raise
            log.warning("archive_not_waited_for", request_id=str(pk))
            return None
        self._answered = True
        return result

    async def _each_looked_for(
        self, found: Collection[UUID], act: Callable[[UUID], Awaitable[bool]]
    ) -> None:
        """The same, in an order in which no pool keeps another one from its turn."""
        if found:
            pools = await self._database.run(pools_of_unfinished)
            await self._each(self._turns.in_turn(found, pools), act)

    async def _each(self, found: Iterable[UUID], act: Callable[[UUID], Awaitable[bool]]) -> None:
        """Act on each request by itself, and let the pages know what changed."""
        unanswered = 0
        for pk in found:
            try:
                changed = await act(pk)
            except DatabaseAway:
                raise
            except ArchiveError as exc:
                self._say_silent(exc, request_id=str(pk))
                unanswered += 1
                # The last of these questions is for an image: what lies under the UIDs of some
                # requests may be what the archive fails at, and says nothing of the others.
                if unanswered >= MOST_UNANSWERED - 1:
                    if not await self._hands_out_images(pk):
                        return
                    unanswered = 0
            except Exception:
                log.exception("reconcile_failed", request_id=str(pk))
            else:
                unanswered = 0
                if changed:
                    await notify.requests_changed([pk])

    async def _hands_out_images(self, pk: UUID) -> bool:
        with self._turns.timed(pk):
            return await self._errands.run(archived.hands_out_images, pk)

    def _say_silent(self, error: ArchiveError, **of: str) -> None:
        """Once, and not at every turn."""
        self._unanswered = True
        if not self._archive_silent:
            log.warning("archive_waited_for", detail=str(error), **of)
        self._archive_silent = True

    def _caught_up(self) -> bool:
        """Whether what was told while this process was away has been read.

        Without a broker time ends requests all the same.
        """
        since = max(self._began, self._broker_view.since or 0.0)
        return time.monotonic() - since >= self._pace.heard_s
