"""What a lab takes from the broker: its queues, what must exist, and what becomes of a message."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pika
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker
from pika.spec import Basic, BasicProperties

from consumer.amqp import link
from consumer.amqp.acks import AckTable, Delivery, LegalAck
from consumer.amqp.errors import BrokerUnavailable, TopologyMissing
from consumer.amqp.in_flight import InFlight, RunJob, WorkItem
from messages import brokers, codec, repair
from messages.envelope import DELIVERY_COUNT_HEADER, TRACEPARENT_HEADER, Wire
from messages.errors import UndecodableMessage, UnknownVersion
from messages.identity import delivery_of
from messages.request import InferenceRequested
from messages.topology import (
    RETRIED,
    RETRY_TIERS,
    RULES,
    events_exchange,
    requests_queue,
    retry_exchange,
    rules_queue,
)

#: Seconds that a message of a newer version is kept going round: as long as a request is valid.
_DEFER_SECONDS = 7 * 24 * 3600

#: AMQP 0-9-1 reply codes.
_ACCESS_REFUSED, _NOT_FOUND = 403, 404

#: Headers that are the contract's.
_OUR_HEADERS = ("x-labrelay-", TRACEPARENT_HEADER)

log = structlog.get_logger(__name__)

#: What is done with a message of a newer version, given its routing key.
Defer = Callable[[Wire, str], LegalAck]


@dataclass(frozen=True)
class Intake:
    """Where the work comes from and how much of it is held at a time."""

    urls: Sequence[str]
    pool: str
    prefetch: int
    heartbeat: int
    name: str

    @property
    def queue(self) -> str:
        """What readers ask for."""
        return requests_queue(self.pool)

    @property
    def rules_queue(self) -> str:
        """What rules ask for."""
        return rules_queue(self.pool)

    @property
    def exchanges(self) -> tuple[str, ...]:
        """Exchanges that must exist before work is taken."""
        return (events_exchange(self.pool), *(retry_exchange(self.pool, t) for t in RETRY_TIERS))

    def routing_key(self, *, by_rule: bool) -> str:
        """The key under which what cannot be read comes back by a tier to where it was."""
        key = f"{self.pool}.{RETRIED}"
        return f"{RULES}.{key}" if by_rule else key

    def has_rules(self, connection: pika.BlockingConnection) -> bool:
        """Whether the queue of the rules is there: an installation of before has none.

        That ends with the next version; then `check_topology` asks for it.
        """
        channel = connection.channel()
        try:
            _passive_queue(self.rules_queue, channel)
        except ChannelClosedByBroker as exc:
            # From RabbitMQ 4.2.7 on, 403 is also the answer for one that is not there.
            if exc.reply_code not in (_ACCESS_REFUSED, _NOT_FOUND):
                raise
            return False
        channel.close()
        return True

    def check_topology(self, connection: pika.BlockingConnection, *, first: bool) -> None:
        """Declare passively only: what is missing is an operator's to put there.

        At the `first` connection that is a `TopologyMissing` with a sentence. Later it is
        `BrokerUnavailable` and waited for: a restarted broker may know a queue before it can
        use it.
        """
        problem = TopologyMissing if first else BrokerUnavailable
        if unusable := brokers.why_unusable(link.version_of(connection)):
            raise problem(f"{unusable}.")
        for name, declare in [
            (f"queue {self.queue}", partial(_passive_queue, self.queue)),
            *((f"exchange {e}", partial(_passive_exchange, e)) for e in self.exchanges),
        ]:
            channel = connection.channel()
            try:
                declare(channel)
            except ChannelClosedByBroker as exc:
                raise problem(_sentence(name, exc)) from exc
            channel.close()

    def read(self, properties: BasicProperties, body: bytes) -> InferenceRequested:
        """The request. Raises `UnknownVersion` only for one that a newer lab may yet take."""
        try:
            message = codec.decode(
                body, type_=properties.type, content_type=properties.content_type
            )
        except UnknownVersion:
            age = time.time() - (properties.timestamp or 0)
            named = (properties.type or "").startswith(f"{InferenceRequested.TYPE}.")
            if named and age < _DEFER_SECONDS:
                raise
            raise UndecodableMessage("a newer version, too old to wait or not a request") from None
        if not isinstance(message, InferenceRequested):
            raise UndecodableMessage("not a request")
        if message.pool != self.pool:
            # Its retries would go to the other pool, where this lab may not write.
            raise UndecodableMessage("a request for another pool")
        return message


def as_received(properties: BasicProperties, body: bytes) -> Wire:
    """Body and properties unchanged; of the headers only ours, as the broker adds its own.

    Its delivery count above all must not travel with the copy: the copy has none yet.
    """
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
            if isinstance(value, str | int) and key.startswith(_OUR_HEADERS)
        },
    )


def _sentence(name: str, refusal: ChannelClosedByBroker) -> str:
    if refusal.reply_code == _NOT_FOUND:
        return f"The {name} is missing: {repair.IMPORT_SENTENCE}"
    if refusal.reply_code == _ACCESS_REFUSED:
        return (
            f"The {name} is missing, or this lab's broker user has no right on it: compare "
            f"LAB_POOL with the permissions (infra/rabbitmq/README.md), or {repair.IMPORT_SENTENCE}"
        )
    return f"The {name} cannot be used now ({refusal.reply_text.split(' - ')[0]})."


def _passive_queue(name: str, channel: BlockingChannel) -> None:
    channel.queue_declare(name, passive=True)


def _passive_exchange(name: str, channel: BlockingChannel) -> None:
    channel.exchange_declare(name, passive=True)


class Receiver:
    """Takes messages in, or rejects what is none of ours. Used by the main thread only."""

    def __init__(
        self,
        intake: Intake,
        *,
        acks: AckTable,
        in_flight: InFlight,
        job: RunJob,
        defer: Defer,
        sync_cancels: Callable[[], None],
    ) -> None:
        self._intake = intake
        self._acks = acks
        self._in_flight = in_flight
        self._job = job
        self._defer = defer
        self._sync_cancels = sync_cancels

    def on_message(
        self,
        _channel: BlockingChannel,
        method: Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
    ) -> None:
        """Pika's callback: what readers ask for."""
        self._receive(method.delivery_tag, properties, body, by_rule=False)

    def on_rule(self, tag: int, properties: BasicProperties, body: bytes) -> None:
        """What was fetched from the queue of the rules."""
        self._receive(tag, properties, body, by_rule=True)

    def _receive(
        self, tag: int, properties: BasicProperties, body: bytes, *, by_rule: bool
    ) -> None:
        headers = properties.headers or {}
        delivery = self._acks.register(
            tag,
            count=delivery_of(headers),
            deaths=delivery_of({DELIVERY_COUNT_HEADER: headers.get(DELIVERY_COUNT_HEADER)}),
            by_rule=by_rule,
        )
        try:
            request = self._intake.read(properties, body)
        except UndecodableMessage as exc:
            log.warning("rejected", action="delivery.reject", reason=str(exc), bytes=len(body))
            self._acks.reject_undecodable(delivery)
        except UnknownVersion as exc:
            # By the queue: what comes back from a tier has the same routing key whatever it is.
            message_id, key = properties.message_id, self._intake.routing_key(by_rule=by_rule)
            wire = as_received(properties, body)
            if not self._adopted(delivery, self._in_flight.find_message(message_id)):
                log.warning("deferred", action="delivery.defer", reason=str(exc))
                self._take(delivery, None, lambda _: self._defer(wire, key), message_id)
        else:
            if not self._adopted(delivery, self._in_flight.find(request)):
                self._take(delivery, request, partial(self._job, request))

    def _adopted(self, delivery: Delivery, same: WorkItem | None) -> bool:
        """Our own work given again, or published twice: a second run would only repeat it."""
        if same is None:
            return False
        named = {"request_id": str(same.request.request_id)} if same.request else {}
        log.info("taken over", action="delivery.adopt", **named)
        same.adopt(delivery)
        return True

    def _take(
        self,
        delivery: Delivery,
        request: InferenceRequested | None,
        work: Callable[[WorkItem], LegalAck],
        message_id: str | None = None,
    ) -> None:
        self._in_flight.add(
            WorkItem(
                delivery,
                request,
                work=work,
                sync_cancels=self._sync_cancels,
                message_id=message_id,
            )
        )
