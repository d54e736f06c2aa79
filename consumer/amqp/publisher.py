"""Sends messages, confirmed by the broker, on a connection of its own.

On a memory or disk alarm the broker stops reading a connection that publishes. The consuming
connection must stay readable then, because acks travel on it: hence two.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker, NackError, UnroutableError

from consumer.amqp import link
from consumer.amqp.errors import BrokerUnavailable, MessageRefused
from consumer.errors import LabStopping
from messages.envelope import Wire

log = structlog.get_logger(__name__)

#: Seconds between two looks at an idle connection, so that its heartbeats flow.
_IDLE_SECONDS = 0.5

#: Seconds before the next message after one that was not taken.
_REFUSED_SECONDS = 1.0

#: So long may everything be refused on one channel before another is tried. RabbitMQ 3.10: a
#: channel that first published to a quorum queue while its leader was cut off looks for that leader
#: ever after, and refuses everything. A queue that is full refuses on any channel.
_STUCK_SECONDS = 20.0

#: AMQP 0-9-1 reply codes that concern one message: access refused, precondition failed.
_REFUSALS = (403, 406)

#: Hints waiting to be sent beyond this number are dropped.
_MAX_WAITING = 1000

#: Seconds that `stop` waits for the thread; a broker in alarm can hold it longer, and then it
#: ends with the process.
_STOP_SECONDS = 5.0


@dataclass(frozen=True, eq=False)
class _Item:
    wire: Wire
    exchange: str
    routing_key: str
    #: Done once the broker has confirmed; None for a hint, which nobody waits for.
    confirmed: Future[None] | None

    def end(self, error: Exception | None = None) -> None:
        """Let the waiter go on. A second end is ignored: `stop` and a late confirm can cross."""
        if self.confirmed is None:
            return
        with suppress(InvalidStateError):
            if error is None:
                self.confirmed.set_result(None)
            else:
                self.confirmed.set_exception(error)


class Publisher:
    """A thread that owns the publishing connection. `publish` may be called from any thread."""

    def __init__(self, urls: Sequence[str], *, heartbeat: int, name: str) -> None:
        self._brokers = link.Brokers(urls)
        self._heartbeat = heartbeat
        self._name = name
        self._items: Queue[_Item] = Queue()
        self._stopping = threading.Event()
        #: Guards `_waiting` and the decision to stop: nobody may begin to wait after it.
        self._lock = threading.Lock()
        self._waiting: set[_Item] = set()
        self._connection: pika.BlockingConnection | None = None
        #: Since when nothing was confirmed and something refused, by `time.monotonic`.
        self._nacked_since: float | None = None
        self._nacked_at = -math.inf
        #: How many connections there have been: hints may be lost with each.
        self.generation = 0
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to connect; messages handed in meanwhile wait."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Whoever still waits for a confirmation gets `LabStopping`."""
        with self._lock:
            self._stopping.set()
            waiting = list(self._waiting)
        for item in waiting:
            item.end(LabStopping("the lab is stopping"))
        self._thread.join(timeout=_STOP_SECONDS)

    def publish(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        """Send and wait until the broker has confirmed, however long it is away.

        Raises `MessageRefused` when it never will, and `LabStopping` when the lab stops first.
        """
        confirmed: Future[None] = Future()
        item = _Item(wire, exchange, routing_key, confirmed)
        with self._lock:
            if self._stopping.is_set():
                raise LabStopping("the lab is stopping")
            self._waiting.add(item)
        self._items.put(item)
        try:
            confirmed.result()
        finally:
            with self._lock:
                self._waiting.discard(item)

    def hint(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        """Send if the broker is there; a hint that cannot be sent now is dropped."""
        if self._connection is not None and self._items.qsize() < _MAX_WAITING:
            self._items.put(_Item(wire, exchange, routing_key, None))

    def _run(self) -> None:
        pause = link.Backoff()
        pending: _Item | None = None
        while not self._stopping.is_set():
            try:
                channel = self._open_channel()
                while not self._stopping.is_set():
                    pending = pending or self._next()
                    if pending is not None:
                        self._send(channel, pending)
                        pending = None
                        pause.reset()
                        self._require_some_taken()
            except Exception as exc:  # noqa: BLE001
                # Whatever it is, this thread must go on: jobs wait for what it confirms.
                pending = _after(exc, pending)
                self._close()
                wait = pause.next()
                log.warning(
                    "publishing connection lost",
                    action="publish.reconnect",
                    error=type(exc).__name__,
                    retry_in_s=round(wait, 1),
                )
                self._stopping.wait(wait)
        self._close()

    def _open_channel(self) -> BlockingChannel:
        connection = self._brokers.connect(heartbeat=self._heartbeat, name=self._name)
        # First: whatever fails from here on, `_close` closes it.
        self._connection = connection
        channel = connection.channel()
        channel.confirm_delivery()
        self._nacked_since = None
        # Last: who sees the new number can send.
        self.generation += 1
        return channel

    def _next(self) -> _Item | None:
        try:
            return self._items.get(timeout=_IDLE_SECONDS)
        except Empty:
            if self._connection is not None:
                self._connection.process_data_events(time_limit=0)
            return None

    def _send(self, channel: BlockingChannel, item: _Item) -> None:
        """Publish and wait for the confirmation."""
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
            # A missing binding or a full queue: an operator can mend both while it waits. It goes
            # behind the others, which may have another way.
            log.error(  # noqa: TRY400 - the type says it all
                "message not taken",
                action="publish.refused",
                exchange=item.exchange,
                routing_key=item.routing_key,
                type=wire.type,
                error=type(exc).__name__,
            )
            if item.confirmed is not None:
                self._items.put(item)
                if isinstance(exc, NackError):
                    self._note_refusal()
            self._stopping.wait(_REFUSED_SECONDS)
            return
        if item.confirmed is not None:
            self._nacked_since = None
        item.end()

    def _note_refusal(self) -> None:
        # A refused message is tried again each second: after a pause it is another trouble.
        now, before = time.monotonic(), self._nacked_at
        if self._nacked_since is None or now - before > _STUCK_SECONDS:
            self._nacked_since = now
        self._nacked_at = now

    def _require_some_taken(self) -> None:
        since = self._nacked_since
        if since is not None and time.monotonic() - since > _STUCK_SECONDS:
            raise BrokerUnavailable("everything was refused on this connection")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.is_open:
            try:
                connection.close()
            except Exception as exc:  # noqa: BLE001 - it is gone either way
                log.info(
                    "connection closed by the other side",
                    action="publish.close",
                    error=type(exc).__name__,
                )


def _after(error: Exception, pending: _Item | None) -> _Item | None:
    """What is still to be sent on the next connection: not a hint, nor what was refused."""
    if pending is None or pending.confirmed is None:
        return None
    if isinstance(error, ChannelClosedByBroker) and error.reply_code in _REFUSALS:
        pending.end(MessageRefused(f"{pending.exchange} refuses {pending.wire.type}"))
        return None
    if not isinstance(error, AMQPError | OSError | BrokerUnavailable):
        # A fault of ours with this message: it must not stand before all others for ever.
        pending.end(error)
        return None
    return pending
