"""What the lab publishes: events, copies for a retry tier, heartbeats."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from consumer.amqp.acks import LegalAck
from messages import codec
from messages.envelope import Wire
from messages.events import InferenceProgressed, RunEvent
from messages.lab import LabHeartbeat, LabModel
from messages.request import InferenceRequested
from messages.topology import events_exchange, retry_exchange

#: The AMQP ``app_id`` of everything that a lab sends.
APP_ID = "mri-consumer"

#: Tier in which a message of a newer version waits for this lab's upgrade.
DEFER_TIER = "2m"


class Sender(Protocol):
    """The part of the publisher that is needed here."""

    def publish(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        """Return once the broker has confirmed."""

    def hint(self, wire: Wire, *, exchange: str, routing_key: str) -> None:
        """Send if possible."""


@dataclass(frozen=True)
class Announcer:
    """Encodes and sends in the name of one lab."""

    sender: Sender
    #: The AMQP user; the broker checks it.
    user: str
    #: Whose exchanges are written to.
    pool: str

    def publish(self, event: RunEvent) -> None:
        """Send an event and wait for the confirmation; progress is only a hint."""
        wire = codec.encode(event, app_id=APP_ID, user_id=self.user)
        send = self.sender.hint if isinstance(event, InferenceProgressed) else self.sender.publish
        send(wire, exchange=events_exchange(self.pool), routing_key=event.ROUTING_KEY)

    def put_into_tier(self, request: InferenceRequested, tier: str) -> None:
        """Put the request into a retry tier; it comes back to the queue that it came from."""
        wire = codec.encode(request, app_id=APP_ID, user_id=self.user)
        exchange = retry_exchange(self.pool, tier)
        self.sender.publish(wire, exchange=exchange, routing_key=request.routing_key)

    def defer(self, wire: Wire, routing_key: str) -> LegalAck:
        """Keep a message that this version cannot read, unchanged, until one comes that can."""
        # The broker checks the user, and it is we who send the copy.
        copy = replace(wire, user_id=self.user)
        exchange = retry_exchange(self.pool, DEFER_TIER)
        self.sender.publish(copy, exchange=exchange, routing_key=routing_key)
        return LegalAck.DEFERRED

    def announce(self, sign: LabHeartbeat | LabModel) -> None:
        """Send a heartbeat, or one of the models."""
        wire = codec.encode(sign, app_id=APP_ID, user_id=self.user)
        exchange = events_exchange(self.pool)
        self.sender.hint(wire, exchange=exchange, routing_key=sign.ROUTING_KEY)
