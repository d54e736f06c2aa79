"""The lab's sign of life and catalogue, every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from consumer.announce import Announcer
from messages.lab import HEARTBEAT_SECONDS, LabHeartbeat, ModelDescriptor


@dataclass(frozen=True)
class Standing:
    """What a heartbeat tells of the moment."""

    #: Requests in hand.
    current: tuple[UUID, ...]
    #: One of the conditions of `messages.lab`.
    condition: str
    #: How many connections there have been. It is not told. But what was told on an earlier one
    #: may be lost, and a cancel sent meanwhile too: the site repeats it for what it sees here.
    connections: int


class Heartbeat:
    """Called on each turn of the main loop; sends when it is time."""

    def __init__(
        self,
        announcer: Announcer,
        *,
        lab: str,
        pool: str,
        device: str,
        models: Iterable[ModelDescriptor],
        standing: Callable[[], Standing],
    ) -> None:
        self._announcer = announcer
        self._lab = lab
        self._pool = pool
        self._device = device
        self._models = tuple(models)
        self._standing = standing
        self._next = 0.0
        self._told: Standing | None = None

    def beat(self) -> None:
        """Send a heartbeat if ten seconds passed, or if the lab does not stand as was told."""
        now = time.monotonic()
        standing = self._standing()
        if now < self._next and standing == self._told:
            return
        self._next = now + HEARTBEAT_SECONDS
        self._told = standing
        self._announcer.alive(
            LabHeartbeat(
                lab=self._lab,
                pool=self._pool,
                device=self._device,
                models=self._models,
                current=standing.current,
                condition=standing.condition,
                at=datetime.now(UTC),
            )
        )
