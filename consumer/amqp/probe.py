"""Questions to the broker that leave nothing there: `mri-consumer check` asks them.

How a permission is proved without its being used: the broker looks at permissions before it looks
at what is sent, so each deed is flawed on purpose. A publish names a user that we are not, a
consume has a priority that is no number. The answer 403 means that it is not allowed, 406 that it
is allowed and was refused for the flaw. No message is queued, no consumer comes to be, no delivery
is counted. Each question costs one line in the broker's log. (rabbit_channel.erl,
``basic.publish`` and ``basic.consume``; tried on 3.10.8, 4.0.5 and 4.3.6. An expiration that is no
number is no such flaw: 4.x looks at it before the topic permission.)
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from secrets import token_hex

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from consumer.amqp import link
from consumer.amqp.errors import BrokerError
from messages.brokers import Seen
from messages.topology import control_queue

#: Seconds that a broker in alarm may hold a publish before it is called one.
_ALARM_SECONDS = 5

#: AMQP 0-9-1 reply codes.
_REFUSED, _NOT_FOUND, _FLAWED = 403, 404, 406


class Obstacle(Enum):
    """What a connection failed at."""

    ADDRESS = "address"
    TLS = "tls"
    CREDENTIALS = "credentials"
    VHOST = "vhost"


class NotConnected(BrokerError):
    """No connection; neither URL nor password is in it."""

    def __init__(self, obstacle: Obstacle, address: str, detail: str = "") -> None:
        super().__init__(f"{address} {detail}".rstrip())
        self.obstacle = obstacle
        self.address = address
        #: The system's word for it, or the virtual host.
        self.detail = detail


class Probe:
    """One connection for questions. Every question may raise `BrokerError`."""

    def __init__(self, url: str, *, name: str) -> None:
        """Connect. Raises `NotConnected`."""
        parameters = link.parameters_of(url, heartbeat=30, name=name)
        parameters.blocked_connection_timeout = _ALARM_SECONDS
        self.address = f"{parameters.host}:{parameters.port}"
        self.vhost = parameters.virtual_host
        try:
            self._connection = pika.BlockingConnection(parameters)
        except ProbableAuthenticationError as exc:
            raise NotConnected(Obstacle.CREDENTIALS, self.address) from exc
        except ProbableAccessDeniedError as exc:
            raise NotConnected(Obstacle.VHOST, self.address, self.vhost) from exc
        except ssl.SSLError as exc:
            reason = exc.reason or type(exc).__name__
            raise NotConnected(Obstacle.TLS, self.address, reason) from exc
        except Exception as exc:
            # Also what is neither AMQPError nor OSError, see `link.connect`.
            raise NotConnected(Obstacle.ADDRESS, self.address, _cause(exc)) from exc
        self.version = link.version_of(self._connection)

    def close(self) -> None:
        """Close the connection."""
        with suppress(AMQPError, OSError):
            self._connection.close()

    def queue(self, name: str) -> Seen:
        """What this user can see of the queue."""
        return _seen(self._ask(lambda c: c.queue_declare(name, passive=True)))

    def exchange(self, name: str) -> Seen:
        """What this user can see of the exchange."""
        return _seen(self._ask(lambda c: c.exchange_declare(name, passive=True)))

    def may_write(self, exchange: str, routing_key: str) -> bool:
        """Whether this user may publish there under that key.

        Of a user that `may_impersonate` not to be asked: it would be published.
        """
        return self._publish_as_another(exchange, routing_key) != _REFUSED

    def may_impersonate(self, exchange: str, routing_key: str) -> bool:
        """Whether the broker lets this user speak as another.

        The key must be one that nothing is bound to: the message goes nowhere.
        """
        return self._publish_as_another(exchange, routing_key) is None

    def may_read(self, queue: str) -> bool:
        """Whether this user may consume from the queue."""

        def consume(channel: BlockingChannel) -> None:
            channel.basic_qos(prefetch_count=1)
            channel.basic_consume(queue, lambda *_: None, arguments={"x-priority": "none"})

        return self._ask(consume) != _REFUSED

    def may_read_cancels(self, lab: str) -> bool:
        """Whether this user may consume from the lab's control queues."""
        return self.may_read(control_queue(lab, 1))

    def takes_messages(self, exchange: str, routing_key: str) -> bool:
        """Whether the broker answers a publish now; one in alarm does not.

        The key must be one that nothing is bound to: the message goes nowhere. After a no this
        connection is of no more use.
        """

        def publish(channel: BlockingChannel) -> None:
            channel.confirm_delivery()
            channel.basic_publish(exchange, routing_key, b"")

        try:
            self._ask(publish)
        except BrokerError:
            return False
        return True

    def _publish_as_another(self, exchange: str, routing_key: str) -> int | None:
        flawed = pika.BasicProperties(user_id=f"nobody-{token_hex(4)}")

        def publish(channel: BlockingChannel) -> None:
            channel.confirm_delivery()
            channel.basic_publish(exchange, routing_key, b"", flawed)

        return self._ask(publish)

    def _ask(self, deed: Callable[[BlockingChannel], object]) -> int | None:
        """The reply code with which the broker closed the channel; None when it did not."""
        try:
            channel = self._connection.channel()
            try:
                deed(channel)
            except ChannelClosedByBroker as exc:
                if exc.reply_code not in (_REFUSED, _NOT_FOUND, _FLAWED):
                    raise
                return int(exc.reply_code)
            channel.close()
        except (AMQPError, OSError) as exc:
            raise BrokerError(f"the broker broke off ({type(exc).__name__})") from exc
        return None


def _seen(code: int | None) -> Seen:
    if code is None:
        return Seen.THERE
    return Seen.MISSING if code == _NOT_FOUND else Seen.HIDDEN


def _cause(error: Exception) -> str:
    """The system's own word for it: pika wraps it once."""
    inner = error.args[0] if error.args else None
    cause = getattr(inner, "exception", inner)
    return type(cause if isinstance(cause, Exception) else error).__name__
