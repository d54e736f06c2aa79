"""The lab's sign of life every ten seconds, and what it serves: a message for each model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from uuid import UUID, uuid4

from consumer.jobs.announcer import Announcer
from messages.lab import (
    HEARTBEAT_SECONDS,
    MAX_CURRENT,
    MODELS_BYTES,
    LabHeartbeat,
    LabModel,
    ModelDescriptor,
)


@dataclass(frozen=True)
class LabStatus:
    """What a heartbeat states of the moment."""

    #: Requests in hand.
    current: tuple[UUID, ...]
    #: One of the conditions of `messages.lab`.
    condition: str
    #: How many connections there have been. It is not sent. But what was sent on an earlier one
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
        status: Callable[[], LabStatus],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`models`: what the lab serves, from its start to its end."""
        self._announcer = announcer
        self._lab = lab
        self._pool = pool
        self._process = uuid4()
        self._device = device
        self._models = tuple(models)
        self._fingerprints = tuple(model.fingerprint for model in self._models)
        #: One after the other: what was lost on its way is sent again within a round.
        self._again = cycle(self._models)
        self._for_sites_of_before = _if_short(self._models)
        self._status = status
        self._clock = clock
        self._next = 0.0
        self._published: LabStatus | None = None

    def beat(self) -> None:
        """Send a heartbeat if ten seconds passed, or if the status is another than was sent.

        With each goes one of the models, and all of them after a connection was made: what was
        sent on the one before may be lost.
        """
        now = self._clock()
        status = self._status()
        if now < self._next and status == self._published:
            return
        connected = self._published is None or status.connections != self._published.connections
        self._next = now + HEARTBEAT_SECONDS
        self._published = status
        # First: whoever reads the heartbeat then knows every fingerprint in it.
        for model in self._models if connected else self._next_model():
            self._announcer.announce(
                LabModel(lab=self._lab, pool=self._pool, model=model, at=datetime.now(UTC))
            )
        self._announcer.announce(
            LabHeartbeat(
                lab=self._lab,
                pool=self._pool,
                process=self._process,
                device=self._device,
                models=self._for_sites_of_before,
                fingerprints=self._fingerprints,
                # A bound of the contract, and far above every prefetch.
                current=status.current[:MAX_CURRENT],
                condition=status.condition,
                at=datetime.now(UTC),
            )
        )

    def _next_model(self) -> tuple[ModelDescriptor, ...]:
        return (next(self._again),) if self._models else ()


def _if_short(models: tuple[ModelDescriptor, ...]) -> tuple[ModelDescriptor, ...]:
    """All of them, or none: a site of before would take some for all."""
    size = sum(len(model.model_dump_json().encode()) for model in models)
    return models if size <= MODELS_BYTES else ()
