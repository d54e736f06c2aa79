"""One row of the outbox becomes one message, and the broker's answer becomes a word."""

from __future__ import annotations

import asyncio
import math
import time
from enum import Enum

import structlog
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    DeliveryError,
)
from aiormq.exceptions import ChannelAccessRefused

from messages.envelope import CONTENT_TYPE
from messages.topology import REQUESTS
from web.broker.alarm import Alarm
from web.broker.connection import Session
from web.broker.errors import BrokerLost
from web.inference.models import Outbox
from web.inference.outbox import APP_ID

log = structlog.get_logger(__name__)

#: Seconds without a confirm that are worth a line in the log. It takes a millisecond unless the
#: broker is in alarm.
CONFIRM_SECONDS = 10.0

#: So long may every request be refused on one channel before another is tried. RabbitMQ 3.10: a
#: channel that first published to a quorum queue while its leader was cut off looks for that leader
#: ever after, and refuses everything. A queue that is full refuses on any channel.
STUCK_SECONDS = 20.0


class ExchangeMissing(Exception):
    """The broker has no such exchange, or the site may not write there."""


class Answer(Enum):
    """What became of a message."""

    #: The broker has it on disk.
    CONFIRMED = "confirmed"
    #: No queue takes it: full, or none is bound.
    REFUSED = "refused"
    #: The connection ended; the broker may have it or not.
    INTERRUPTED = "interrupted"


class Publisher:
    """Publishes on one channel."""

    def __init__(self, channel: AbstractChannel, session: Session, alarm: Alarm) -> None:
        self._channel = channel
        self._session = session
        self._alarm = alarm
        #: A channel for each exchange of cancels: the broker closes it where there is none.
        self._cancels: dict[str, asyncio.Task[AbstractChannel]] = {}
        #: Since when requests are refused one after the other, and when the last one was.
        self._refused_since: float | None = None
        self._refused_at = -math.inf

    @property
    def stuck(self) -> bool:
        """Whether another channel is worth a try."""
        since = self._refused_since
        return since is not None and time.monotonic() - since > STUCK_SECONDS

    async def publish(self, row: Outbox) -> Answer:
        """Publish the row and wait for the answer, however long an alarm lasts."""
        late = asyncio.get_running_loop().call_later(CONFIRM_SECONDS, self._say_late, row)
        try:
            await self._publish(row)
        except DeliveryError as exc:
            log.warning(
                "publish_refused",
                request_id=str(row.request_id),
                routing_key=row.routing_key,
                error=type(exc).__name__,
            )
            self._note_refusal()
            return Answer.REFUSED
        except ExchangeMissing:
            # Only this row waits: it is tried again, and others go on.
            log.warning("exchange_missing", exchange=row.exchange, request_id=str(row.request_id))
            return Answer.REFUSED
        except (*CONNECTION_EXCEPTIONS, BrokerLost) as exc:
            # The session notices its end by itself, and the lease is given back then.
            log.warning(
                "publish_interrupted", request_id=str(row.request_id), error=type(exc).__name__
            )
            return Answer.INTERRUPTED
        finally:
            late.cancel()
        if row.exchange == REQUESTS:
            self._refused_since = None
        log.info("request_published", request_id=str(row.request_id), message=row.type)
        return Answer.CONFIRMED

    def _note_refusal(self) -> None:
        # Refused rows are tried again every few seconds: after a pause it is another trouble.
        now, before = time.monotonic(), self._refused_at
        if self._refused_since is None or now - before > STUCK_SECONDS:
            self._refused_since = now
        self._refused_at = now

    async def _publish(self, row: Outbox) -> None:
        message = _message(row, self._session.user)
        if row.exchange == REQUESTS:
            exchange = await self._channel.get_exchange(row.exchange, ensure=False)
            await exchange.publish(message, row.routing_key, mandatory=True)
            return
        channel = await self._channel_to(row.exchange)
        try:
            exchange = await channel.get_exchange(row.exchange, ensure=False)
            # A pool without a lab has no control queue; a lab is told again when it takes it.
            await exchange.publish(message, row.routing_key, mandatory=False)
        except (ChannelNotFoundEntity, ChannelAccessRefused, ChannelInvalidStateError) as exc:
            raise ExchangeMissing(row.exchange) from exc

    async def _channel_to(self, exchange: str) -> AbstractChannel:
        opening = self._cancels.get(exchange)
        if opening is None or (opening.done() and not _usable(opening)):
            opening = asyncio.create_task(self._session.channel(ended=lambda *_: None))
            self._cancels[exchange] = opening
        return await asyncio.shield(opening)

    def _say_late(self, row: Outbox) -> None:
        if not self._alarm.on:
            # An alarm is said once, and not for each row.
            log.warning(
                "publish_unconfirmed", request_id=str(row.request_id), seconds=CONFIRM_SECONDS
            )


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
