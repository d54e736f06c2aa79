"""Who of several site processes does what only one may do: compare-and-swap on one row."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from web.inference.models import SiteLease


def take(name: str, holder: UUID, seconds: float) -> bool:
    """Take the lease or renew it for so many seconds; False while another process has it.

    The processes' clocks are compared: they must agree to well within a lease.
    """
    now = timezone.now()
    until = now + timedelta(seconds=seconds)
    # No lease lies that far ahead: its holder went by a clock that was set back since.
    astray = Q(until__gt=now + timedelta(seconds=2 * seconds))
    free = SiteLease.objects.filter(Q(holder=holder) | Q(until__lt=now) | astray, name=name)
    if free.update(holder=holder, until=until):
        return True
    # The first process of a new site; of two at once the database lets one write it.
    _, created = SiteLease.objects.get_or_create(
        name=name, defaults={"holder": holder, "until": until}
    )
    return created


def give_back(name: str, holder: UUID) -> None:
    """Let the next process take the lease at once, if this one has it."""
    SiteLease.objects.filter(name=name, holder=holder).update(until=timezone.now())
