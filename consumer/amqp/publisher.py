"""Sends messages, confirmed by the broker, on a connection of its own.

On a memory or disk alarm the broker stops reading a connection that publishes. The consuming
connection must stay readable then, because acks travel on it: hence two.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Empty, Full, Queue

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, NackError, UnroutableError

from consumer.amqp import link
from consumer.amqp.errors import BrokerUnavailable, PublisherStopped
from messages.envelope import Wire

log = structlog.get_logger(__name__)

#: Seconds between two looks at an idle connection, so that its heartbeats flow.
_IDLE_SECONDS = 0.5

#: Hints waiting to be sent beyond this number are dropped.
_MAX_WAITING = 1000


@dataclass(frozen=True)
class _Item:
    wire: Wire
    exchange: str
    routing_key: str
    #: Set once the broker has confirmed; None for a hint, which nobody waits for.
    confirmed: Future[None] | None


class Publisher:
    """A thread that owns the publishing connection. `publish` may be called from any thread."""

    def __init__(self, urls: Sequence[str], *, heartbeat: int, name: str) -> None:
        self._urls = urls
        self._heartbeat = heartbeat
        self._name = name
        self._items: Queue[_Item] = Queue(_MAX_WAITING)
        self._stopping = threading.Event()
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to connect; messages handed in meanwhile wait."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Whoever still waits for a confirmation gets `PublisherStopped`."""
        self._stopping.set()
        self._thread.join(timeout=10)

    def publish(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        """Send and wait until the broker has confirmed, however long it is away.

        Raises `PublisherStopped` when the lab stops first.
        """
        confirmed: Future[None] = Future()
        self._items.put(_Item(wire, exchange, routing_key, confirmed))
        if self._stopping.is_set() and not self._thread.is_alive():
            raise PublisherStopped("the publisher has ended")
        confirmed.result()

    def hint(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        """Send if the broker is there; a hint that cannot be sent now is dropped."""
        if self._channel is not None:
            try:
                self._items.put_nowait(_Item(wire, exchange, routing_key, None))
            except Full:
                log.warning("hint dropped", action="publish.drop", type=wire.type)

    def _run(self) -> None:
        pending: _Item | None = None
        pause = link.Backoff()
        while not self._stopping.is_set():
            try:
                channel = self._open_channel()
                while not self._stopping.is_set():
                    pending = pending or self._next()
                    if pending is None:
                        continue
                    self._send(channel, pending)
                    pending = None
                    pause.reset()
            except (AMQPError, OSError, BrokerUnavailable) as exc:
                self._drop_connection()
                if pending is not None and pending.confirmed is None:
                    pending = None
                wait = pause.next()
                log.warning(
                    "publishing connection lost",
                    action="publish.reconnect",
                    error=type(exc).__name__,
                    retry_in_s=round(wait, 1),
                )
                self._stopping.wait(wait)
        self._refuse(pending)
        self._drop_connection()

    def _open_channel(self) -> BlockingChannel:
        self._connection = link.connect(self._urls, heartbeat=self._heartbeat, name=self._name)
        channel = self._connection.channel()
        channel.confirm_delivery()
        self._channel = channel
        return channel

    def _next(self) -> _Item | None:
        try:
            return self._items.get(timeout=_IDLE_SECONDS)
        except Empty:
            assert self._connection is not None  # noqa: S101 - set by _open_channel
            self._connection.process_data_events(time_limit=0)
            return None

    def _send(self, channel: BlockingChannel, item: _Item) -> None:
        """Publish and wait for the confirmation. Any refusal counts as the broker being away."""
        wire = item.wire
        properties = pika.BasicProperties(
            content_type=wire.content_type,
            delivery_mode=pika.DeliveryMode.Persistent.value,
            message_id=wire.message_id,
            correlation_id=wire.correlation_id,
            type=wire.type,
            timestamp=wire.timestamp,
            app_id=wire.app_id,
            user_id=wire.user_id,
            headers=dict(wire.headers),
        )
        try:
            channel.basic_publish(
                item.exchange, item.routing_key, wire.body, properties, mandatory=True
            )
        except (UnroutableError, NackError) as exc:
            # A missing binding or a full queue: an operator can mend both while we wait.
            log.exception(
                "message not taken",
                action="publish.refused",
                exchange=item.exchange,
                routing_key=item.routing_key,
                type=wire.type,
            )
            raise BrokerUnavailable(f"{item.exchange} did not take {wire.type}") from exc
        if item.confirmed is not None:
            item.confirmed.set_result(None)

    def _refuse(self, pending: _Item | None) -> None:
        items = [] if pending is None else [pending]
        while True:
            try:
                items.append(self._items.get_nowait())
            except Empty:
                break
        for item in items:
            if item.confirmed is not None:
                item.confirmed.set_exception(PublisherStopped("the lab is stopping"))

    def _drop_connection(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None and connection.is_open:
            try:
                connection.close()
            except (AMQPError, OSError):
                log.info("connection closed by the other side", action="publish.close")
