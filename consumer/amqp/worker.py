"""The consuming connection: takes requests, keeps heartbeats flowing, settles what jobs finish.

The thread that calls `run` does nothing but AMQP. Jobs run in threads of a pool and hand their
outcome back through `add_callback_threadsafe`, the one call of pika that other threads may make.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from uuid import UUID

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

from consumer.amqp import link
from consumer.amqp.acks import AckTable, Delivery, LegalAck
from consumer.amqp.errors import BrokerUnavailable, PublisherStopped, TopologyMissing
from messages import codec
from messages.envelope import DELIVERY_COUNT_HEADER, Wire
from messages.errors import UndecodableMessage, UnknownVersion
from messages.request import InferenceRequested

log = structlog.get_logger(__name__)

#: Seconds that the main loop waits for the broker before it looks at the clock again.
_TURN_SECONDS = 0.5

#: What a job does: given the request and the delivery count, end in a legal ack.
Job = Callable[[InferenceRequested, int], LegalAck]

#: What is done with a message of a newer version, given its routing key.
Defer = Callable[[Wire, str], LegalAck]


@dataclass(frozen=True)
class Intake:
    """Where the work comes from and how much of it is held at a time."""

    urls: Sequence[str]
    queue: str
    #: Exchanges that must exist before work is taken.
    exchanges: tuple[str, ...]
    prefetch: int
    heartbeat: int
    name: str


@dataclass(frozen=True)
class _Outcome:
    """What a job thread hands back; `reason` is None when it may not be settled."""

    delivery: Delivery
    key: tuple[UUID, int] | None
    reason: LegalAck | None


class Worker:
    """Owns the consuming connection and the deliveries in hand."""

    def __init__(self, intake: Intake, *, job: Job, defer: Defer) -> None:
        self._intake = intake
        self._job = job
        self._defer = defer
        self._acks = AckTable()
        self._stopping = threading.Event()
        self._connection: pika.BlockingConnection | None = None
        self._jobs = ThreadPoolExecutor(intake.prefetch, thread_name_prefix="job")
        self._outcomes: SimpleQueue[_Outcome] = SimpleQueue()
        #: (request, attempt) -> the delivery under which it is in hand now. Main thread only.
        self._in_hand: dict[tuple[UUID, int], Delivery] = {}

    @property
    def current(self) -> tuple[UUID, ...]:
        """Requests in hand."""
        return tuple(request_id for request_id, _ in self._in_hand)

    def stop(self) -> None:
        """Ask `run` to end; safe in a signal handler."""
        self._stopping.set()

    def run(self, *, on_turn: Callable[[], None], grace_seconds: float) -> None:
        """Consume until `stop`. Raises `TopologyMissing` when the broker lacks what is needed.

        `on_turn` is called about twice a second, with or without a broker. At the stop, running
        jobs get `grace_seconds`; what is not finished by then goes back, unacknowledged.
        """
        pause = link.Backoff()
        while not self._stopping.is_set():
            try:
                self._consume(on_turn, grace_seconds, pause)
            except BrokerUnavailable as exc:
                wait = pause.next()
                log.warning(
                    "broker away", action="broker.away", reason=str(exc), retry_in_s=round(wait, 1)
                )
                # The lab's heartbeats go on: the publisher may be connected.
                on_turn()
                self._stopping.wait(wait)
        self._jobs.shutdown(wait=False, cancel_futures=True)

    def _consume(
        self, on_turn: Callable[[], None], grace_seconds: float, pause: link.Backoff
    ) -> None:
        """One generation: from a fresh connection to its end."""
        intake = self._intake
        connection = link.connect(intake.urls, heartbeat=intake.heartbeat, name=intake.name)
        try:
            self._check_topology(connection)
            channel = connection.channel()
            channel.basic_qos(prefetch_count=intake.prefetch)
            self._settle_outcomes()
            generation = self._acks.begin(channel)
            self._connection = connection
            channel.basic_consume(intake.queue, self._on_message, auto_ack=False)
            log.info(
                "consuming", action="broker.consuming", queue=intake.queue, generation=generation
            )
            while not self._stopping.is_set():
                self._turn(connection, channel)
                on_turn()
                pause.reset()
            self._finish(connection, channel, grace_seconds)
        except (AMQPError, OSError) as exc:
            raise BrokerUnavailable(type(exc).__name__) from exc
        finally:
            self._connection = None
            self._acks.end()
            _close(connection)

    def _turn(self, connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
        connection.process_data_events(time_limit=_TURN_SECONDS)
        # A consumer timeout closes the channel, and a deleted queue cancels the consumer;
        # neither raises anything.
        if not channel.is_open or not channel.consumer_tags:
            raise BrokerUnavailable("the broker closed the channel or cancelled the consumer")
        self._settle_outcomes()

    def _finish(
        self, connection: pika.BlockingConnection, channel: BlockingChannel, grace_seconds: float
    ) -> None:
        """Take no more, and let what runs end within the grace."""
        for tag in list(channel.consumer_tags):
            channel.basic_cancel(tag)
        turns = int(grace_seconds / _TURN_SECONDS)
        while self._in_hand and turns > 0 and channel.is_open:
            connection.process_data_events(time_limit=_TURN_SECONDS)
            self._settle_outcomes()
            turns -= 1
        log.info("stopped consuming", action="broker.stop", handed_back=len(self._in_hand))

    def _check_topology(self, connection: pika.BlockingConnection) -> None:
        """Passive declares only: what is missing is an operator's to put there.

        Before the first work that ends the start with a sentence. Later it is waited for: a
        restarted broker may know a quorum queue before it can use it.
        """
        for name, declare in [
            (f"queue {self._intake.queue}", partial(_passive_queue, self._intake.queue)),
            *((f"exchange {e}", partial(_passive_exchange, e)) for e in self._intake.exchanges),
        ]:
            channel = connection.channel()
            try:
                declare(channel)
            except ChannelClosedByBroker as exc:
                sentence = (
                    f"The {name} cannot be used ({exc.reply_text.split(' - ')[0]}). Put the "
                    "topology there: rabbitmqctl import_definitions "
                    "infra/rabbitmq/definitions.json"
                )
                if self._acks.began:
                    raise BrokerUnavailable(sentence) from exc
                raise TopologyMissing(sentence) from exc
            channel.close()

    def _on_message(
        self,
        _channel: BlockingChannel,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
    ) -> None:
        count = (properties.headers or {}).get(DELIVERY_COUNT_HEADER, 0)
        delivery = self._acks.took(method.delivery_tag, count if isinstance(count, int) else 0)
        try:
            request = _read_request(properties, body)
        except UndecodableMessage as exc:
            log.warning("rejected", action="delivery.reject", reason=str(exc), bytes=len(body))
            self._acks.reject_undecodable(delivery)
            return
        except UnknownVersion as exc:
            log.warning("deferred", action="delivery.defer", reason=str(exc))
            wire = _as_received(properties, body)
            self._start(partial(self._defer, wire, method.routing_key), delivery, None)
            return
        key = (request.request_id, request.attempt)
        adopted = key in self._in_hand
        self._in_hand[key] = delivery
        if adopted:
            # The connection was lost and the broker gave us our own work again. The job that
            # runs on takes over the new delivery; a second run would only repeat it.
            log.info("taken over", action="delivery.adopt", request_id=str(request.request_id))
            return
        self._start(partial(self._job, request, delivery.count), delivery, key)

    def _start(
        self, work: Callable[[], LegalAck], delivery: Delivery, key: tuple[UUID, int] | None
    ) -> None:
        def run() -> None:
            reason: LegalAck | None = None
            try:
                reason = work()
            except PublisherStopped:
                log.info("job left to the broker", action="job.stopped")
            except Exception:
                log.exception("job ended in a fault of the lab", action="job.fault")
            self._outcomes.put(_Outcome(delivery, key, reason))
            self._wake()

        self._jobs.submit(run)

    def _wake(self) -> None:
        """Make the main thread settle now instead of at its next turn."""
        connection = self._connection
        if connection is not None:
            try:
                connection.add_callback_threadsafe(self._settle_outcomes)
            except AMQPError:
                log.info("outcome waits for the next connection", action="job.outcome")

    def _settle_outcomes(self) -> None:
        """Settle what the jobs have handed back. Main thread only."""
        while True:
            try:
                outcome = self._outcomes.get_nowait()
            except Empty:
                return
            delivery = outcome.delivery
            if outcome.key is not None:
                delivery = self._in_hand.pop(outcome.key, delivery)
            if outcome.reason is not None:
                self._acks.settle(delivery, outcome.reason)
            elif self._connection is not None and not self._stopping.is_set():
                # A fault of ours: not settled. Without its connection the broker gives the
                # delivery out again and counts; at the limit it becomes a dead letter.
                raise BrokerUnavailable("a job ended in a fault of the lab")


def _read_request(properties: BasicProperties, body: bytes) -> InferenceRequested:
    message = codec.decode(body, type_=properties.type, content_type=properties.content_type)
    if not isinstance(message, InferenceRequested):
        raise UndecodableMessage("not a request")
    return message


def _as_received(properties: BasicProperties, body: bytes) -> Wire:
    """Body and properties unchanged, less what the broker wrote into the headers."""
    return Wire(
        body=body,
        type=properties.type or "",
        message_id=properties.message_id or "",
        correlation_id=properties.correlation_id,
        timestamp=properties.timestamp or 0,
        app_id=properties.app_id or "",
        headers={
            key: value
            for key, value in (properties.headers or {}).items()
            if isinstance(value, str | int) and not key.startswith(("x-death", "x-first-death"))
        },
    )


def _passive_queue(name: str, channel: BlockingChannel) -> None:
    channel.queue_declare(name, passive=True)


def _passive_exchange(name: str, channel: BlockingChannel) -> None:
    channel.exchange_declare(name, passive=True)


def _close(connection: pika.BlockingConnection) -> None:
    try:
        if connection.is_open:
            connection.close()
    except (AMQPError, OSError):
        log.info("connection closed by the other side", action="broker.close")
