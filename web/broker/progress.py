"""``mri.progress.<pool>``: hints. The newest of each request and lab is written, the rest is lost.

Each pool at its own pace, so many bytes at a time: a lab that floods its own queue costs the site
a bounded part of its time, and the queue drops the oldest. Acknowledged once read, whatever becomes
of it: an outcome never comes this way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from messages.codec import decode
from messages.envelope import Message
from messages.errors import ContractError
from messages.events import InferenceProgressed
from messages.lab import MAX_CURRENT, MAX_MODELS, LabHeartbeat, LabModel
from messages.topology import progress_queue
from messages.topology_before import PROGRESS_QUEUE
from web.broker.connection import Session
from web.broker.inbox import Inbox, Item
from web.broker.letter import text_of
from web.broker.listener import Hears
from web.broker.pool_queues import PoolQueues
from web.database import DatabaseAway, DatabaseThread
from web.inference.cancel import stop_unwanted
from web.inference.heard import Heard, Speakers
from web.inference.record import record
from web.labs.heartbeats import record_heartbeat, record_model
from web.labs.registry import pool_of
from web.live import notify

log = structlog.get_logger(__name__)

#: Seconds between writes: a reader sees no more than five steps a second, and the disk no more
#: than five commits, however many steps a lab tells.
WRITE_SECONDS = 0.2

#: The most that is read of a pool's hints between two writes: messages, and bytes. An honest lab
#: tells a few, of some hundred bytes; of the largest ones four are read, which take 20 ms.
READS, READ_BYTES = 200, 256 * 1024

#: Seconds between two heartbeats of one lab that are written. An honest one sends one in ten.
BEAT_SECONDS = 0.4

_READ_AT_ONCE = 10

T = TypeVar("T")


@dataclass(frozen=True)
class Beat:
    """A heartbeat as it came."""

    beat: LabHeartbeat
    received_at: datetime
    #: When it was sent if it lay in the queue while the site was away: it may be a minute old, and
    #: its lab gone. By the sender's clock, which may be wrong: one that has just come is dated by
    #: ours.
    told_at: datetime | None = None


@dataclass
class Hints:
    """The newest of each kind, until they are written."""

    steps: dict[UUID, Heard] = field(default_factory=dict)
    beats: dict[str, Beat] = field(default_factory=dict)
    models: dict[tuple[str, str], LabModel] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.steps or self.beats or self.models)

    def take(self, hint: Message, item: Item, user: str, now: datetime) -> str:
        """Keep a hint; why it is dropped, or an empty text."""
        if not isinstance(hint, InferenceProgressed | LabHeartbeat | LabModel):
            return f"{hint.wire_type()} is no hint"
        if not user or user != hint.lab:
            return "its user is not the lab that it names"
        match hint:
            case InferenceProgressed():
                return self._step(Heard(hint, user, now))
            case LabModel():
                told = [lab for lab, _ in self.models].count(user)
                if told >= MAX_MODELS:
                    return "it describes too many models at once"
                self.models[user, hint.model.fingerprint] = hint
            case LabHeartbeat():
                if item.old and item.message.timestamp is None:
                    return "it lay here for nobody knows how long"
                self.beats[user] = Beat(hint, now, item.message.timestamp if item.old else None)
        return ""

    def _step(self, heard: Heard) -> str:
        event = heard.event
        kept = self.steps.get(event.request_id)
        if kept is None:
            theirs = sum(one.user == heard.user for one in self.steps.values())
            if theirs >= MAX_CURRENT:
                return "it tells of too many requests at once"
        if kept is None or kept.event.position < event.position:
            self.steps[event.request_id] = heard
        return ""


class ProgressFeed:
    """Keeps the newest hint of each request and lab, and writes them now and then."""

    def __init__(self, database: DatabaseThread, ear: Hears | None = None) -> None:
        self._database = database
        self._ear = ear

    async def attend(self, session: Session) -> None:
        """Work until the connection ends."""
        queues = PoolQueues(self._database, progress_queue, PROGRESS_QUEUE, self._attend_queue)
        await queues.work(session)

    async def _attend_queue(self, session: Session, queue: str) -> None:
        hints = Hints()
        #: When a heartbeat of a lab was written last.
        written: dict[str, float] = {}
        async with Inbox(session, queue, prefetch=READS) as inbox:
            with nullcontext() if self._ear is None else self._ear.hearing(queue):
                while True:
                    try:
                        # Beats that wait for their turn are not to wait for another message.
                        async with asyncio.timeout(BEAT_SECONDS if hints else None):
                            items = await inbox.batch(READS, READ_BYTES)
                    except TimeoutError:
                        items = []
                    await self._read(items, hints)
                    if items:
                        await items[-1].message.ack(multiple=True)
                    hints = await self._write(hints, written)
                    await asyncio.sleep(WRITE_SECONDS)

    async def _read(self, items: Collection[Item], hints: Hints) -> None:
        now, dropped, why = timezone.now(), 0, ""
        for number, item in enumerate(items, 1):
            message = item.message
            try:
                hint = decode(message.body, type_=message.type, content_type=message.content_type)
            except ContractError as exc:
                problem = str(exc)
            else:
                problem = hints.take(hint, item, text_of(message.user_id), now)
            if problem:
                dropped, why = dropped + 1, problem
            if number % _READ_AT_ONCE == 0:
                await asyncio.sleep(0)
        if dropped:
            # Once for all of them: they may be many.
            log.warning("hints_dropped", count=dropped, detail=why)

    async def _write(self, hints: Hints, written: dict[str, float]) -> Hints:
        """Write what is due; the heartbeats that are not come back."""
        now = time.monotonic()
        due = {
            lab: beat
            for lab, beat in hints.beats.items()
            if now - written.get(lab, -BEAT_SECONDS) >= BEAT_SECONDS
        }
        later = Hints(beats={lab: beat for lab, beat in hints.beats.items() if lab not in due})
        whole = Hints(hints.steps, due, hints.models)
        if not whole:
            return later
        written.update(dict.fromkeys(due, now))
        try:
            changed = await self._database.run(write, whole)
        except DatabaseAway as exc:
            log.warning("hints_dropped", detail=str(exc), count=len(whole.steps) + len(due))
            return later
        except Exception:
            # No hint is worth the connection, which carries those of the others too.
            log.exception("hints_dropped", count=len(whole.steps) + len(due))
            return later
        await notify.requests_changed(changed)
        if due or whole.models:
            await notify.labs_changed()
        return later


def write(hints: Hints) -> list[UUID]:
    """Write the hints in one transaction; return the requests that changed.

    One that fails is lost, and no other with it.
    """
    changed: list[UUID] = []

    def step(heard: Heard) -> None:
        if speakers.knows(heard.event.request_id) and speakers.doubt_about(heard) is None:
            event = heard.as_received
            if record(event.request_id, event):
                changed.append(event.request_id)

    def beat(one: Beat) -> None:
        record_heartbeat(one.beat, one.told_at, received_at=one.received_at)
        if (pool := pool_of(one.beat.lab)) == one.beat.pool:
            stop_unwanted(one.beat.current, pool)

    with transaction.atomic():
        speakers = Speakers(hints.steps.values())
        _each("model", record_model, hints.models.values())
        _each("heartbeat", beat, hints.beats.values())
        # As the listener locks their requests: two would wait for each other otherwise.
        _each("progress", step, [hints.steps[pk] for pk in sorted(hints.steps)])
    return changed


def _each(kind: str, act: Callable[[T], None], hints: Iterable[T]) -> None:
    for hint in hints:
        try:
            with transaction.atomic():
                act(hint)
        except (OperationalError, InterfaceError):
            raise
        except Exception:
            log.exception("hint_not_written", kind=kind)
