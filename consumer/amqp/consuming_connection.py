"""One generation of the consuming connection: from a broker that answers to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import pika
import structlog
from pika.exceptions import AMQPError

from consumer.amqp.control import CancelSync, ControlQueue
from consumer.amqp.errors import BrokerUnavailable
from consumer.amqp.intake import Intake
from consumer.amqp.link import Brokers

log = structlog.get_logger(__name__)


class ConsumingConnection:
    """Connection, channel of the work and control queue. Main thread only, but for `wake`."""

    def __init__(
        self,
        connection: pika.BlockingConnection,
        intake: Intake,
        *,
        lab: str,
        cancel: Callable[[UUID], bool],
        first: bool,
    ) -> None:
        """Check what must exist, and listen. Raises `TopologyMissing` at the `first` connection."""
        self._connection = connection
        intake.check_topology(connection, first=first)
        # Before any delivery: a cancel of what comes is not missed.
        self._control = ControlQueue(
            connection, lab=lab, pool=intake.pool, cancel=cancel, first=first
        )
        self.has_rules = intake.has_rules(connection)
        self.channel = connection.channel()

    @property
    def can_settle(self) -> bool:
        """Whether what was delivered here can still be settled."""
        return bool(self.channel.is_open)

    @property
    def receives_cancels(self) -> bool:
        """Whether cancels come."""
        return self._control.is_consuming

    def wait(self, seconds: float) -> None:
        """Handle what comes, for so long or until a job's thread wakes us."""
        self._connection.process_data_events(time_limit=seconds)
        self._control.acknowledge()

    def answer(self, cancel_sync: CancelSync) -> None:
        """Let the jobs go on that wait to know that they have missed no cancel."""
        cancel_sync.answer(self._control)

    def answer_while_ending(self, cancel_sync: CancelSync) -> None:
        """The same; if no cancel can come any more, end those who wait and go on.

        The others may have their result stored: the grace is theirs, and their acks travel on
        another channel.
        """
        try:
            self.answer(cancel_sync)
        except (AMQPError, BrokerUnavailable) as exc:
            if not self.can_settle:
                raise
            log.warning("hears no cancels", action="control.lost", error=type(exc).__name__)
            cancel_sync.close()

    def wake(self) -> None:
        """End the main thread's `wait`: from a job's thread."""
        try:
            self._connection.add_callback_threadsafe(_nothing)
        except AMQPError:
            log.info("waits for the next connection", action="job.outcome")


@contextmanager
def consuming_connection(
    brokers: Brokers, intake: Intake, *, lab: str, cancel: Callable[[UUID], bool], first: bool
) -> Iterator[ConsumingConnection]:
    """Connect for the block. Whatever ends the connection in it is `BrokerUnavailable`."""
    connection = brokers.connect(heartbeat=intake.heartbeat, name=intake.name)
    try:
        yield ConsumingConnection(connection, intake, lab=lab, cancel=cancel, first=first)
    except (AMQPError, OSError) as exc:
        raise BrokerUnavailable(type(exc).__name__) from exc
    finally:
        _close(connection)


def _nothing() -> None:
    """The call itself is what wakes."""


def _close(connection: pika.BlockingConnection) -> None:
    try:
        if connection.is_open:
            connection.close()
    except (AMQPError, OSError):
        log.info("connection closed by the other side", action="broker.close")
