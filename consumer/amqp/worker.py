"""The consuming connection: takes requests, keeps heartbeats flowing, settles what jobs finish.

The thread that calls `run` does nothing but AMQP. Jobs run in threads of a pool and hand their
outcome back through `add_callback_threadsafe`, the one call of pika that other threads may make.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
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
from consumer.amqp.errors import BrokerUnavailable, LabBroken, LabFault, TopologyMissing
from consumer.amqp.intake import Intake, as_received
from consumer.errors import LabStopping
from messages.envelope import DELIVERY_COUNT_HEADER, Wire
from messages.errors import UndecodableMessage, UnknownVersion
from messages.request import InferenceRequested

log = structlog.get_logger(__name__)

#: Seconds that the main loop waits for the broker before it looks at the clock again.
_TURN_SECONDS = 0.5

#: Seconds after which a connection that ends was no failure in a row.
_LASTING_SECONDS = 30.0

#: Faults of the lab without a success between them, after which it stops: a supervisor starts it
#: anew, and an engineer sees it. The queue's delivery limit is 20.
_MAX_FAULTS = 5

#: AMQP 0-9-1 reply code ACCESS_REFUSED.
_ACCESS_REFUSED = 403

#: What a job does: given the request and the deliveries under which it is in hand, end in a
#: legal ack.
Job = Callable[[InferenceRequested, "InHand"], LegalAck]

#: What is done with a message of a newer version, given its routing key.
Defer = Callable[[Wire, str], LegalAck]


class InHand:
    """The deliveries of one piece of work: usually one.

    More after a reconnect, when the broker gives our own work again, and when a request was
    published twice. All are settled with the outcome of the one job. A job thread reads `count`
    while the main thread adds.
    """

    def __init__(self, delivery: Delivery) -> None:
        self.deliveries = [delivery]

    @property
    def count(self) -> int:
        """The broker's newest delivery count: under this one events must be told."""
        return max(delivery.count for delivery in self.deliveries)


