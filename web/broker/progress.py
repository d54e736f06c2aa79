"""``mri.progress``: hints. The newest of each request and lab is written; what is lost is lost.

Consumed without acknowledgements: the broker keeps them a minute at most, an outcome never comes
this way, and an ack for each would only slow down what is already out of date.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import structlog
from aio_pika.abc import AbstractIncomingMessage
from django.db import transaction

from messages.codec import decode
from messages.errors import ContractError
from messages.events import InferenceProgressed
from messages.lab import LabHeartbeat
from messages.topology import POOLS, progress_queue
from web.broker.connection import Session
from web.database import DatabaseAway, DatabaseThread
from web.inference.cancel import stop_unwanted
from web.inference.record import record
from web.labs.heartbeats import record_heartbeat
from web.live import notify

log = structlog.get_logger(__name__)

#: Seconds between writes: a reader sees no more than five steps a second, and the disk no more
#: than five commits, however many steps a lab tells.
WRITE_SECONDS = 0.2


#: A heartbeat, and when it was sent if it lay in the queue while the site was away: it may be a
#: minute old, and its lab gone. By the lab's clock, which may be wrong: one that has just come is
#: dated by ours.
Beat = tuple[LabHeartbeat, datetime | None]


class ProgressFeed:
    """Keeps the newest hint of each request and lab, and writes them now and then."""

    def __init__(self, database: DatabaseThread) -> None:
        self._database = database
        self._steps: dict[UUID, InferenceProgressed] = {}
        self._beats: dict[str, Beat] = {}
        #: Messages still to come that lay in the queue before this connection, once counted.
        self._old = 0
        self._counted = False
        self._something = asyncio.Event()

    async def attend(self, session: Session) -> None:
        """Work until the connection ends."""
        # The prefetch does not count without acknowledgements.
        self._old, self._counted = 0, False
        lying = 0
        for pool in POOLS:
            queue = progress_queue(pool)
            lying += await session.consume(queue, self._keep, prefetch=1, no_ack=True)
        # Some have come meanwhile, and are counted off already.
        self._old, self._counted = self._old + lying, True
        while True:
            await self._something.wait()
            self._something.clear()
            await self._write()
            await asyncio.sleep(WRITE_SECONDS)

    async def _keep(self, message: AbstractIncomingMessage) -> None:
        old = self._old > 0 or not self._counted
        self._old -= 1
        try:
            hint = decode(message.body, type_=message.type, content_type=message.content_type)
        except ContractError as exc:
            log.warning("hint_dropped", message_id=message.message_id, detail=str(exc))
            return
        if isinstance(hint, InferenceProgressed):
            kept = self._steps.get(hint.request_id)
            if kept is None or kept.position < hint.position:
                self._steps[hint.request_id] = hint
        elif isinstance(hint, LabHeartbeat):
            if old and message.timestamp is None:
                return
            self._beats[hint.lab] = (hint, message.timestamp if old else None)
        self._something.set()

    async def _write(self) -> None:
        steps, self._steps = self._steps, {}
        beats, self._beats = self._beats, {}
        try:
            changed = await self._database.run(write, list(steps.values()), list(beats.values()))
        except DatabaseAway as exc:
            log.warning("hints_dropped", detail=str(exc), count=len(steps) + len(beats))
            return
        except Exception:
            # No hint is worth the connection, which carries the outcomes too.
            log.exception("hints_dropped", count=len(steps) + len(beats))
            return
        await notify.requests_changed(changed)
        if beats:
            await notify.labs_changed()


def write(steps: Sequence[InferenceProgressed], beats: Sequence[Beat]) -> list[UUID]:
    """Write the hints in one transaction; return the requests that changed."""
    with transaction.atomic():
        for beat, told_at in beats:
            record_heartbeat(beat, told_at)
            stop_unwanted(beat.current)
        return [step.request_id for step in steps if record(step.request_id, step)]
