"""One run of a request: its events in order, and how long its stages took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from threading import Event
from typing import Any, Protocol, TypeVar

from consumer.stop_conditions import StopConditions
from messages.events import RunEvent
from messages.request import InferenceRequested

E = TypeVar("E", bound=RunEvent)


class DeliveredRequest(Protocol):
    """The deliveries under which the run is in hand."""

    @property
    def count(self) -> int:
        """How often the broker has given it out before, by the newest of them."""

    @property
    def cancelled(self) -> Event:
        """Set once the reader's cancel has come."""

    def sync_cancels(self) -> None:
        """Return once every cancel that the broker has for this lab has been handled.

        May raise `LabStopping`.
        """


class Run:
    """Numbers the events of one run, measures it, and knows what ends it. Used by one thread."""

    def __init__(
        self,
        request: InferenceRequested,
        *,
        delivered: DeliveredRequest,
        lab: str,
        stop_conditions: StopConditions,
    ) -> None:
        self.request = request
        self.stop_conditions = stop_conditions
        self._delivered = delivered
        self.lab = lab
        #: Seconds by part of the run, in the order in which they ran.
        self.stage_seconds: dict[str, float] = {}
        self._sequence = count()

    @property
    def delivery(self) -> int:
        """The number of the newest delivery under which the run is in hand."""
        return self._delivered.count

    def event(self, kind: type[E], **fields: Any) -> E:
        """The next event of this run."""
        return kind(
            request_id=self.request.request_id,
            attempt=self.request.attempt,
            # Asked anew each time: after a reconnect the work is in hand under another delivery,
            # and an end published under the old one would be taken for out of date.
            delivery=self.delivery,
            sequence=next(self._sequence),
            lab=self.lab,
            at=datetime.now(UTC),
            **fields,
        )

    def begin_upload(self) -> None:
        """Call just before each upload; the first is the last moment for a cancel.

        From then on the run finishes, unless the archive goes away: what is stored under the
        request's UID is reported, and the site removes it if the reader had cancelled meanwhile.
        Raises what `StopConditions.check` raises.
        """
        if not self.stop_conditions.too_late:
            self._delivered.sync_cancels()
            self.stop_conditions.check()
            self.stop_conditions.ignore_cancel_and_deadline()

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Add the seconds of the block to `part`, which begins if nothing halts the run."""
        self.stop_conditions.check()
        began = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self.stage_seconds[part] = round(self.stage_seconds.get(part, 0.0) + spent, 4)
