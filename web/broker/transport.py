"""The way to a broker: an address of ours, and a socket that notices a cut line by itself."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.connection import make_url
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from messages import brokers

#: Seconds between heartbeats. aiormq gives a peer up that was silent for three of them and three
#: seconds more, and looks every half of one: a broker that hangs is noticed within 38 s.
HEARTBEAT_SECONDS = 10

#: Seconds that sent data may stay unacknowledged by the other machine (tcp(7), TCP_USER_TIMEOUT).
#: The kernel's own patience is a quarter of an hour. The next heartbeat is sent within five
#: seconds: a pulled cable is noticed within 25 s, and within 20 s while messages are on their way.
USER_TIMEOUT_SECONDS = 20


class WatchedTransport(TransportFactory):
    """Opens the socket as aiormq does, and lets the kernel give it up in time."""

    def __init__(self, *, tls: bool) -> None:
        self._factory = TLSTransportFactory() if tls else TCPTransportFactory()

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect; raises as aiormq's own factories do."""
        reader, writer = await self._factory.create(url, **kwargs)
        # Linux only; elsewhere the heartbeats are left.
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            writer.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_SECONDS * 1000
            )
        return reader, writer


def connection_to(url: str, name: str) -> aio_pika.Connection:
    """A connection that is still to be opened; the broker lists it under the name."""
    address = make_url(url, name=f"labrelay-web {name}", heartbeat=HEARTBEAT_SECONDS)
    connection = aio_pika.Connection(address)
    connection.kwargs["transport_factory"] = WatchedTransport(tls=address.scheme == "amqps")
    return connection


def version_of(connection: AbstractConnection) -> str:
    """The version that the broker states; "" when it states none, or is gone already."""
    if connection.transport is None:
        return ""
    return brokers.version_of(connection.transport.connection.server_properties)
