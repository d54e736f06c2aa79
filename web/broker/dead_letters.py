"""``mri.dead``: each letter becomes a row that staff can see; then it is acknowledged.

A crash between commit and ack shows one letter twice, which is better than not at all.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from aio_pika.abc import AbstractIncomingMessage
from django.db import transaction
from django.utils import timezone

from messages.envelope import Message
from messages.errors import ContractError
from messages.events import RunEvent
from messages.request import InferenceRequested
from messages.topology import DEAD_QUEUE
from web.broker.connection import Session
from web.broker.hold import Holding
from web.database import DatabaseThread, patiently
from web.inference.letters import message_of
from web.inference.models import MAX_LETTER_BYTES, DeadLetter, InferenceRequest
from web.inference.record import record_dead, record_event
from web.inference.superseded import with_superseded
from web.live import notify

log = structlog.get_logger(__name__)

#: Letters in hand. They are rare, and each is a transaction.
PREFETCH = 20


@dataclass(frozen=True)
class Letter:
    """What of a dead letter is kept; texts as the sender gave them, cut to what a column takes."""

    queue: str
    reason: str
    type: str
    message_id: str
    correlation_id: str
    routing_key: str
    content_type: str
    body: bytes

    @classmethod
    def of(cls, message: AbstractIncomingMessage) -> Letter:
        """Read a delivery."""
        died = _newest_death(message)
        return cls(
            queue=_text(died.get("queue")),
            reason=_text(died.get("reason"), 63),
            type=_text(message.type),
            message_id=_text(message.message_id),
            correlation_id=_text(message.correlation_id),
            routing_key=_text(message.routing_key),
            content_type=_text(message.content_type),
            body=message.body,
        )


class DeadLetters:
    """Moves the letters into the database and draws the conclusions."""

    def __init__(self, database: DatabaseThread) -> None:
        self._database = database

    async def attend(self, session: Session) -> None:
        """Work until the connection ends."""
        inbox: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        async with asyncio.TaskGroup() as tasks:
            holding = Holding(session, DEAD_QUEUE, inbox.put, prefetch=PREFETCH, tasks=tasks)
            while True:
                await holding.consume()
                message = await inbox.get()
                try:
                    changed = await self._stored(Letter.of(message))
                except Exception:
                    # A fault of ours with this one letter; it must not stop the others.
                    log.exception("dead_letter_held", message_id=message.message_id)
                    holding.hold(message)
                    continue
                await message.ack()
                await notify.requests_changed(changed)

    async def _stored(self, letter: Letter) -> list[UUID]:
        changed = await patiently(lambda: self._database.run(store, letter))
        log.error(
            "dead_letter",
            queue=letter.queue,
            reason=letter.reason,
            type=letter.type,
            message_id=letter.message_id,
        )
        return changed


def store(letter: Letter) -> list[UUID]:
    """Write the letter down and apply what it says, in one transaction."""
    row = DeadLetter(
        queue=letter.queue,
        reason=letter.reason,
        type=letter.type,
        message_id=letter.message_id,
        correlation_id=letter.correlation_id,
        routing_key=letter.routing_key,
        content_type=letter.content_type,
        size=len(letter.body),
        body=letter.body[:MAX_LETTER_BYTES],
    )
    message = _message(row)
    about = _request_id(letter, message)
    with transaction.atomic():
        known = about is not None and InferenceRequest.objects.filter(pk=about).exists()
        row.request_id = about if known else None
        row.save()
        if isinstance(message, RunEvent):
            changed = known and record_event(message)
        elif isinstance(message, InferenceRequested):
            changed = known and record_dead(message.request_id, message.attempt, timezone.now())
        else:
            changed = False
    return with_superseded([about]) if changed and about else []


def _message(row: DeadLetter) -> Message | None:
    try:
        return message_of(row)
    except ContractError:
        return None


def _request_id(letter: Letter, message: Message | None) -> UUID | None:
    if isinstance(message, (RunEvent, InferenceRequested)):
        return message.request_id
    try:
        return UUID(letter.correlation_id)
    except ValueError:
        return None


def _newest_death(message: AbstractIncomingMessage) -> dict[str, Any]:
    """RabbitMQ docs, "Dead Letter Exchanges": the newest entry of `x-death` comes first.

    Not `x-first-death-reason`: after a retry tier that still says `expired`.
    """
    deaths = message.headers.get("x-death")
    newest = deaths[0] if isinstance(deaths, list) and deaths else None
    return newest if isinstance(newest, dict) else {}


def _text(value: object, length: int = 255) -> str:
    # PostgreSQL stores no NUL character.
    return str(value)[:length].replace("\0", "") if value else ""
