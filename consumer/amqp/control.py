"""What the clinic tells all labs: cancels, heard on a channel and in a queue of our own."""

from __future__ import annotations

from collections.abc import Callable
from secrets import token_hex
from uuid import UUID

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

from consumer.amqp.errors import BrokerUnavailable, TopologyMissing
from messages import codec
from messages.control import CancelRequested
from messages.errors import UndecodableMessage, UnknownVersion
from messages.topology import CONTROL

log = structlog.get_logger(__name__)

#: AMQP 0-9-1 reply code ACCESS_REFUSED.
_ACCESS_REFUSED = 403


class Control:
    """The control queue of one connection. It goes with the connection; main thread only."""

    def __init__(
        self,
        connection: pika.BlockingConnection,
        *,
        lab: str,
        cancel: Callable[[UUID], bool],
        first: bool,
    ) -> None:
        """Make the queue, bind and consume it. `cancel` gets each cancelled request.

        Raises `TopologyMissing` at the `first` connection when this user may not.
        """
        self._connection = connection
        self._cancel = cancel
        self._channel: BlockingChannel = connection.channel()
        # The random part: after a reconnect the broker may still hold the queue of the lost
        # connection, and an exclusive name is refused to the next one (405 RESOURCE_LOCKED).
        self.queue = f"{CONTROL}.{lab}.{token_hex(6)}"
        try:
            self._channel.queue_declare(self.queue, exclusive=True, auto_delete=True)
            self._channel.queue_bind(self.queue, CONTROL)
            self._channel.basic_consume(self.queue, self._on_message, auto_ack=True)
        except ChannelClosedByBroker as exc:
            if first and exc.reply_code == _ACCESS_REFUSED:
                raise TopologyMissing(
                    f"This lab's broker user may not make and read the queue {CONTROL}.{lab}.*: "
                    "compare LAB_NAME with the permissions (infra/rabbitmq/README.md)"
                ) from exc
            raise

    @property
    def hears(self) -> bool:
        """False once the broker has closed the channel or taken the queue away."""
        return bool(self._channel.is_open and self._channel.consumer_tags)

    def catch_up(self) -> None:
        """Return once every cancel is handled that the broker had for this lab before the call.

        Not from within a callback of the connection.
        """
        # Asked once, the broker's channel may answer before it passes on what the queue gave it
        # while it asked. That then lies before it, and its second answer comes behind it.
        for _ in range(2):
            waiting = True
            while waiting:
                answer = self._channel.queue_declare(self.queue, passive=True)
                waiting = answer.method.message_count > 0
                # Handle what came before the answer.
                self._connection.process_data_events(time_limit=0)
                if not self.hears:
                    raise BrokerUnavailable("the broker took the control queue away")

    def _on_message(
        self,
        _channel: BlockingChannel,
        _method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
    ) -> None:
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


def _dropped(reason: str, body: bytes) -> None:
    log.warning("control message dropped", action="control.drop", reason=reason, bytes=len(body))
