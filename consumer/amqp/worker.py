"""The consuming connection: takes requests, keeps heartbeats flowing, settles what jobs finish.

The thread that calls `run` does nothing but AMQP. Jobs run in threads of their own and hand their
outcome back; waking the main thread is the one thing that they may do with its connection.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from consumer.amqp import link
from consumer.amqp.acks import AckTable
from consumer.amqp.consuming_connection import ConsumingConnection, consuming_connection
from consumer.amqp.control import CancelSync
from consumer.amqp.errors import BrokerUnavailable, LabFault
from consumer.amqp.in_flight import InFlight, RunJob
from consumer.amqp.intake import Defer, Intake, Receiver
from consumer.amqp.job_pool import Faults, JobPool
from consumer.amqp.rules import RulesQueue
from consumer.amqp.subscription import Subscription

log = structlog.get_logger(__name__)

#: Seconds that the main loop waits for the broker before it looks at the clock again.
_TURN_SECONDS = 0.5

#: Seconds after which a connection that ends was no failure in a row.
_LASTING_SECONDS = 30.0


class Worker:
    """Owns the consuming connection and what is in hand."""

    def __init__(
        self,
        intake: Intake,
        *,
        lab: str,
        job: RunJob,
        defer: Defer,
        may_take: Callable[[], bool],
        draining: threading.Event,
    ) -> None:
        """Take new work while `may_take` says so, and end when `draining` and nothing in hand."""
        self._intake = intake
        self._brokers = link.Brokers(intake.urls)
        self._lab = lab
        self._may_take = may_take
        self._draining = draining
        self._stopping = threading.Event()
        self._acks = AckTable()
        self._subscription = Subscription(intake.queue)
        self._rules = RulesQueue(intake.rules_queue, intake.queue)
        self._in_flight = InFlight(at_once=intake.prefetch)
        self._job_pool = JobPool(at_once=intake.prefetch, wake=self._wake)
        self._cancel_sync = CancelSync(wake=self._wake)
        self._receiver = Receiver(
            intake,
            acks=self._acks,
            in_flight=self._in_flight,
            job=job,
            defer=defer,
            sync_cancels=self._cancel_sync.wait,
        )
        self._connection: ConsumingConnection | None = None
        self._faults = Faults()
        #: Pieces of work that an ending lab gave up.
        self._given_up = 0

    @property
    def in_flight(self) -> InFlight:
        """What is in hand. Main thread only, as in `on_turn`."""
        return self._in_flight

    @property
    def unfinished(self) -> int:
        """Pieces of work in hand, and those that an ending lab has left to the broker."""
        return len(self._in_flight) + self._given_up

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
                    self._wait_for_broker(pause.next(), exc, on_turn)
        finally:
            self._cancel_sync.close()
            self._job_pool.shutdown_now()

    @property
    def _ending(self) -> bool:
        return self._stopping.is_set() or self._draining.is_set()

    def _over(self) -> bool:
        return self._stopping.is_set() or (self._draining.is_set() and not len(self._in_flight))

    def _wait_for_broker(
        self, seconds: float, reason: BrokerUnavailable, on_turn: Callable[[], None]
    ) -> None:
        if isinstance(reason, LabFault):
            # The broker is well: it was we who left, so that it counts the delivery.
            sentence, action = "connecting anew after a fault of the lab", "lab.fault"
        else:
            sentence, action = "broker away", "broker.away"
        log.warning(sentence, action=action, reason=str(reason), retry_in_s=round(seconds, 1))
        again = time.monotonic() + seconds
        while time.monotonic() < again and not self._stopping.wait(_TURN_SECONDS):
            self._settle_outcomes()
            if self._over():
                return
            on_turn()

    def _consume(self, on_turn: Callable[[], None], grace_seconds: float) -> None:
        """One generation."""
        first = not self._acks.began
        with consuming_connection(
            self._brokers, self._intake, lab=self._lab, cancel=self._in_flight.cancel, first=first
        ) as connection:
            try:
                self._settle_outcomes()
                self._acks.begin(connection.channel)
                self._subscription.attach(connection.channel, self._receiver.on_message)
                self._rules.attach(connection.channel, there=connection.has_rules)
                self._connection = connection
                while not self._over():
                    self._turn(connection)
                    on_turn()
                self._finish(connection, on_turn, grace_seconds)
            finally:
                self._connection = None
                self._subscription.detach()
                self._rules.detach()
                self._acks.end()
                # It is the broker's again, which may give it to another lab before us. What has
                # begun goes on, and is adopted if it comes back. A cancel that has come for it
                # comes again: the site repeats it when a lab accepts.
                self._give_up_not_begun()

    def _turn(self, connection: ConsumingConnection) -> None:
        # First close, then acknowledge: an ack brings the next delivery.
        if not self._takes_more():
            self._subscription.close()
        self._settle_outcomes()
        connection.answer(self._cancel_sync)
        if self._takes_more():
            self._subscribe()
            if self._rules.fetch(
                self._receiver.on_rule,
                settle=lambda: connection.wait(0),
                room=self._takes_rules,
            ):
                self._subscribe()
        self._begin_jobs()
        if self._draining.is_set() and not self._may_take():
            # It would wait for the archive, and another lab may have another way there.
            self._give_up_not_begun()
        connection.wait(_TURN_SECONDS)
        # A consumer timeout closes the channel, and a deleted queue cancels the consumer;
        # neither raises anything.
        if not connection.can_settle or self._subscription.lost or not connection.receives_cancels:
            raise BrokerUnavailable("the broker closed the channel or cancelled the consumer")

    def _takes_more(self) -> bool:
        if self._ending or not self._may_take():
            return False
        return self._in_flight.accepts_more(full=self._acks.open_count >= self._intake.prefetch)

    def _subscribe(self) -> None:
        # What rules have here takes up places that the broker must not fill a second time: a
        # reader's request would wait in this lab while another one is free.
        self._subscription.open(self._intake.prefetch - self._acks.open_by_rule)

    def _takes_rules(self) -> bool:
        """Whether a place is free for what a rule asks, and no reader waits here."""
        return (
            not self._subscription.closed
            and self._takes_more()
            and not self._in_flight.not_begun
            and self._acks.open_count < self._intake.prefetch
            and len(self._in_flight) < self._intake.prefetch
        )

    def _begin_jobs(self) -> None:
        while item := self._in_flight.next_to_begin(
            healthy=self._may_take(), closed=self._subscription.closed
        ):
            self._job_pool.begin(item)

    def _finish(
        self, connection: ConsumingConnection, on_turn: Callable[[], None], grace_seconds: float
    ) -> None:
        """Take no more, hand back what has not begun, and let the rest end within the grace."""
        self._subscription.close()
        self._give_up_not_begun()
        latest = time.monotonic() + grace_seconds
        while len(self._in_flight) and time.monotonic() < latest and connection.can_settle:
            connection.wait(_TURN_SECONDS)
            self._settle_outcomes()
            connection.answer_while_ending(self._cancel_sync)
            on_turn()
        log.info("stopped consuming", action="broker.stop", handed_back=self.unfinished)

    def _give_up_not_begun(self) -> None:
        """Hand back what waits for its turn, if it is still ours, and forget it."""
        for item in self._in_flight.not_begun:
            for delivery in item.deliveries:
                self._acks.hand_back(delivery)
            self._in_flight.remove(item)
            self._given_up += self._ending

    def _wake(self) -> None:
        """End the main thread's wait for the broker: from a job's thread."""
        connection = self._connection
        if connection is not None:
            connection.wake()

    def _settle_outcomes(self) -> None:
        """Settle what the jobs have handed back. Main thread only."""
        for outcome in self._job_pool.outcomes():
            self._in_flight.remove(outcome.item)
            if outcome.reason is not None:
                self._faults.record_success()
                for delivery in outcome.item.deliveries:
                    self._acks.settle(delivery, outcome.reason)
            elif not outcome.fault:
                # It was stopped. Its delivery stays unsettled until the channel ends: the broker
                # counts that everywhere, as it must where a run has published, and a reject
                # with requeue not everywhere.
                self._given_up += 1
            elif not self._stopping.is_set():
                self._after_fault()

    def _after_fault(self) -> None:
        self._faults.record_fault()
        if self.connected:
            # Without its connection the broker gives the delivery out again and counts; at its
            # limit the request becomes a dead letter.
            raise LabFault("a job ended in a fault of the lab")
