"""For how long one result could not be read while everything else could."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Failing:
    """The time between looks that failed; that in which the archive was away is not in it."""

    seconds: float = 0.0
    #: When a look failed last, by the monotonic clock; None where the archive was away since.
    last: float | None = None

    def failed(self, now: float) -> float:
        """A look has failed now; for how many seconds they have in all."""
        if self.last is not None:
            self.seconds += now - self.last
        self.last = now
        return self.seconds

    def away(self) -> None:
        """The archive has answered nothing at all."""
        self.last = None
