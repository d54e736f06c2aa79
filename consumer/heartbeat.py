"""The lab's sign of life and catalogue, every ten seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from uuid import UUID

from consumer.announce import Announcer
from messages.lab import HEARTBEAT_SECONDS, LabHeartbeat, ModelDescriptor


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
        current: Callable[[], tuple[UUID, ...]],
    ) -> None:
        self._announcer = announcer
        self._lab = lab
        self._pool = pool
        self._device = device
        self._models = tuple(models)
        self._current = current
        self._next = 0.0
        self._told: tuple[UUID, ...] = ()

    def beat(self) -> None:
        """Send a heartbeat if ten seconds passed, or if other requests are in hand than told."""
        now = time.monotonic()
        current = self._current()
        if now < self._next and current == self._told:
            return
        self._next = now + HEARTBEAT_SECONDS
        self._told = current
        self._announcer.alive(
            LabHeartbeat(
                lab=self._lab,
                pool=self._pool,
                device=self._device,
                models=self._models,
                current=current,
                at=datetime.now(UTC),
            )
        )
