"""What becomes of each message that the work queues bring."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.spec import Basic, BasicProperties

from consumer.amqp.acks import AckTable, Delivery, LegalAck
from consumer.amqp.in_flight import Hand, InHand, Job
from consumer.amqp.intake import Intake, as_received
from messages.envelope import DELIVERY_COUNT_HEADER, Wire
from messages.errors import UndecodableMessage, UnknownVersion
from messages.identity import delivery_of
from messages.request import InferenceRequested

log = structlog.get_logger(__name__)

#: What is done with a message of a newer version, given its routing key.
Defer = Callable[[Wire, str], LegalAck]


class Reception:
    """Takes messages in hand, or rejects what is none of ours. Used by the main thread only."""

    def __init__(
        self,
        intake: Intake,
        *,
        acks: AckTable,
        hand: Hand,
        job: Job,
        defer: Defer,
        hear_cancels: Callable[[], None],
    ) -> None:
        self._intake = intake
        self._acks = acks
        self._hand = hand
        self._job = job
        self._defer = defer
        self._hear_cancels = hear_cancels

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
        delivery = self._acks.took(
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
            if not self._adopted(delivery, self._hand.same_message(message_id)):
                log.warning("deferred", action="delivery.defer", reason=str(exc))
                self._take(delivery, None, lambda _: self._defer(wire, key), message_id)
        else:
            if not self._adopted(delivery, self._hand.same(request)):
                self._take(delivery, request, partial(self._job, request))

    def _adopted(self, delivery: Delivery, same: InHand | None) -> bool:
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
        work: Callable[[InHand], LegalAck],
        message_id: str | None = None,
    ) -> None:
        self._hand.add(
            InHand(
                delivery,
                request,
                work=work,
                hear_cancels=self._hear_cancels,
                message_id=message_id,
            )
        )