@dataclass(frozen=True)
class _Outcome:
    """What a job thread hands back; `reason` is None when it may not be settled."""

    held: InHand
    key: tuple[UUID, int] | None
    reason: LegalAck | None
    fault: bool = False


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
        self._faults = 0
        #: (request, attempt) -> the work under way. Main thread only.
        self._in_hand: dict[tuple[UUID, int], InHand] = {}

    @property
    def current(self) -> tuple[UUID, ...]:
        """Requests in hand."""
        return tuple(request_id for request_id, _ in self._in_hand)

    @property
    def consuming(self) -> bool:
        """Whether requests are being taken now."""
        return self._connection is not None

    def stop(self) -> None:
        """Ask `run` to end; safe in a signal handler."""
        self._stopping.set()

    def run(self, *, on_turn: Callable[[], None], grace_seconds: float) -> None:
        """Consume until `stop`, calling `on_turn` about twice a second, also without a broker.

        At the stop, running jobs get `grace_seconds`; what is not finished by then goes back,
        unacknowledged. Raises `TopologyMissing` when the broker lacks what is needed at the
        start, and `LabBroken` after too many faults of our own in a row.
        """
        pause = link.Backoff()
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._consume(on_turn, grace_seconds)
            except BrokerUnavailable as exc:
                if time.monotonic() - began > _LASTING_SECONDS and not isinstance(exc, LabFault):
                    pause.reset()
                wait = pause.next()
                log.warning(
                    "broker away", action="broker.away", reason=str(exc), retry_in_s=round(wait, 1)
                )
                again = time.monotonic() + wait
                while time.monotonic() < again and not self._stopping.wait(_TURN_SECONDS):
                    on_turn()
        self._jobs.shutdown(wait=False, cancel_futures=True)

    def _consume(self, on_turn: Callable[[], None], grace_seconds: float) -> None:
        """One generation: from a fresh connection to its end."""
        intake = self._intake
        connection = link.connect(intake.urls, heartbeat=intake.heartbeat, name=intake.name)
        try:
            intake.check_topology(connection, first=not self._acks.began)
            channel = connection.channel()
            channel.basic_qos(prefetch_count=intake.prefetch)
            self._settle_outcomes()
            generation = self._begin(channel)
            self._connection = connection
            log.info(
                "consuming", action="broker.consuming", queue=intake.queue, generation=generation
            )
            while not self._stopping.is_set():
                self._turn(connection, channel)
                on_turn()
            self._finish(connection, channel, on_turn, grace_seconds)
        except (AMQPError, OSError) as exc:
            raise BrokerUnavailable(type(exc).__name__) from exc
        finally:
            self._connection = None
            self._acks.end()
            _close(connection)

    def _begin(self, channel: BlockingChannel) -> int:
        first = not self._acks.began
        generation = self._acks.begin(channel)
        try:
            channel.basic_consume(self._intake.queue, self._on_message, auto_ack=False)
        except ChannelClosedByBroker as exc:
            sentence = (
                f"This lab's broker user may not read {self._intake.queue}: compare LAB_POOL with "
                "the permissions (infra/rabbitmq/README.md)"
            )
            if first and exc.reply_code == _ACCESS_REFUSED:
                raise TopologyMissing(sentence) from exc
            raise
        return generation

    def _turn(self, connection: pika.BlockingConnection, channel: BlockingChannel) -> None:
        connection.process_data_events(time_limit=_TURN_SECONDS)
        # A consumer timeout closes the channel, and a deleted queue cancels the consumer;
        # neither raises anything.
        if not channel.is_open or not channel.consumer_tags:
            raise BrokerUnavailable("the broker closed the channel or cancelled the consumer")
        self._settle_outcomes()

    def _finish(
        self,
        connection: pika.BlockingConnection,
        channel: BlockingChannel,
        on_turn: Callable[[], None],
        grace_seconds: float,
    ) -> None:
        """Take no more, and let what runs end within the grace."""
        for tag in list(channel.consumer_tags):
            channel.basic_cancel(tag)
        latest = time.monotonic() + grace_seconds
        while self._in_hand and time.monotonic() < latest and channel.is_open:
            connection.process_data_events(time_limit=_TURN_SECONDS)
            self._settle_outcomes()
            on_turn()
        log.info("stopped consuming", action="broker.stop", handed_back=len(self._in_hand))

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
            request = self._intake.read(properties, body)
        except UndecodableMessage as exc:
            log.warning("rejected", action="delivery.reject", reason=str(exc), bytes=len(body))
            self._acks.reject_undecodable(delivery)
            return
        except UnknownVersion as exc:
            log.warning("deferred", action="delivery.defer", reason=str(exc))
            wire = as_received(properties, body)
            self._start(partial(self._defer, wire, method.routing_key), InHand(delivery), None)
            return
        key = (request.request_id, request.attempt)
        held = self._in_hand.get(key)
        if held is not None:
            # Our own work given again, or published twice: a second run would only repeat it.
            log.info("taken over", action="delivery.adopt", request_id=str(request.request_id))
            held.deliveries.append(delivery)
            return
        held = self._in_hand[key] = InHand(delivery)
        self._start(partial(self._job, request, held), held, key)

    def _start(
        self, work: Callable[[], LegalAck], held: InHand, key: tuple[UUID, int] | None
    ) -> None:
        def run() -> None:
            reason: LegalAck | None = None
            fault = False
            try:
                reason = work()
            except LabStopping:
                log.info("job left to the broker", action="job.stopped")
            except Exception:
                fault = True
                log.exception("job ended in a fault of the lab", action="job.fault")
            self._outcomes.put(_Outcome(held, key, reason, fault))
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
            if outcome.key is not None:
                self._in_hand.pop(outcome.key, None)
            if outcome.reason is not None:
                self._faults = 0
                for delivery in outcome.held.deliveries:
                    self._acks.settle(delivery, outcome.reason)
            elif outcome.fault:
                self._after_fault()

    def _after_fault(self) -> None:
        self._faults += 1
        if self._faults >= _MAX_FAULTS:
            raise LabBroken(
                f"{self._faults} jobs in a row ended in a fault of this lab; its log has them "
                "under the action job.fault"
            )
        # Without its connection the broker gives the delivery out again and counts; at its limit
        # the request becomes a dead letter.
        raise LabFault("a job ended in a fault of the lab")


def _close(connection: pika.BlockingConnection) -> None:
    try:
        if connection.is_open:
            connection.close()
    except (AMQPError, OSError):
        log.info("connection closed by the other side", action="broker.close")
