"""The control queue: cancels, and how a job's thread knows that it has missed none."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Lock
from uuid import UUID

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

from consumer.amqp.errors import BrokerUnavailable, TopologyMissing
from consumer.errors import LabStopping
from messages import codec
from messages.control import CancelRequested
from messages.errors import UndecodableMessage, UnknownVersion
from messages.topology import CONTROL_QUEUES, control_queue

log = structlog.get_logger(__name__)

#: AMQP 0-9-1 reply codes.
_ACCESS_REFUSED, _NOT_FOUND = 403, 404

#: The broker's words where another one consumes exclusively; a missing right is a 403 as well.
_IN_USE = "in exclusive use"

#: Its words for a queue on a node that is away; one that does not exist is a 404 as well.
_AWAY = "home node"

#: Messages that one turn of the main loop handles: more wait, so that work gets its turn.
_AT_ONCE = 100


class ControlQueue:
    """The control queue that one connection has taken for itself. Main thread only.

    An installation has a few for each lab. What lies there from before is at most ten minutes old
    and concerns nothing that is in flight now, or is true of it.
    """

    def __init__(
        self,
        connection: pika.BlockingConnection,
        *,
        lab: str,
        pool: str,
        cancel: Callable[[UUID], bool],
        first: bool,
    ) -> None:
        """Consume from the first that is free. `cancel` gets each cancelled request.

        Without one that is a `TopologyMissing` at the `first` connection, and `BrokerUnavailable`
        later: the broker may still hold the consumer of the connection before.
        """
        self._connection = connection
        self._cancel = cancel
        self._handled = 0
        #: Tags of the last message that was handled, and of the last that was acknowledged.
        self._last = self._acknowledged = 0
        self.queue, self._channel = self._take(lab, pool, TopologyMissing if first else None)

    @property
    def is_consuming(self) -> bool:
        """False once the broker has closed the channel or taken the queue away."""
        return bool(self._channel.is_open and self._channel.consumer_tags)

    def acknowledge(self) -> None:
        """Let the broker send the next. Once a turn, and not from within a callback."""
        if self._last != self._acknowledged and self._channel.is_open:
            self._channel.basic_ack(self._last, multiple=True)
            self._acknowledged = self._last

    def catch_up(self) -> None:
        """Return once every cancel is handled that the broker had for this lab before the call.

        Not from within a callback of the connection.
        """
        self.acknowledge()
        before: int | None = None
        # Asked once, the broker's channel may answer before it passes on what the queue gave it
        # while it asked. That then lies before it, and its second answer comes behind it.
        for _ in range(2):
            waiting = True
            while waiting:
                answer = self._channel.queue_declare(self.queue, passive=True)
                ready = answer.method.message_count
                if before is None:
                    # With those on their way to us. Newer ones are not waited for: whoever floods
                    # the queue would keep us here.
                    before = self._handled + _AT_ONCE + ready
                # Handle what came before the answer.
                self._connection.process_data_events(time_limit=0)
                if not self.is_consuming:
                    raise BrokerUnavailable("the broker took the control queue away")
                self.acknowledge()
                if self._handled >= before:
                    return
                waiting = ready > 0

    def _take(
        self, lab: str, pool: str, error: type[TopologyMissing] | None
    ) -> tuple[str, BlockingChannel]:
        in_use = away = 0
        missing = []
        for number in range(1, CONTROL_QUEUES + 1):
            queue = control_queue(lab, number)
            channel = self._connection.channel()
            channel.basic_qos(prefetch_count=_AT_ONCE)
            try:
                channel.basic_consume(queue, self._on_message, exclusive=True)
            except ChannelClosedByBroker as exc:
                if exc.reply_code == _NOT_FOUND and _AWAY in exc.reply_text:
                    away += 1
                elif exc.reply_code == _NOT_FOUND:
                    missing.append(queue)
                elif exc.reply_code == _ACCESS_REFUSED and _IN_USE in exc.reply_text:
                    in_use += 1
                elif exc.reply_code == _ACCESS_REFUSED:
                    raise (error or BrokerUnavailable)(
                        f"This lab's broker user may not read {queue}: compare LAB_NAME and "
                        "LAB_POOL with the permissions (infra/rabbitmq/README.md), and where they "
                        f"are right, {_put_there(lab, pool)}"
                    ) from exc
                else:
                    raise
            else:
                return queue, channel
        if away:
            raise BrokerUnavailable(f"{away} control queues of {lab} lie on a node that is away")
        raise (error or BrokerUnavailable)(
            _none_free(lab, in_use) if in_use else _none_there(lab, pool, missing)
        )

    def _on_message(
        self,
        _channel: BlockingChannel,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
    ) -> None:
        self._handled += 1
        self._last = method.delivery_tag
        try:
            message = codec.decode(
                body, type_=properties.type, content_type=properties.content_type
            )
        except (UndecodableMessage, UnknownVersion) as exc:
            _dropped(str(exc), body)
            return
        if not isinstance(message, CancelRequested):
            _dropped("not a cancel", body)
        elif self._cancel(message.request_id):
            log.info("cancel heard", action="control.cancel", request_id=str(message.request_id))


def _none_free(lab: str, in_use: int) -> str:
    return (
        f"All {in_use} control queues of {lab} are in use: so many processes of this lab run "
        "already. Stop one; one whose machine was lost is forgotten within a minute. More labs "
        "need a broker user and a LAB_NAME of their own (infra/rabbitmq/README.md)"
    )


def _none_there(lab: str, pool: str, missing: list[str]) -> str:
    return f"The control queues of this lab do not exist ({missing[0]} and on): " + _put_there(
        lab, pool
    )


def _put_there(lab: str, pool: str) -> str:
    return (
        f"`mri-web lab add {lab} --pool {pool}` on the site says what the broker needs: a file to "
        f"import there by an absolute path, as in rabbitmqctl import_definitions "
        f"/etc/rabbitmq/labrelay-{lab}.json"
    )


def _dropped(reason: str, body: bytes) -> None:
    log.warning("control message dropped", action="control.drop", reason=reason, bytes=len(body))


class CancelSync:
    """Job threads that wait until the main thread has caught up with the cancels."""

    def __init__(self, *, wake: Callable[[], None]) -> None:
        self._wake = wake
        #: Guards what follows.
        self._lock = Lock()
        self._waiting: list[Future[None]] = []
        self._closed = False

    def wait(self) -> None:
        """Wait, without a connection until there is one again. Raises `LabStopping`."""
        caught_up: Future[None] = Future()
        with self._lock:
            if self._closed:
                raise LabStopping("the lab is stopping")
            self._waiting.append(caught_up)
        self._wake()
        caught_up.result()

    def answer(self, control: ControlQueue) -> None:
        """Catch up, and let those go on who asked before. Main thread only."""
        with self._lock:
            asked = list(self._waiting)
        if not asked:
            return
        # When this fails they go on waiting: the next connection answers them.
        control.catch_up()
        with self._lock:
            self._waiting = [caught_up for caught_up in self._waiting if caught_up not in asked]
        for caught_up in asked:
            with suppress(InvalidStateError):
                caught_up.set_result(None)

    def close(self) -> None:
        """Nobody will answer any more: whoever waits gets `LabStopping`."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, []
        for caught_up in waiting:
            with suppress(InvalidStateError):
                caught_up.set_exception(LabStopping("the lab is stopping"))
