"""Deliveries that cannot be worked on now and must not be lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

#: Seconds that a delivery is held before it is offered again: short enough for a deploy under
#: way, long enough that the log stays readable.
HOLD_SECONDS = 10.0


async def offer_again(message: AbstractIncomingMessage, after: float = HOLD_SECONDS) -> None:
    """Give the delivery back to its queue after a pause."""
    await asyncio.sleep(after)
    # After the end of the connection the broker has taken it back by itself.
    with suppress(*CONNECTION_EXCEPTIONS):
        await message.nack(requeue=True)
