"""One run of a request: its events in order, and how long its stages took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any, Protocol, TypeVar

from messages.events import RunEvent
from messages.request import InferenceRequested

E = TypeVar("E", bound=RunEvent)


class Held(Protocol):
    """The deliveries under which the run is in hand."""

    @property
    def count(self) -> int:
        """The broker's newest ``x-delivery-count`` of them."""


class Run:
    """Numbers the events of one run and measures it. Used by one job thread."""

    def __init__(self, request: InferenceRequested, *, held: Held, lab: str) -> None:
        self.request = request
        self._held = held
        self.lab = lab
        #: Seconds by part of the run, in the order in which they ran.
        self.stage_seconds: dict[str, float] = {}
        self._sequence = count()

    def event(self, kind: type[E], **fields: Any) -> E:
        """The next event of this run."""
        return kind(
            request_id=self.request.request_id,
            attempt=self.request.attempt,
            # Asked anew each time: after a reconnect the work is in hand under another delivery,
            # and an end that is told under the old one would be taken for out of date.
            delivery=self._held.count,
            sequence=next(self._sequence),
            lab=self.lab,
            at=datetime.now(UTC),
            **fields,
        )

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of the block to `part`."""
        began = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self.stage_seconds[part] = round(self.stage_seconds.get(part, 0.0) + spent, 4)
