"""One row of the outbox becomes one message, and the broker's answer becomes a word."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum

import structlog
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    ChannelClosed,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    DeliveryError,
    PublishError,
)
from aiormq.exceptions import ChannelAccessRefused

from messages.envelope import CONTENT_TYPE
from messages.topology import REQUESTS
from web.broker.connection import ANSWER_SECONDS, Session
from web.broker.errors import BrokerLost
from web.broker.loss import library
from web.cancellation import heed_cancel
from web.inference.models import Outbox
from web.inference.outbox import APP_ID

log = structlog.get_logger(__name__)


class Answer(Enum):
    """What became of a message."""

    #: The broker has it on disk.
    CONFIRMED = "confirmed"
    #: No queue takes it: full, or without a leader.
    REFUSED = "refused"
    #: No queue is bound, or there is no such exchange.
    MISSING = "missing"
    #: The connection ended; the broker may have it or not.
    INTERRUPTED = "interrupted"
    #: It could not be published by a fault of ours.
    FAULT = "fault"


class Publisher:
    """Publishes to one destination, on a channel of its own.

    A channel can be lost to one destination alone. RabbitMQ closes it where there is no exchange;
    one of 3.10 that first published to a quorum queue while its leader was cut off looks for that
    leader ever after, and refuses everything.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._opening: asyncio.Task[AbstractChannel] | None = None

    async def publish(self, row: Outbox) -> Answer:
        """Publish the row and wait for the answer, however long it takes.

        Raises `BrokerLost` where the exchange of all requests is gone.
        """
        error: BaseException
        try:
            await self._publish(row)
        except asyncio.CancelledError as exc:
            # The library cancels what waits on a channel that it closes.
            heed_cancel()
            answer, error = self._answer_of_channel, exc
        except Exception as exc:  # noqa: BLE001 - what it means is said below, for each kind
            answer, error = self._answer_of(row, exc), exc
        else:
            log.info("request_published", request_id=str(row.request_id), message=row.type)
            return Answer.CONFIRMED
        # That a destination takes nothing is said once, and louder.
        log.info(
            "publish_interrupted" if answer is Answer.INTERRUPTED else "publish_refused",
            request_id=str(row.request_id),
            routing_key=row.routing_key,
            error=type(error).__name__,
        )
        return answer

    async def close(self) -> None:
        """Give the channel back; of what it was sent nothing is heard any more."""
        opening, self._opening = self._opening, None
        if opening is None:
            return
        with suppress(BrokerLost), library():
            async with asyncio.timeout(ANSWER_SECONDS):
                await (await opening).close()

    def _answer_of(self, row: Outbox, exc: Exception) -> Answer:
        if isinstance(exc, DeliveryError):
            # Returned, as nothing is bound; or refused.
            return Answer.MISSING if isinstance(exc, PublishError) else Answer.REFUSED
        if isinstance(exc, ChannelNotFoundEntity | ChannelAccessRefused):
            if row.exchange == REQUESTS:
                raise BrokerLost(f"exchange {REQUESTS} is gone") from exc
            return Answer.MISSING
        if isinstance(exc, ChannelClosed | ChannelInvalidStateError):
            return self._answer_of_channel
        if isinstance(exc, (*CONNECTION_EXCEPTIONS, BrokerLost)):
            return Answer.INTERRUPTED
        # One that cannot be published must not keep others from it.
        log.error("row_not_published", request_id=str(row.request_id), exc_info=exc)
        return Answer.FAULT

    @property
    def _answer_of_channel(self) -> Answer:
        """Its end is the answer of the destination, unless it ended with the connection."""
        ended = self._session.connection.is_closed
        return Answer.INTERRUPTED if ended else Answer.REFUSED

    async def _publish(self, row: Outbox) -> None:
        message = _message(row, self._session.user)
        channel = await self._channel()
        exchange = await channel.get_exchange(row.exchange, ensure=False)
        # A pool without a lab has no control queue; a lab is told again when it takes it.
        mandatory = row.exchange == REQUESTS
        await exchange.publish(message, row.routing_key, mandatory=mandatory)

    async def _channel(self) -> AbstractChannel:
        if self._opening is None or (self._opening.done() and not _usable(self._opening)):
            opening = self._session.channel(ended=lambda *_: None)
            self._opening = asyncio.create_task(opening)
        return await asyncio.shield(self._opening)


def _usable(opening: asyncio.Task[AbstractChannel]) -> bool:
    return (
        not opening.cancelled() and opening.exception() is None and not opening.result().is_closed
    )


def _message(row: Outbox, user: str) -> Message:
    return Message(
        bytes(row.body),
        content_type=CONTENT_TYPE,
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=str(row.message_id),
        correlation_id=str(row.request_id),
        type=row.type,
        timestamp=row.created_at,
        app_id=APP_ID,
        user_id=user,
        headers=row.headers,
    )
