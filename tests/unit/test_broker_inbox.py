"""What of a delivery is kept in memory while it waits for its turn."""

from __future__ import annotations

from typing import Any, cast

import pytest
from aio_pika import IncomingMessage
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from messages.envelope import MAX_BODY_BYTES
from messages.errors import UndecodableMessage
from web.broker.connection import Session
from web.broker.inbox import Inbox
from web.broker.letter import letter_of
from web.broker.listener import decoded
from web.inference.letter_box import keep
from web.inference.models import DeadLetter


def delivery(body: bytes) -> IncomingMessage:
    header = ContentHeader(properties=Basic.Properties(message_type="inference.completed.v1"))
    delivered = Basic.Deliver("tag", 1, False, "exchange", "key")
    return IncomingMessage(DeliveredMessage(delivered, header, body, cast("Any", None)))


async def taken(body: bytes) -> IncomingMessage:
    inbox = Inbox(cast("Session", None), "mri.replies.lab", prefetch=1)
    await inbox._take(delivery(body))
    (item,) = await inbox.batch()
    return cast("IncomingMessage", item.message)


@pytest.mark.asyncio
async def test_what_is_too_long_for_a_message_is_not_kept_whole_and_stays_unreadable() -> None:
    message = await taken(b" " * (1024 * 1024))
    assert len(message.body) == MAX_BODY_BYTES + 1
    assert letter_of(message).size == 1024 * 1024
    with pytest.raises(UndecodableMessage):
        decoded(message)


@pytest.mark.asyncio
async def test_the_longest_message_is_kept_whole() -> None:
    assert (await taken(b"x" * MAX_BODY_BYTES)).body == b"x" * MAX_BODY_BYTES


@pytest.mark.django_db(transaction=True)
def test_its_letter_says_how_long_it_was() -> None:
    message = delivery(b" " * 200_000)
    message.body = message.body[: MAX_BODY_BYTES + 1]
    keep([(letter_of(message, "mri.replies.lab", "rejected"), None)])
    assert DeadLetter.objects.get().size == 200_000
