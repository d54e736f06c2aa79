"""Opening a connection to the first broker that answers, and pacing the tries."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pika
import structlog
from pika.exceptions import ProbableAccessDeniedError, ProbableAuthenticationError

from consumer.amqp.errors import BrokerUnavailable
from messages import brokers

log = structlog.get_logger(__name__)

#: Seconds for one TCP connect and for the AMQP handshake behind it.
_CONNECT_SECONDS = 5.0

#: Milliseconds that sent data may stay unconfirmed before the kernel gives the connection up
#: (TCP_USER_TIMEOUT, RFC 5482): a cut network is noticed though nothing is received.
_USER_TIMEOUT_MS = 20_000


#: Seconds between two tries: the shortest pause, and the longest one of a broker that stays away.
_SHORTEST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0


class Backoff:
    """Seconds to wait between tries: from 1 to a ceiling that doubles, 2 to 30, with jitter."""

    def __init__(self) -> None:
        self._ceiling = 2 * _SHORTEST_PAUSE

    def next(self) -> float:
        """Seconds to wait now."""
        wait = random.uniform(_SHORTEST_PAUSE, self._ceiling)  # noqa: S311 - pacing, no secret
        self._ceiling = min(_LONGEST_PAUSE, self._ceiling * 2)
        return wait

    def reset(self) -> None:
        """It worked: begin with the shortest again."""
        self._ceiling = 2 * _SHORTEST_PAUSE


def parameters_of(url: str, *, heartbeat: int, name: str) -> pika.URLParameters:
    """How every connection of ours is made; the form of `url` was checked by the settings."""
    parameters = pika.URLParameters(url)
    parameters.heartbeat = heartbeat
    parameters.socket_timeout = _CONNECT_SECONDS
    parameters.stack_timeout = 2 * _CONNECT_SECONDS
    # No `blocked_connection_timeout`: a broker in alarm is awaited on the connection on which it
    # holds the message. A new connection would be blocked as well, all nodes of a cluster share
    # the alarm, and each one would send the message once more. That the broker is alive is
    # seen by its heartbeats, which it goes on sending.
    parameters.client_properties = {"connection_name": name}
    parameters.tcp_options = {"TCP_USER_TIMEOUT": _USER_TIMEOUT_MS, "TCP_KEEPIDLE": 30}
    return parameters


def connect(urls: Sequence[str], *, heartbeat: int, name: str) -> pika.BlockingConnection:
    """Connect to the first of `urls` that answers.

    Raises `BrokerUnavailable`; its text holds no URL, because a URL holds the password.
    """
    reason = "no broker URL"
    for url in urls:
        parameters = parameters_of(url, heartbeat=heartbeat, name=name)
        where = f"{parameters.host}:{parameters.port}"
        try:
            connection = pika.BlockingConnection(parameters)
        except (ProbableAuthenticationError, ProbableAccessDeniedError):
            reason = f"{where} refuses this user, its password or the virtual host"
        except Exception as exc:  # noqa: BLE001
            # Not only AMQPError and OSError: a broker that accepts and then says nothing ends in
            # an exception of pika's connector that belongs to neither.
            reason = f"{where} does not answer ({type(exc).__name__})"
        else:
            _log_when_blocked(connection, name)
            return connection
        log.warning("broker not reached", action="broker.connect", reason=reason)
    raise BrokerUnavailable(reason)


def version_of(connection: pika.BlockingConnection) -> str:
    """The version that the broker states; "" when it states none."""
    return brokers.version_of(connection._impl.server_properties)  # noqa: SLF001 - nowhere else


class Brokers:
    """The nodes of a cluster in turn, each time beginning behind the one that was tried last.

    The node that was just lost is the likeliest to say nothing now, and costs a whole time limit.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(urls)

    def connect(self, *, heartbeat: int, name: str) -> pika.BlockingConnection:
        """Connect to the next that answers. Raises `BrokerUnavailable` as `connect` does."""
        last = BrokerUnavailable("no broker URL")
        for _ in self._urls:
            url, *others = self._urls
            self._urls = (*others, url)
            try:
                return connect((url,), heartbeat=heartbeat, name=name)
            except BrokerUnavailable as exc:
                last = exc
        raise last


def _log_when_blocked(connection: pika.BlockingConnection, name: str) -> None:
    """Log that the broker is in alarm (disk or memory) and takes nothing, and that it is over."""

    def blocked(*_: object) -> None:
        log.warning("broker in alarm, messages wait", action="broker.blocked", connection=name)

    def unblocked(*_: object) -> None:
        log.info("broker takes messages again", action="broker.unblocked", connection=name)

    # Not the BlockingConnection's own callbacks: it calls them between two calls of ours, and
    # whoever publishes waits inside one for as long as the alarm lasts.
    inner = connection._impl  # noqa: SLF001
    inner.add_on_connection_blocked_callback(blocked)
    inner.add_on_connection_unblocked_callback(unblocked)
