"""How far this machine's clock is from that of the archive, as one answer tells."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from consumer.orthanc.transport import Transport


def clock_difference(archive: Transport, timeout: tuple[float, float]) -> int | None:
    """Whole seconds by which this machine's clock is behind (ahead: negative); None: not told.

    The time of the answer is that of its `Date`, and half the way there and back is added to the
    time at which it was asked. Raises ArchiveUnavailable.
    """
    asked_at, began = datetime.now(UTC), time.monotonic()
    with archive.send("GET", "/system", timeout=timeout) as response:
        half_s = (time.monotonic() - began) / 2
        date = response.headers.get("Date")
    if date is None:
        return None
    try:
        told = parsedate_to_datetime(date)
    except ValueError:
        return None
    # A zone of -0000 makes a time without one: it is UTC (RFC 5322 section 3.3).
    told = told if told.tzinfo else told.replace(tzinfo=UTC)
    return round((told - asked_at).total_seconds() - half_s)
