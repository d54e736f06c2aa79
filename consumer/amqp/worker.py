"""The consuming connection: takes requests, keeps heartbeats flowing, settles what jobs finish.

The thread that calls `run` does nothing but AMQP. Jobs run in threads of their own and hand their
outcome back; `add_callback_threadsafe` is the one call of pika that they may make.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from consumer.amqp import link
from consumer.amqp.acks import AckTable, Delivery, LegalAck
from consumer.amqp.control import Control, Hearing
from consumer.amqp.crew import Crew
from consumer.amqp.errors import BrokerUnavailable, LabBroken, LabFault
from consumer.amqp.hand import Hand, InHand, Job
from consumer.amqp.intake import Intake, as_received
from consumer.amqp.tap import Tap
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

#: Seconds after a suspect's delivery in which its neighbours still arrive: their turn may be first.
_NEIGHBOURS_SECONDS = 2.0

#: What is done with a message of a newer version, given its routing key.
Defer = Callable[[Wire, str], LegalAck]


class Worker:
    """Owns the consuming connection and what is in hand."""

    def __init__(
        self,
        intake: Intake,
        *,
        lab: str,
        job: Job,
        defer: Defer,
        may_take: Callable[[], bool],
        draining: threading.Event,
    ) -> None:
        """Take new work while `may_take` says so, and end when `draining` and nothing in hand."""
        self._intake = intake
        self._lab = lab
        self._job = job
        self._defer = defer
        self._may_take = may_take
        self._draining = draining
        self._stopping = threading.Event()
        self._acks = AckTable()
        self._tap = Tap(intake.queue)
        self._hand = Hand(at_once=intake.prefetch)
        self._crew = Crew(at_once=intake.prefetch, wake=self._wake)
        self._hearing = Hearing(wake=self._wake)
        self._connection: pika.BlockingConnection | None = None
        self._faults = 0

    @property
    def hand(self) -> Hand:
        """What is in hand. Main thread only, as in `on_turn`."""
        return self._hand

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._connection is not None

    @property
    def generation(self) -> int:
        """How many connections there have been."""
        return self._acks.generation

    def stop(self) -> None:
        """Ask `run` to end; safe in a signal handler."""
        self._stopping.set()

    def run(self, *, on_turn: Callable[[], None], grace_seconds: float) -> None:
        """Consume until `stop`, calling `on_turn` about twice a second, also without a broker.

        At the stop, jobs that have begun get `grace_seconds`; what is not finished by then goes
        back, unacknowledged, and what has not begun at once. Raises `TopologyMissing` when the
        broker lacks what is needed at the start, and `LabBroken` after too many faults of our own
        in a row.
        """
        pause = link.Backoff()
        try:
            while not self._over():
                began = time.monotonic()
                try:
                    self._consume(on_turn, grace_seconds)
                except BrokerUnavailable as exc:
                    lasted = time.monotonic() - began > _LASTING_SECONDS
                    if lasted and not isinstance(exc, LabFault):
                        pause.reset()
                    self._wait_for_broker(pause.next(), str(exc), on_turn)
        finally:
            self._hearing.close()
            self._crew.dismiss()

    def _over(self) -> bool:
        return self._stopping.is_set() or (self._draining.is_set() and not len(self._hand))

    def _wait_for_broker(self, seconds: float, reason: str, on_turn: Callable[[], None]) -> None:
        log.warning(
            "broker away", action="broker.away", reason=reason, retry_in_s=round(seconds, 1)
        )
        again = time.monotonic() + seconds
        while time.monotonic() < again and not self._stopping.wait(_TURN_SECONDS):
            self._settle_outcomes()
            if self._over():
                return
            on_turn()

    def _consume(self, on_turn: Callable[[], None], grace_seconds: float) -> None:
        """One generation: from a fresh connection to its end."""
        intake = self._intake
        connection = link.connect(intake.urls, heartbeat=intake.heartbeat, name=intake.name)
        try:
            first = not self._acks.began
            intake.check_topology(connection, first=first)
            # Before any delivery: a cancel of what comes is not missed.
            control = Control(connection, lab=self._lab, cancel=self._hand.cancel, first=first)
            channel = connection.channel()
            channel.basic_qos(prefetch_count=intake.prefetch)
            self._settle_outcomes()
            self._acks.begin(channel)
            self._tap.fit(channel, self._on_message)
            self._connection = connection
            while not self._over():
                self._turn(connection, channel, control)
                on_turn()
            self._finish(connection, channel, control, on_turn, grace_seconds)
        except (AMQPError, OSError) as exc:
            raise BrokerUnavailable(type(exc).__name__) from exc
        finally:
            self._connection = None
            self._tap.remove()
            self._acks.end()
            _close(connection)

    def _turn(
        self, connection: pika.BlockingConnection, channel: BlockingChannel, control: Control
    ) -> None:
        # First close, then acknowledge: an ack brings the next delivery.
        if not self._takes_more():
            self._tap.close()
        self._settle_outcomes()
        self._hearing.answer(control)
        if self._takes_more():
            self._tap.open()
        self._begin_jobs()
        connection.process_data_events(time_limit=_TURN_SECONDS)
        # A consumer timeout closes the channel, and a deleted queue cancels the consumer;
        # neither raises anything.
        if not channel.is_open or self._tap.lost or not control.hears:
            raise BrokerUnavailable("the broker closed the channel or cancelled the consumer")

    def _takes_more(self) -> bool:
        if self._draining.is_set() or self._stopping.is_set() or not self._may_take():
            return False
        suspects = self._hand.suspects
        if not suspects:
            return True
        # A suspect runs with a closed tap, so that a death is counted for no further neighbour.
        # Those that the broker is sending now come in before.
        full = self._acks.open_count >= self._intake.prefetch
        latest = max(suspect.arrived for suspect in suspects) + _NEIGHBOURS_SECONDS
        return not full and time.monotonic() < latest

    def _begin_jobs(self) -> None:
        while held := self._hand.next_to_begin(healthy=self._may_take(), closed=self._tap.closed):
            self._crew.begin(held)

    def _finish(
        self,
        connection: pika.BlockingConnection,
        channel: BlockingChannel,
        control: Control,
        on_turn: Callable[[], None],
        grace_seconds: float,
    ) -> None:
        """Take no more, hand back what has not begun, and let the rest end within the grace."""
        self._tap.close()
        not_begun = self._hand.not_begun
        for held in not_begun:
            for delivery in held.deliveries:
                self._acks.hand_back(delivery)
            self._hand.drop(held)
        latest = time.monotonic() + grace_seconds
        while len(self._hand) and time.monotonic() < latest and channel.is_open:
            connection.process_data_events(time_limit=_TURN_SECONDS)
            self._settle_outcomes()
            self._hearing.answer(control)
            on_turn()
        log.info(
            "stopped consuming",
            action="broker.stop",
            not_begun=len(not_begun),
            handed_back=len(not_begun) + len(self._hand),
        )

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
            wire, key = as_received(properties, body), method.routing_key
            self._take(delivery, None, lambda _: self._defer(wire, key))
            return
        same = self._hand.same(request)
        if same is not None:
            # Our own work given again, or published twice: a second run would only repeat it.
            log.info("taken over", action="delivery.adopt", request_id=str(request.request_id))
            same.adopt(delivery)
            return
        self._take(delivery, request, partial(self._job, request))

    def _take(
        self,
        delivery: Delivery,
        request: InferenceRequested | None,
        work: Callable[[InHand], LegalAck],
    ) -> None:
        self._hand.add(InHand(delivery, request, work=work, hear_cancels=self._hearing.ask))

    def _wake(self) -> None:
        """End the main thread's wait for the broker: from a job's thread."""
        connection = self._connection
        if connection is not None:
            try:
                connection.add_callback_threadsafe(_nothing)
            except AMQPError:
                log.info("waits for the next connection", action="job.outcome")

    def _settle_outcomes(self) -> None:
        """Settle what the jobs have handed back. Main thread only."""
        for outcome in self._crew.outcomes():
            self._hand.drop(outcome.held)
            if outcome.reason is not None:
                self._faults = 0
                for delivery in outcome.held.deliveries:
                    self._acks.settle(delivery, outcome.reason)
            elif outcome.fault:
                self._after_fault()

    def _after_fault(self) -> None:
        self._faults += 1
        if self._stopping.is_set():
            return
        if self._faults >= _MAX_FAULTS:
            raise LabBroken(
                f"{self._faults} jobs in a row ended in a fault of this lab; its log has them "
                "under the action job.fault"
            )
        if self.connected:
            # Without its connection the broker gives the delivery out again and counts; at its
            # limit the request becomes a dead letter.
            raise LabFault("a job ended in a fault of the lab")


def _nothing() -> None:
    """The call itself is what wakes."""


def _close(connection: pika.BlockingConnection) -> None:
    try:
        if connection.is_open:
            connection.close()
    except (AMQPError, OSError):
        log.info("connection closed by the other side", action="broker.close")
