"""Questions to the broker that leave nothing there: `mri-web check` asks them.

A permission is proved without being used: the broker looks at permissions before it looks at what
is sent, so each deed is flawed on purpose. A publish names a user that we are not, a consume has a
priority that is no number. 403 means that it is not allowed, 406 that it is allowed and was refused
for the flaw. No message is queued and no consumer comes to be. (Tried on RabbitMQ 3.10.8, 4.0.5 and
4.3.6. An expiration that is no number is no such flaw: 4.x looks at it before the topic
permission.)
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from secrets import token_hex
from typing import Any, TypeVar

from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from aiormq.abc import AbstractChannel
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelNotFoundEntity,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from pamqp.commands import Basic
from yarl import URL

from messages.brokers import Seen
from web.broker.connection import ANSWER_SECONDS
from web.broker.errors import BrokerLost, BrokerProblem
from web.broker.loss import named
from web.broker.transport import connection_to, version_of
from web.cancellation import CHILD_SECONDS, end

T = TypeVar("T")


class Obstacle(Enum):
    """What a connection failed at."""

    ADDRESS = "address"
    TLS = "tls"
    CREDENTIALS = "credentials"
    VHOST = "vhost"


class NotConnected(BrokerProblem):
    """No connection; neither URL nor password is in it."""

    def __init__(self, obstacle: Obstacle, detail: str = "") -> None:
        super().__init__(f"{obstacle.value} {detail}".rstrip())
        self.obstacle = obstacle
        self.detail = detail


def address_of(url: str) -> str:
    """Host and port."""
    parts = URL(url)
    return f"{parts.host}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}"


def user_of(url: str) -> str:
    """The AMQP user."""
    return URL(url).user or ""


def vhost_of(url: str) -> str:
    """The virtual host."""
    return URL(url).path.removeprefix("/")


class Probe:
    """One connection for questions. Each may raise `BrokerLost`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection = connection_to(url, "check")
        self.version = ""

    async def connect(self) -> None:
        """Connect. Raises `NotConnected`."""
        # It prints a line of its own for every failure.
        logging.getLogger("aiormq.connection").setLevel(logging.CRITICAL)
        try:
            await self._connection.connect(timeout=ANSWER_SECONDS)
            self.version = version_of(self._connection)
        except ProbableAuthenticationError as exc:
            raise NotConnected(Obstacle.CREDENTIALS) from exc
        except (ConnectionNotAllowed, InvalidFrameError) as exc:
            # aiormq calls the broker's refusal of the virtual host a frame that it did not expect.
            raise NotConnected(Obstacle.VHOST) from exc
        except (*CONNECTION_EXCEPTIONS, TimeoutError) as exc:
            cause = exc.__cause__ or exc
            if isinstance(cause, ssl.SSLError):
                raise NotConnected(Obstacle.TLS, cause.reason or "SSLError") from exc
            raise NotConnected(Obstacle.ADDRESS, type(cause).__name__) from exc

    async def close(self) -> None:
        """Close the connection, whatever state it is in."""
        try:
            await _in_time(_closed(self._connection))
        except (*CONNECTION_EXCEPTIONS, TimeoutError):
            return

    async def queue(self, name: str) -> Seen:
        """What this user can see of the queue."""
        return _seen(await self._ask(lambda c: c.queue_declare(name, passive=True)))

    async def exchange(self, name: str) -> Seen:
        """What this user can see of the exchange."""
        return _seen(await self._ask(lambda c: c.exchange_declare(name, passive=True)))

    async def may_write(self, exchange: str, routing_key: str) -> bool:
        """Whether this user may publish there under that key.

        Of a user that `poses` not to be asked: it would be published.
        """
        return await self._publish_as_another(exchange, routing_key) is not ChannelAccessRefused

    async def poses(self, exchange: str, routing_key: str) -> bool:
        """Whether the broker lets this user speak as another.

        The key must be one that nothing is bound to: the message goes nowhere.
        """
        return await self._publish_as_another(exchange, routing_key) is None

    async def may_read(self, queue: str) -> bool:
        """Whether this user may consume from the queue."""
        refusal = await self._ask(
            lambda c: c.basic_consume(queue, _nothing, arguments={"x-priority": "none"})
        )
        return refusal is not ChannelAccessRefused

    async def takes_messages(self, exchange: str, routing_key: str) -> bool:
        """Whether the broker answers a publish now; one in alarm does not.

        The key must be one that nothing is bound to: the message goes nowhere. After a no this
        connection is of no more use.
        """
        try:
            await self._ask(
                lambda c: c.basic_publish(b"", exchange=exchange, routing_key=routing_key)
            )
        except BrokerLost:
            return False
        return True

    async def _publish_as_another(
        self, exchange: str, routing_key: str
    ) -> type[ChannelClosed] | None:
        flawed = Basic.Properties(user_id=f"nobody-{token_hex(4)}")
        return await self._ask(
            lambda c: c.basic_publish(
                b"", exchange=exchange, routing_key=routing_key, properties=flawed
            )
        )

    async def _ask(
        self, deed: Callable[[AbstractChannel], Awaitable[Any]]
    ) -> type[ChannelClosed] | None:
        """How the broker closed the channel; None when it did not."""
        try:
            return await _in_time(self._answer(deed))
        except (*CONNECTION_EXCEPTIONS, TimeoutError) as exc:
            raise BrokerLost(named(exc)) from exc

    async def _answer(
        self, deed: Callable[[AbstractChannel], Awaitable[Any]]
    ) -> type[ChannelClosed] | None:
        channel = await self._connection.channel(publisher_confirms=True)
        underlay = await channel.get_underlay_channel()
        try:
            await deed(underlay)
        except ChannelClosed as exc:
            return type(exc)
        await channel.close()
        return None


def _seen(refusal: type[ChannelClosed] | None) -> Seen:
    if refusal is None:
        return Seen.THERE
    return Seen.MISSING if refusal is ChannelNotFoundEntity else Seen.HIDDEN


async def _in_time(work: Coroutine[Any, Any, T]) -> T:
    """Raise TimeoutError after `ANSWER_SECONDS`, also where aiormq loses the first cancel."""
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait([task], timeout=ANSWER_SECONDS)
    if not done:
        await end([task], time_budget=CHILD_SECONDS)
        raise TimeoutError
    return task.result()


async def _closed(connection: AbstractConnection) -> None:
    await connection.close()


async def _nothing(_message: AbstractIncomingMessage | Any) -> None:
    """Take no message: none can come."""
