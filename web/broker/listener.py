"""``mri.replies.<pool>``: outcomes are written down, then acknowledged. Nothing here is a hint.

What settles a delivery:

- ack, after the commit that holds the event (or knew it already, or knows no such request), or the
  letter that it has become: it can never be read, whoever sent it may not say it, or it failed here
  at each of its tries (`web.inference.senders.Doubt`);
- nack with requeue, after a pause and a few times, when a newer site will read it.

So one event can hurt one event: what fails is tried again beside the others, not in front of them,
and what a pool's queue holds stands in no other's way.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import UUID

import structlog
from aio_pika.abc import AbstractIncomingMessage
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from messages.codec import decode
from messages.errors import UndecodableMessage, UnknownVersion
from messages.events import InferenceCompleted, RunEvent
from messages.identity import delivery_of
from messages.topology import replies_queue
from messages.topology_before import REPLIES_QUEUE
from web import notify
from web.broker.aside import Aside, kept, unreadable
from web.broker.connection import Session
from web.broker.inbox import BATCH, MOST_TRIED, Inbox, Item
from web.broker.letter import letter_of, text_of
from web.broker.pool_queues import PoolQueues
from web.database import DatabaseThread, patiently
from web.inference.letter_box import Letter, keep
from web.inference.record import record_event
from web.inference.senders import Doubt, ReceivedEvent, Senders
from web.inference.superseded import with_superseded
from web.log_limit import limit

log = structlog.get_logger(__name__)

#: Deliveries of a queue that wait for a newer site, each at most `MOST_OFFERS` times
#: `inbox.HOLD_SECONDS`, ten minutes: as long as a deploy takes. Further ones become letters at
#: once, which a newer site applies as well.
MOST_HELD, MOST_OFFERS = 200, 60

#: So that neither can keep the next batch out.
PREFETCH = BATCH + MOST_HELD + MOST_TRIED

#: Messages that are read before other tasks have their turn: 64 KB take milliseconds.
_READ_AT_ONCE = 10


class Hears(Protocol):
    """Where it is noted since when a queue is heard."""

    def listening(self, queue: str) -> AbstractContextManager[None]:
        """Inside the block it is."""


@dataclass
class Batch:
    """What of one is to be written: events, each with its delivery, and letters."""

    received: list[tuple[Item, ReceivedEvent]] = field(default_factory=list)
    letters: list[Aside] = field(default_factory=list)


@dataclass
class Written:
    """What has become of a batch."""

    changed: list[UUID] = field(default_factory=list)
    #: Places in the batch of the events that failed.
    failed: list[int] = field(default_factory=list)
    #: Whether the letters of the batch are written too.
    letters: bool = True


class Listener:
    """Applies the events of labs to requests."""

    def __init__(self, database: DatabaseThread, queue_depth: Hears | None = None) -> None:
        self._database = database
        self._queue_depth = queue_depth

    async def attend(self, session: Session) -> None:
        """Work until the connection ends."""
        queues = PoolQueues(self._database, replies_queue, REPLIES_QUEUE, self._attend_queue)
        await queues.work(session)

    async def _attend_queue(self, session: Session, queue: str) -> None:
        async with Inbox(session, queue, prefetch=PREFETCH) as inbox:
            with nullcontext() if self._queue_depth is None else self._queue_depth.listening(queue):
                while True:
                    items = await inbox.batch()
                    # Apart: with one that has failed before, the whole would fail once more.
                    for some in (
                        [item for item in items if not item.tries],
                        [item for item in items if item.tries],
                    ):
                        if some:
                            await self._settle(await self._read(some, queue, inbox), queue, inbox)

    async def _read(self, items: Sequence[Item], queue: str, inbox: Inbox) -> Batch:
        batch, now, rejected, why = Batch(), timezone.now(), 0, ""
        held, which = 0, ""
        for number, item in enumerate(items, 1):
            message = item.message
            try:
                event = decoded(message)
            except UndecodableMessage as exc:
                batch.letters.append(unreadable(item, queue))
                rejected, why = rejected + 1, str(exc)
            except UnknownVersion as exc:
                if inbox.held < MOST_HELD and delivery_of(message.headers) < MOST_OFFERS:
                    held, which = held + 1, str(exc)
                    inbox.hand_back(item)
                else:
                    letter = letter_of(message, queue, Doubt.NEWER)
                    batch.letters.append(Aside(item, letter, None, letter.user_id))
            else:
                batch.received.append((item, ReceivedEvent(event, text_of(message.user_id), now)))
            if number % _READ_AT_ONCE == 0:
                await asyncio.sleep(0)
        if rejected:
            limit.write(log.warning, "replies_rejected", queue=queue, count=rejected, detail=why)
        if held:
            limit.write(log.warning, "reply_held", queue=queue, count=held, detail=which)
        return batch

    async def _settle(self, batch: Batch, queue: str, inbox: Inbox) -> None:
        written = await self._written(batch, queue)
        failed = {number: batch.received[number] for number in written.failed}
        given_up = []
        for item, received in failed.values():
            if not inbox.try_again(item, received.user):
                letter = letter_of(item.message, queue, Doubt.NOT_APPLIED)
                given_up.append(Aside(item, letter, received.event.request_id, received.user))
        if given_up:
            log.error("replies_given_up", queue=queue, count=len(given_up))
        settled = [one.item for one in batch.letters if written.letters]
        left = [] if written.letters else batch.letters
        settled += await kept(self._database, inbox, [*left, *given_up])
        # THE ACK: the events are committed, as changes or as letters.
        for item in [
            *(item for number, (item, _) in enumerate(batch.received) if number not in failed),
            *settled,
        ]:
            await item.message.ack()
        await notify.requests_changed(list(dict.fromkeys(written.changed)))

    async def _written(self, batch: Batch, queue: str) -> Written:
        received = [one for _, one in batch.received]
        raw = [letter_of(item.message, queue, "") for item, _ in batch.received]
        letters = [(one.letter, one.about) for one in batch.letters]
        if not received:
            return Written(letters=False)
        singly = any(item.tries for item, _ in batch.received)
        if not singly:
            try:
                return await self._run(received, raw, letters, singly=False)
            except Exception as exc:  # noqa: BLE001 - which one and why is said below
                # One of them meets a fault of ours, or says what the database does not take.
                log.warning("replies_not_written", count=len(received), error=type(exc).__name__)
        try:
            # Letters apart: one that cannot be stored must not have each event written alone.
            return replace(await self._run(received, raw, [], singly=True), letters=False)
        except Exception:
            # Only the end of the transaction has shown it. Each in one of its own, a batch of them.
            log.exception("replies_not_written_singly", count=len(received))
        return await self._each(received, raw)

    async def _each(self, received: Sequence[ReceivedEvent], raw: Sequence[Letter]) -> Written:
        done = Written(letters=False)
        for number, one in enumerate(received):
            try:
                written = await self._run([one], [raw[number]], [], singly=False)
            except Exception:
                log.exception("reply_not_written", request_id=str(one.event.request_id))
                done.failed.append(number)
            else:
                done.changed += written.changed
        return done

    async def _run(
        self,
        received: Sequence[ReceivedEvent],
        raw: Sequence[Letter],
        letters: Sequence[tuple[Letter, UUID | None]],
        *,
        singly: bool,
    ) -> Written:
        return await patiently(
            lambda: self._database.run(write, received, raw, letters, singly=singly)
        )


def decoded(message: AbstractIncomingMessage) -> RunEvent:
    """The event of a delivery; raises as `messages.codec.decode` does."""
    event = decode(message.body, type_=message.type, content_type=message.content_type)
    if not isinstance(event, RunEvent):
        raise UndecodableMessage(f"{event.wire_type()} is no event of a request")
    return event


def write(
    received: Sequence[ReceivedEvent],
    raw: Sequence[Letter],
    letters: Sequence[tuple[Letter, UUID | None]] = (),
    *,
    singly: bool = False,
) -> Written:
    """Apply events in one transaction; what may not be applied becomes the letter that it is.

    `raw` holds each event as a letter. Written `singly`, those that fail are named and undone
    alone; otherwise one raises, and nothing is written. The requests that changed are told each
    once, with those whose results are superseded now.
    """
    # Whoever locks rows of several requests locks them in this order, or two would wait for each
    # other; the events of one request stay in theirs.
    order = sorted(range(len(received)), key=lambda number: received[number].event.request_id)
    done, aside = Written(), list(letters)
    results: list[UUID] = []
    broken: set[UUID] = set()
    unknown = 0
    with transaction.atomic():
        speakers = Senders(received)
        doubts = _doubts(received, raw, speakers)
        for number in order:
            event = received[number].event
            if not (number in doubts or speakers.knows(event.request_id)):
                # As `record_event` leaves it; a stranger can tell of such without end.
                unknown += 1
            elif number in doubts:
                aside.append((replace(raw[number], reason=str(doubts[number])), event.request_id))
            elif event.request_id in broken:
                # What holds one of its events up holds up all of them; each is tried alone later.
                done.failed.append(number)
            elif (changed := _applied(received[number], singly=singly, first=not broken)) is None:
                done.failed.append(number)
                broken.add(event.request_id)
            elif changed:
                done.changed.append(event.request_id)
                if isinstance(event, InferenceCompleted):
                    results.append(event.request_id)
        keep(aside)
        done.changed += with_superseded(results) if results else []
    if unknown:
        limit.write(log.warning, "events_of_unknown_requests", queue=raw[0].queue, count=unknown)
    done.changed = list(dict.fromkeys(done.changed))
    return done


def _doubts(
    received: Sequence[ReceivedEvent], raw: Sequence[Letter], speakers: Senders
) -> dict[int, Doubt]:
    """Why some of the events may not be applied, by their places."""
    all_ = ((number, speakers.doubt_about(one)) for number, one in enumerate(received))
    doubts = {number: doubt for number, doubt in all_ if doubt is not None}
    if doubts:
        counts = Counter(str(doubt) for doubt in doubts.values())
        limit.write(
            log.warning,
            "replies_put_aside",
            queue=raw[0].queue,
            count=len(doubts),
            # One of them; they may be many.
            lab=received[max(doubts)].user,
            doubts=dict(counts),
        )
    return doubts


def _applied(received: ReceivedEvent, *, singly: bool, first: bool) -> bool | None:
    """Whether the event changed its request; None for one that failed, where it may fail alone."""
    if not singly:
        return record_event(received.as_received)
    try:
        with transaction.atomic():
            return record_event(received.as_received)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        if first:
            # Of many that fail alike one says why: a trace takes longer than an event.
            log.exception("reply_not_written", request_id=str(received.event.request_id))
        return None
