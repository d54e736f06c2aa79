"""The table of deliveries in flight, and the only place where one is settled.

A delivery is acknowledged for one of these reasons and no other:

STORED      the result is verified in the archive and ``completed`` is confirmed
FAILED      ``failed`` is confirmed
CANCELLED   ``cancelled`` is confirmed
RETRY       a copy is confirmed in a retry tier, and ``retry_scheduled`` is confirmed
DEFERRED    a message of a newer version: its copy is confirmed in a retry tier

It is rejected, without requeue, only when it is no message of ours (`reject_undecodable`).
Everything else leaves it unacknowledged, so that the broker gives it to the next: when the channel
ends, or at once by `hand_back`, which settles nothing either.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)


class LegalAck(Enum):
    """The reasons above."""

    STORED = auto()
    FAILED = auto()
    CANCELLED = auto()
    RETRY = auto()
    DEFERRED = auto()


@dataclass(frozen=True)
class Delivery:
    """One delivery: its tag means something only on the channel of its generation."""

    generation: int
    tag: int
    #: How often the broker has given it out before (`messages.identity.delivery_of`).
    count: int
    #: How often whoever had it was lost with it: the broker's ``x-delivery-count`` alone.
    deaths: int = 0
    #: Whether it came from the queue of the rules.
    by_rule: bool = False


class AckChannel(Protocol):
    """The part of a pika channel that settles."""

    def basic_ack(self, delivery_tag: int) -> None:
        """Settle for good."""

    def basic_reject(self, delivery_tag: int, requeue: bool) -> None:
        """Give back, or away."""


class AckTable:
    """Settles deliveries on the current channel. Used by the main thread only."""

    def __init__(self) -> None:
        self._generation = 0
        self._channel: AckChannel | None = None
        self._open: dict[int, Delivery] = {}

    @property
    def began(self) -> bool:
        """Whether there has been a channel at all."""
        return self._generation > 0

    @property
    def generation(self) -> int:
        """How many channels there have been."""
        return self._generation

    @property
    def open_count(self) -> int:
        """Deliveries of the current channel that are not settled."""
        return len(self._open)

    @property
    def open_by_rule(self) -> int:
        """Those of them that came from the queue of the rules."""
        return sum(delivery.by_rule for delivery in self._open.values())

    def begin(self, channel: AckChannel) -> int:
        """A new channel: everything that was in flight is the broker's again."""
        self._generation += 1
        self._channel = channel
        self._open.clear()
        return self._generation

    def end(self) -> None:
        """The channel is gone."""
        self._channel = None
        self._open.clear()

    def register(
        self, tag: int, *, count: int = 0, deaths: int = 0, by_rule: bool = False
    ) -> Delivery:
        """Remember a delivery of the current channel."""
        delivery = Delivery(self._generation, tag, count, deaths, by_rule)
        self._open[tag] = delivery
        return delivery

    def settle(self, delivery: Delivery, reason: LegalAck) -> bool:
        """Acknowledge, for a legal reason. False when the delivery is no longer ours.

        That is harmless: the broker has given it out again, and whoever gets it finds the result.
        """
        channel = self._still_ours(delivery)
        if channel is None:
            log.info("ack skipped", action="ack.stale", reason=reason.name)
            return False
        channel.basic_ack(delivery.tag)
        return True

    def reject_undecodable(self, delivery: Delivery) -> bool:
        """Send what is no message of ours to ``mri.dead``: no later try could read it."""
        channel = self._still_ours(delivery)
        if channel is None:
            return False
        channel.basic_reject(delivery.tag, requeue=False)
        return True

    def hand_back(self, delivery: Delivery) -> bool:
        """Give a delivery whose work has not begun to the next lab now, before the channel ends."""
        channel = self._still_ours(delivery)
        if channel is None:
            return False
        channel.basic_reject(delivery.tag, requeue=True)
        return True

    def _still_ours(self, delivery: Delivery) -> AckChannel | None:
        # A tag of an older channel would settle somebody else's delivery, or close the channel.
        if delivery.generation != self._generation or delivery.tag not in self._open:
            return None
        del self._open[delivery.tag]
        return self._channel
