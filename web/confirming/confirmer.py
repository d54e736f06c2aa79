"""The task that looks into what labs report: at once, and each pool for itself.

A reader waits for it, so it is woken by the commit that holds the report. Each pool has threads of
its own: a lab that reports thousands of results that are none keeps no other pool waiting.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models.signals import post_save

from web import notify
from web.cancellation import heed_cancel
from web.confirming import owed as owing
from web.confirming.failing import Failing
from web.confirming.owed import Owed
from web.confirming.pace import Pace
from web.database import DatabaseAway, DatabaseThread
from web.inference.models import InferenceRequest
from web.orthanc.errors import ArchiveError
from web.orthanc.time_budget import MOST_UNANSWERED

log = structlog.get_logger(__name__)

#: Reports of a pool that are in hand together.
BATCH = 20

#: Of these the archive is asked at once.
THREADS = 2


class Confirmer:
    """The task of one site process. `thread` makes one, for what is asked of the archive."""

    def __init__(
        self,
        database: DatabaseThread,
        thread: Callable[[str], DatabaseThread],
        pace: Pace | None = None,
    ) -> None:
        self._database = database
        self._thread = thread
        self._pace = pace or Pace()
        self._lanes: dict[str, _Lane] = {}
        self._turn_due = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Work until cancelled."""
        post_save.connect(self._saved, sender=InferenceRequest)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    self._turn_due.clear()
                    await self._begin_lanes(tasks)
                    heed_cancel()
                    await _rung(self._turn_due, self._pace.poll_s)
        finally:
            post_save.disconnect(self._saved, sender=InferenceRequest)

    async def _begin_lanes(self, tasks: asyncio.TaskGroup) -> None:
        """One for each pool of which something is, or once was, reported."""
        try:
            pools = await self._database.run(owing.pools)
        except DatabaseAway as exc:
            log.warning("reports_wait", detail=str(exc))
            return
        except Exception:
            log.exception("reports_wait")
            return
        for pool in pools:
            if pool not in self._lanes:
                threads = [self._thread(f"confirm-{pool}-{n}") for n in range(THREADS)]
                self._lanes[pool] = _Lane(pool, self._database, threads, self._pace)
                self._lanes[pool].start(tasks)

    def _saved(
        self, instance: InferenceRequest, update_fields: Iterable[str] | None, **_: object
    ) -> None:
        # In the thread of whoever saved, within their transaction.
        if "confirm_due_at" in (update_fields or ()):
            lane = self._lanes.get(instance.pool)
            turn_due = self._turn_due if lane is None else lane.turn_due
            transaction.on_commit(
                partial(self._loop.call_soon_threadsafe, turn_due.set), robust=True
            )


async def _rung(turn_due: asyncio.Event, seconds: float) -> None:
    """Wait for the event, and no longer than so many seconds."""
    # Not `wait_for`, which in Python 3.11 can lose a cancel that comes with the event.
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await turn_due.wait()


class _Lane:
    """The reports of one pool."""

    def __init__(
        self, pool: str, database: DatabaseThread, errands: Sequence[DatabaseThread], pace: Pace
    ) -> None:
        self.turn_due = asyncio.Event()
        self._pool = pool
        self._database = database
        self._errands = errands
        self._pace = pace
        #: What is found is read one after the other: there are few places for what is large
        #: (`web.orthanc.heavy`), and the other pools need theirs.
        self._turn = threading.Lock()
        self._queue: asyncio.Queue[Owed] = asyncio.Queue(BATCH)
        self._in_flight: set[UUID] = set()
        #: How often in a row the archive has not answered, by request, and of whatever request.
        self._unanswered: dict[UUID, int] = {}
        self._silences = 0
        #: For how long what the archive holds of a request cannot be read, by request. Not in the
        #: row: a site that was restarted gives it the whole time once more.
        self._failing: dict[UUID, Failing] = {}

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to work."""
        tasks.create_task(self._feed())
        for thread in self._errands:
            tasks.create_task(self._work(thread))

    async def _feed(self) -> None:
        while True:
            self.turn_due.clear()
            found = await self._due()
            for one in found:
                self._in_flight.add(one.request_id)
                await self._queue.put(one)
            heed_cancel()
            if len(found) < BATCH:
                await _rung(self.turn_due, self._pace.poll_s)

    async def _due(self) -> list[Owed]:
        try:
            return await self._database.run(
                owing.due, self._pool, frozenset(self._in_flight), BATCH
            )
        except DatabaseAway as exc:
            log.warning("reports_wait", pool=self._pool, detail=str(exc))
        except Exception:
            log.exception("reports_wait", pool=self._pool)
        return []

    async def _work(self, thread: DatabaseThread) -> None:
        while True:
            one = await self._queue.get()
            try:
                await self._confirm(one, thread)
            except ArchiveError as exc:
                await self._ask_again(one, exc)
            except DatabaseAway as exc:
                log.warning("report_waits", request_id=str(one.request_id), detail=str(exc))
                await asyncio.sleep(self._pace.away_s)
            except Exception:
                log.exception("report_not_looked_into", request_id=str(one.request_id))
                await self._postpone(one, self._pace.fault_s)
            finally:
                self._in_flight.discard(one.request_id)
            heed_cancel()

    async def _confirm(self, one: Owed, thread: DatabaseThread) -> None:
        found = await thread.run(owing.ask_archive, one, self._turn)
        if found is not None:
            self._silences = 0
        if found is not None and found.fails and not self._has_failed_for_long(one):
            await self._wait(one, found.detail)
            return
        self._unanswered.pop(one.request_id, None)
        self._failing.pop(one.request_id, None)
        changed = await self._database.run(owing.settle, one, found, self._pace)
        await notify.requests_changed(changed)

    def _has_failed_for_long(self, one: Owed) -> bool:
        failing = self._failing.setdefault(one.request_id, Failing())
        return failing.failed(time.monotonic()) >= self._pace.failing_s

    async def _ask_again(self, one: Owed, error: ArchiveError) -> None:
        """It has said nothing, and is waited for without end: a reader can still cancel."""
        if one.request_id in self._failing:
            self._failing[one.request_id].away()
        await self._wait(one, "" if self._silences else str(error))
        self._silences += 1
        if self._silences >= MOST_UNANSWERED:
            await asyncio.sleep(self._pace.away_s)

    async def _wait(self, one: Owed, detail: str) -> None:
        before = self._unanswered.get(one.request_id, 0)
        self._unanswered[one.request_id] = before + 1
        if detail and not before:
            log.warning("report_waits", request_id=str(one.request_id), detail=detail)
        waits_s = self._pace.waits_s
        await self._postpone(one, waits_s[min(before, len(waits_s) - 1)])

    async def _postpone(self, one: Owed, seconds: float) -> None:
        try:
            await self._database.run(owing.postpone, one, seconds)
        except DatabaseAway as exc:
            log.warning("report_waits", request_id=str(one.request_id), detail=str(exc))
            await asyncio.sleep(self._pace.away_s)
        except Exception:
            log.exception("report_not_postponed", request_id=str(one.request_id))
            await asyncio.sleep(self._pace.away_s)
