"""``mri.dead``: each letter becomes a row that staff can see; then it is acknowledged.

A crash between commit and ack shows one letter twice, which is better than not at all. What a
letter says is applied where its sender may say it; one that cannot be applied is kept as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from messages.codec import decode
from messages.envelope import Message
from messages.errors import ContractError
from messages.events import RunEvent
from messages.request import InferenceRequested
from messages.topology import DEAD_QUEUE, RETRY_TIERS, work_queues
from messages.topology_before import retry_queue as retry_queue_before
from web.broker.connection import Session
from web.broker.inbox import BATCH, HOLD_SECONDS, Inbox
from web.broker.letter import letter_of
from web.database import DatabaseThread, patiently
from web.inference.heard import MOST_AHEAD, Doubt, Heard, Speakers
from web.inference.letter_box import Letter, keep
from web.inference.models import InferenceRequest
from web.inference.record import record_dead, record_event
from web.inference.superseded import with_superseded
from web.live import notify

log = structlog.get_logger(__name__)

__all__ = ["DeadLetters", "Letter", "store"]


class DeadLetters:
    """Moves the letters into the database and draws the conclusions."""

    def __init__(self, database: DatabaseThread) -> None:
        self._database = database

    async def attend(self, session: Session) -> None:
        """Work until the connection ends."""
        async with Inbox(session, DEAD_QUEUE, prefetch=2 * BATCH) as inbox:
            while True:
                items = await inbox.batch()
                letters = [letter_of(item.message) for item in items]
                try:
                    changed = await self._stored(letters)
                except Exception:
                    # A fault of ours that no single letter shows. They lie where they lay.
                    log.exception("dead_letters_held", count=len(items))
                    await asyncio.sleep(HOLD_SECONDS)
                    for item in items:
                        await item.message.nack(requeue=True)
                    continue
                for item in items:
                    await item.message.ack()
                await notify.requests_changed(changed)

    async def _stored(self, letters: Sequence[Letter]) -> list[UUID]:
        changed = await patiently(lambda: self._database.run(store, *letters))
        newest = letters[-1]
        log.error(
            "dead_letters",
            count=len(letters),
            queue=newest.queue,
            reason=newest.reason,
            type=newest.type,
            message_id=newest.message_id,
        )
        return changed


def store(*letters: Letter) -> list[UUID]:
    """Write letters down and apply what they say, in one transaction; the requests that changed."""
    messages = [_message(letter) for letter in letters]
    now = timezone.now()
    with transaction.atomic():
        heard = [Heard(one, letter.user_id, now) for letter, one in _events(letters, messages)]
        speakers = Speakers(heard)
        changed: list[UUID] = []
        ordinary: list[tuple[Letter, UUID | None]] = []
        pairs = list(zip(letters, messages, strict=True))
        # As the listener locks their requests: two would wait for each other otherwise.
        for letter, message in sorted(pairs, key=lambda pair: str(_request_id(*pair))):
            about = _request_id(letter, message)
            try:
                with transaction.atomic():
                    doubt, did, dead = _concluded(letter, message, speakers)
            except (OperationalError, InterfaceError):
                raise
            except Exception:
                log.exception("letter_not_applied", request_id=str(about))
                doubt, did, dead = Doubt.NOT_APPLIED, False, False
            if did and about is not None:
                changed.append(about)
            row = letter if doubt is None else replace(letter, reason=str(doubt))
            if dead:
                # One for each time that a request died: no flood, whatever a lab does.
                keep([(row, about)], always=True)
            else:
                ordinary.append((row, about))
        keep(ordinary)
    return list(dict.fromkeys([*changed, *(with_superseded(changed) if changed else [])]))


def _concluded(
    letter: Letter, message: Message | None, speakers: Speakers
) -> tuple[Doubt | None, bool, bool]:
    """Why it is not applied, whether it changed its request, and whether that is given up."""
    if isinstance(message, RunEvent):
        heard = Heard(message, letter.user_id, timezone.now())
        doubt = speakers.doubt_about(heard)
        return doubt, doubt is None and record_event(heard.as_received), False
    if isinstance(message, InferenceRequested):
        row = InferenceRequest.objects.filter(pk=message.request_id).only("pool", "attempt").first()
        if row is None:
            return None, False, False
        if letter.queue not in _queues_of(row.pool):
            # Any lab can write any message among its own events, or into its own tiers.
            return Doubt.NOT_FROM_ITS_POOL, False, False
        # Of an attempt that was sent: a lab of its pool may write another.
        if message.attempt > row.attempt + MOST_AHEAD:
            return Doubt.NO_SUCH_ATTEMPT, False, False
        died = record_dead(message.request_id, message.attempt, timezone.now())
        return None, died, died
    return None, False, False


def _queues_of(pool: str) -> tuple[str, ...]:
    return (*work_queues(pool), *(retry_queue_before(tier, pool) for tier in RETRY_TIERS))


def _events(
    letters: Sequence[Letter], messages: Sequence[Message | None]
) -> list[tuple[Letter, RunEvent]]:
    pairs = zip(letters, messages, strict=True)
    return [(letter, message) for letter, message in pairs if isinstance(message, RunEvent)]


def _message(letter: Letter) -> Message | None:
    try:
        return decode(letter.body, type_=letter.type, content_type=letter.content_type or None)
    except ContractError:
        return None


def _request_id(letter: Letter, message: Message | None) -> UUID | None:
    if isinstance(message, (RunEvent, InferenceRequested)):
        return message.request_id
    try:
        return UUID(letter.correlation_id)
    except ValueError:
        return None
