"""Heartbeats become rows, and rows become what a page is told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.utils import timezone

from messages.lab import LabHeartbeat
from web.labs.models import Lab


def record_heartbeat(beat: LabHeartbeat, told_at: datetime | None = None) -> None:
    """Write down what a lab told of itself: now, or then if it lay in a queue."""
    now = timezone.now()
    told = beat.model_dump(mode="json")
    Lab.objects.update_or_create(
        name=beat.lab,
        defaults={
            "pool": beat.pool,
            "device": beat.device,
            "models": told["models"],
            "current": told["current"],
            "condition": beat.condition,
            # A clock that is ahead must not keep a lab online that is gone.
            "last_seen": min(told_at or now, now),
        },
    )


def lab_views(labs: Iterable[Lab] | None = None) -> list[dict[str, Any]]:
    """Every lab as the pages and the sockets show it."""
    now = timezone.now()
    return [
        {
            "lab": lab.name,
            "pool": lab.pool,
            "online": lab.online_at(now),
            "device": lab.device,
            "models": lab.models,
            "condition": lab.condition,
            "last_seen": lab.last_seen.isoformat(),
        }
        for lab in (Lab.objects.all() if labs is None else labs)
    ]
