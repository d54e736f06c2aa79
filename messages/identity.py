"""Identities that every run of a request derives alike, so that doing a thing twice is harmless."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID, uuid5

from messages.envelope import ACQUIRED_COUNT_HEADER, DELIVERY_COUNT_HEADER, MAX_DELIVERIES

_COUNTS = (DELIVERY_COUNT_HEADER, ACQUIRED_COUNT_HEADER)

#: Namespace of all derived identities. Changing it would give old requests new objects.
LABRELAY = UUID("6f2f3c52-7d4b-5a51-9d0f-6c61b72e1a6d")


def delivery_of(headers: Mapping[str, object] | None) -> int:
    """How often the broker has given a message out before: the number under which a run tells.

    The larger of its two counts: RabbitMQ 4.3 leaves the first where a message comes back by a
    nack or a consumer timeout, and two runs would tell under the same identities.
    """
    counts = (_whole((headers or {}).get(name)) for name in _COUNTS)
    return min(max(counts), MAX_DELIVERIES)


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def event_id(request_id: UUID, attempt: int, delivery: int, sequence: int) -> UUID:
    """UUIDv5 of a run's event: every copy of it has the same."""
    return uuid5(LABRELAY, f"{request_id}/event/{attempt}/{delivery}/{sequence}")


def completed_event_id(request_id: UUID) -> UUID:
    """UUIDv5 of the one ``completed`` that a request can have."""
    return uuid5(LABRELAY, f"{request_id}/event/completed")


def _uid(name: str) -> str:
    # 2.25.<decimal of a UUID> needs no registered root: PS3.5 annex B.2, ITU-T X.667.
    return f"2.25.{uuid5(LABRELAY, name).int}"


def primary_series_uid(request_id: UUID) -> str:
    """Series Instance UID of the primary object (SEG, or the report of no lesion)."""
    return _uid(f"{request_id}/primary/series")


def primary_instance_uid(request_id: UUID) -> str:
    """SOP Instance UID of the primary object: the archive keeps the first that is stored."""
    return _uid(f"{request_id}/primary/instance")


def report_series_uid(request_id: UUID) -> str:
    """Series Instance UID of the measurement report."""
    return _uid(f"{request_id}/report/series")


def report_instance_uid(request_id: UUID) -> str:
    """SOP Instance UID of the measurement report."""
    return _uid(f"{request_id}/report/instance")


#: Key slices that one result can have, so that whoever removes them knows where to stop.
MAX_KEY_SLICES = 16


def key_series_uid(request_id: UUID) -> str:
    """Series Instance UID of the key slices: pictures with the outline burnt in."""
    return _uid(f"{request_id}/key/series")


def key_instance_uid(request_id: UUID, number: int) -> str:
    """SOP Instance UID of a key slice; `number` counts from 1 to `MAX_KEY_SLICES`."""
    return _uid(f"{request_id}/key/instance/{number}")
