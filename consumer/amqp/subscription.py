"""The consumer on the readers' queue, opened and closed without touching what it has brought."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

from consumer.amqp.errors import TopologyMissing

log = structlog.get_logger(__name__)

#: AMQP 0-9-1 reply code ACCESS_REFUSED.
_ACCESS_REFUSED = 403

OnMessage = Callable[[BlockingChannel, Basic.Deliver, BasicProperties, bytes], None]


class Subscription:
    """Used by the main thread, and not from within a callback of the connection."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._channel: BlockingChannel | None = None
        self._on_message: OnMessage | None = None
        self._tag: str | None = None
        self._room = 0
        self._opened_before = False

    @property
    def closed(self) -> bool:
        """Whether nothing more comes."""
        return self._tag is None

    @property
    def lost(self) -> bool:
        """Whether the broker has cancelled the consumer: its queue is gone, or moved."""
        return (
            self._tag is not None
            and self._channel is not None
            and self._tag not in self._channel.consumer_tags
        )

    def attach(self, channel: BlockingChannel, on_message: OnMessage) -> None:
        """Use this channel from now on; closed at first."""
        self._channel, self._on_message, self._tag = channel, on_message, None

    def detach(self) -> None:
        """The channel is gone."""
        self._channel = self._tag = None

    def open(self, room: int) -> None:
        """Take requests, and hold as many as there is `room` for; with none it is closed.

        Raises `TopologyMissing` when this user never might.
        """
        if self._channel is None or (self._tag is not None and room == self._room):
            return
        # Its prefetch is a consumer's for good.
        self.close()
        if room < 1:
            return
        self._room = room
        self._channel.basic_qos(prefetch_count=room)
        try:
            self._tag = self._channel.basic_consume(self._queue, self._on_message, auto_ack=False)
        except ChannelClosedByBroker as exc:
            if not self._opened_before and exc.reply_code == _ACCESS_REFUSED:
                raise TopologyMissing(
                    f"This lab's broker user may not read {self._queue}: compare LAB_POOL with "
                    "the permissions (infra/rabbitmq/README.md)"
                ) from exc
            raise
        self._opened_before = True
        log.info("consuming", action="broker.consuming", queue=self._queue)

    def close(self) -> None:
        """Take no more.

        What the broker sends in the millisecond before it has read the cancel is given back by
        pika itself, with requeue, and counted: so close when a place in hand is not being filled.
        """
        if self._channel is None or self._tag is None:
            return
        # Forgotten first: this cancel must not be taken for one of the broker's.
        tag, self._tag = self._tag, None
        self._channel.basic_cancel(tag)
        log.info("taking no more", action="broker.paused", queue=self._queue)
