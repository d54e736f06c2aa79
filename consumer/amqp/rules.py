"""What rules ask for: fetched one at a time, while a place is free and no reader waits."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import BasicProperties

log = structlog.get_logger(__name__)

#: Seconds between two looks at a queue that had nothing. A rule's request can wait so long.
_PAUSE = 1.0

#: AMQP 0-9-1 reply code ACCESS_REFUSED.
_ACCESS_REFUSED = 403

#: Gets the tag, the properties and the body of what was fetched.
OnRule = Callable[[int, BasicProperties, bytes], None]


class RulesQueue:
    """Asks and fetches instead of consuming: a consumer would be sent what it did not ask for.

    Main thread only, and not from within a callback of the connection.
    """

    def __init__(self, queue: str, readers_queue: str) -> None:
        self._queue = queue
        self._readers_queue = readers_queue
        self._channel: BlockingChannel | None = None
        self._next = 0.0
        #: The words of why there is none, once they were logged.
        self._warned: str | None = None
        self._refused = False

    def attach(self, channel: BlockingChannel, *, there: bool) -> None:
        """Use this channel from now on. `there`: an installation of before has no such queue."""
        self._channel = channel if there and not self._refused else None
        self._next = 0.0
        if not there:
            self._warn("is not on the broker: import the topology of this version")

    def detach(self) -> None:
        """The channel is gone."""
        self._channel = None

    def fetch(
        self, on_rule: OnRule, *, settle: Callable[[], None], room: Callable[[], bool]
    ) -> bool:
        """Take one if one waits, no reader does, and there is `room` once that is known.

        `settle` handles what the broker has sent until then.
        """
        channel = self._channel
        if channel is None or time.monotonic() < self._next or not room():
            return False
        self._next = time.monotonic() + _PAUSE
        if not self._waiting(channel, self._queue) or self._waiting(channel, self._readers_queue):
            return False
        # A reader's that was sent to us a moment ago waits in no queue any more.
        settle()
        if not channel.is_open or not room():
            return False
        try:
            method, properties, body = channel.basic_get(self._queue)
        except ChannelClosedByBroker as exc:
            if exc.reply_code == _ACCESS_REFUSED:
                # Not again: each refusal ends the channel, and what is in hand is given out anew.
                self._refused = True
                self._warn("may not be read by this lab's broker user: compare the permissions")
            raise
        if method is None or properties is None or body is None:
            return False
        self._next = 0.0
        on_rule(method.delivery_tag, properties, body)
        return True

    @staticmethod
    def _waiting(channel: BlockingChannel, queue: str) -> bool:
        return bool(channel.queue_declare(queue, passive=True).method.message_count)

    def _warn(self, why: str) -> None:
        if self._warned != why:
            self._warned = why
            log.warning(
                f"the queue of the rules {why}; only what readers ask for is taken",
                action="rules.without",
                queue=self._queue,
            )
