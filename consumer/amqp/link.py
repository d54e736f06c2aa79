"""Opening a connection to the first broker that answers, and pacing the tries."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pika
import structlog
from pika.exceptions import ProbableAccessDeniedError, ProbableAuthenticationError

from consumer.amqp.errors import BrokerUnavailable

log = structlog.get_logger(__name__)

#: Seconds for one TCP connect and for the AMQP handshake behind it.
_CONNECT_SECONDS = 5.0

#: Milliseconds that sent data may stay unconfirmed before the kernel gives the connection up
#: (TCP_USER_TIMEOUT, RFC 5482): a cut network is noticed though nothing is received.
_USER_TIMEOUT_MS = 20_000


class Backoff:
    """Waiting times between tries: 1 to 30 s, the ceiling doubled each time, with full jitter."""

    def __init__(self) -> None:
        self._ceiling = 1.0

    def next(self) -> float:
        """Seconds to wait now."""
        wait = random.uniform(0.5, self._ceiling)  # noqa: S311 - pacing, no secret
        self._ceiling = min(30.0, self._ceiling * 2)
        return wait

    def reset(self) -> None:
        """It worked: begin with the shortest again."""
        self._ceiling = 1.0


def parameters_of(url: str, *, heartbeat: int, name: str) -> pika.URLParameters:
    """How every connection of ours is made; the form of `url` was checked by the settings."""
    parameters = pika.URLParameters(url)
    parameters.heartbeat = heartbeat
    parameters.socket_timeout = _CONNECT_SECONDS
    parameters.stack_timeout = 2 * _CONNECT_SECONDS
    parameters.blocked_connection_timeout = 300
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
            return pika.BlockingConnection(parameters)
        except (ProbableAuthenticationError, ProbableAccessDeniedError):
            reason = f"{where} refuses this user, its password or the virtual host"
        except Exception as exc:  # noqa: BLE001
            # Not only AMQPError and OSError: a broker that accepts and then says nothing ends in
            # an exception of pika's connector that belongs to neither.
            reason = f"{where} does not answer ({type(exc).__name__})"
        log.warning("broker not reached", action="broker.connect", reason=reason)
    raise BrokerUnavailable(reason)
