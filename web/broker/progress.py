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
from messages.lab import MAX_CURRENT, MAX_MODELS, MAX_PROCESSES, LabHeartbeat, LabModel
from messages.topology import progress_queue
from messages.topology_before import PROGRESS_QUEUE
from web import notify
from web.broker.connection import Session
from web.broker.inbox import Inbox, Item
from web.broker.letter import text_of
from web.broker.listener import Hears
from web.broker.pool_queues import PoolQueues
from web.database import DatabaseAway, DatabaseThread
from web.inference.cancel import stop_unwanted
from web.inference.record import record
from web.inference.senders import ReceivedEvent, Senders
from web.labs.heartbeats import record_heartbeat, record_model
from web.log_limit import limit

log = structlog.get_logger(__name__)

#: Seconds between writes: a reader sees no more than five steps a second, and the disk no more
#: than five commits, however many steps a lab tells.
WRITE_SECONDS = 0.2

#: The most that is read of a pool's hints between two writes: messages, and bytes. An honest lab
#: tells a few, of some hundred bytes; of the largest ones four are read, which take 20 ms.
READS, READ_BYTES = 200, 256 * 1024

#: Times in a row that what a lab tells of itself is written and shown at once, and seconds until
#: there is one more: every page is told each time. What it tells meanwhile gathers, the newest
#: wins, and it is written on time. An honest lab tells its models at its start, and once in ten
#: seconds that it is alive.
AT_ONCE, TURN_SECONDS = 3, 4.0

#: Seconds between looks whether what has gathered is due.
DUE_SECONDS = 0.4

_READ_AT_ONCE = 10

K = TypeVar("K")
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

    steps: dict[UUID, ReceivedEvent] = field(default_factory=dict)
    #: By lab and process: what each of them holds counts.
    beats: dict[tuple[str, UUID | None], Beat] = field(default_factory=dict)
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
                return self._step(ReceivedEvent(hint, user, now))
            case LabModel():
                _keep_newest(self.models, (user, hint.model.fingerprint), hint, MAX_MODELS)
            case LabHeartbeat():
                if item.old and item.message.timestamp is None:
                    return "it lay here for nobody knows how long"
                told_at = item.message.timestamp if item.old else None
                beat = Beat(hint, now, told_at)
                _keep_newest(self.beats, (user, hint.process), beat, MAX_PROCESSES)
        return ""

    def parted(self, labs: Collection[str]) -> tuple[Hints, Hints]:
        """What is written now, of labs only of these, and what waits."""
        now, later = Hints(steps=self.steps), Hints()
        for (lab, process), beat in self.beats.items():
            (now if lab in labs else later).beats[lab, process] = beat
        for (lab, fingerprint), model in self.models.items():
            (now if lab in labs else later).models[lab, fingerprint] = model
        return now, later

    def _step(self, received: ReceivedEvent) -> str:
        event = received.event
        kept = self.steps.get(event.request_id)
        if kept is None:
            theirs = sum(one.user == received.user for one in self.steps.values())
            if theirs >= MAX_CURRENT:
                return "it tells of too many requests at once"
        if kept is None or kept.event.position < event.position:
            self.steps[event.request_id] = received
        return ""


def _keep_newest(kept: dict[tuple[str, K], T], key: tuple[str, K], hint: T, most: int) -> None:
    """Keep it as the newest of its lab, of which so many are kept: those that it serves or runs."""
    kept.pop(key, None)
    theirs = [one for one in kept if one[0] == key[0]]
    if len(theirs) >= most:
        del kept[theirs[0]]
    kept[key] = hint


class Turns:
    """How often each lab has told of itself lately, by the users that the broker has checked."""

    def __init__(self) -> None:
        #: Until when the turns of a lab are used up, if it had no more at once than one.
        self._used: dict[str, float] = {}

    def take(self, labs: Iterable[str], now: float) -> set[str]:
        """Those of the labs whose turn it is; it is taken."""
        self._used = {lab: until for lab, until in self._used.items() if until > now}
        taken = set()
        for lab in labs:
            until = max(self._used.get(lab, now), now)
            if until - now <= (AT_ONCE - 1) * TURN_SECONDS:
                self._used[lab] = until + TURN_SECONDS
                taken.add(lab)
        return taken


class ProgressFeed:
    """Keeps the newest hint of each request and lab, and writes them now and then."""

    def __init__(self, database: DatabaseThread, queue_depth: Hears | None = None) -> None:
        self._database = database
        self._queue_depth = queue_depth

    async def attend(self, session: Session) -> None:
        """Work until the connection ends."""
        queues = PoolQueues(self._database, progress_queue, PROGRESS_QUEUE, self._attend_queue)
        await queues.work(session)

    async def _attend_queue(self, session: Session, queue: str) -> None:
        hints, turns = Hints(), Turns()
        async with Inbox(session, queue, prefetch=READS) as inbox:
            with nullcontext() if self._queue_depth is None else self._queue_depth.listening(queue):
                while True:
                    try:
                        # What waits for its turn is not to wait for another message.
                        async with asyncio.timeout(DUE_SECONDS if hints else None):
                            items = await inbox.batch(READS, READ_BYTES)
                    except TimeoutError:
                        items = []
                    await self._read(items, queue, hints)
                    if items:
                        await items[-1].message.ack(multiple=True)
                    hints = await self._write(queue, hints, turns)
                    await asyncio.sleep(WRITE_SECONDS)

    async def _read(self, items: Collection[Item], queue: str, hints: Hints) -> None:
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
            limit.write(log.warning, "hints_dropped", queue=queue, count=dropped, detail=why)

    async def _write(self, queue: str, hints: Hints, turns: Turns) -> Hints:
        """Write what is due; what labs tell of themselves before their turn comes back."""
        telling = {lab for lab, _ in (*hints.beats, *hints.models)}
        due = turns.take(sorted(telling), time.monotonic())
        whole, later = hints.parted(due)
        if not whole:
            return later
        count = len(whole.steps) + len(due)
        try:
            changed = await self._database.run(write, whole)
        except DatabaseAway as exc:
            limit.write(log.warning, "hints_dropped", queue=queue, count=count, detail=str(exc))
            return later
        except Exception:  # noqa: BLE001 - written with its trace, now and then
            # No hint is worth the connection, which carries those of the others too.
            limit.write(log.exception, "hints_dropped", queue=queue, count=count)
            return later
        await notify.requests_changed(changed)
        if due:
            await notify.labs_changed()
        return later


def write(hints: Hints) -> list[UUID]:
    """Write the hints in one transaction; return the requests that changed.

    One that fails is lost, and no other with it.
    """
    changed: list[UUID] = []
    held: dict[tuple[str, str], list[UUID]] = {}

    def step(received: ReceivedEvent) -> None:
        if speakers.knows(received.event.request_id) and speakers.doubt_about(received) is None:
            event = received.as_received
            if record(event.request_id, event):
                changed.append(event.request_id)

    def beat(one: Beat) -> None:
        told = record_heartbeat(one.beat, one.told_at, received_at=one.received_at)
        held[one.beat.lab, one.beat.pool] = told

    def stop(lab: tuple[str, str]) -> None:
        _, pool = lab
        stop_unwanted(held[lab], pool)

    with transaction.atomic():
        speakers = Senders(hints.steps.values())
        _each("model", record_model, hints.models.values())
        _each("heartbeat", beat, hints.beats.values())
        # Once for all processes of a lab.
        _each("stop", stop, held)
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
