"""A delivery as the letter that is kept of it."""

from __future__ import annotations

from typing import Any

from aio_pika.abc import AbstractIncomingMessage

from web.inference.letter_box import Letter


def letter_of(
    message: AbstractIncomingMessage, queue: str | None = None, reason: str | None = None
) -> Letter:
    """Read a delivery; `queue` and `reason` are those of the broker where they are not given."""
    died = newest_death(message)
    return Letter(
        queue=text_of(died.get("queue") if queue is None else queue),
        reason=text_of(died.get("reason") if reason is None else reason, 63),
        type=text_of(message.type),
        message_id=text_of(message.message_id),
        correlation_id=text_of(message.correlation_id),
        routing_key=text_of(message.routing_key),
        content_type=text_of(message.content_type),
        body=message.body,
        size=message.body_size,
        user_id=text_of(message.user_id),
    )


def newest_death(message: AbstractIncomingMessage) -> dict[str, Any]:
    """RabbitMQ docs, "Dead Letter Exchanges": the newest entry of `x-death` comes first.

    Not `x-first-death-reason`: after a retry tier that still says `expired`.
    """
    deaths = message.headers.get("x-death")
    newest = deaths[0] if isinstance(deaths, list) and deaths else None
    return newest if isinstance(newest, dict) else {}


def text_of(value: object, length: int = 255) -> str:
    """A text as a column takes it."""
    # PostgreSQL stores no NUL character.
    return str(value)[:length].replace("\0", "") if value else ""
