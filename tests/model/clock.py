"""A clock that goes when it is told to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    """Every look is a microsecond later than the one before: no two moments are the same."""

    def __init__(self) -> None:
        self._now = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)

    def now(self) -> datetime:
        """The time."""
        self._now += timedelta(microseconds=1)
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)
