"""Who publishes which row of the outbox: leases by compare-and-swap, in the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from operator import or_
from types import MappingProxyType
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from messages.request import InferenceRequested
from web.broker.destination import destination_of
from web.inference.models import Outbox
from web.inference.record import record_published

#: Seconds that a row stays with the relay that took it or renewed the lease.
LEASE_SECONDS = 15

#: Seconds until a row is tried again that could not be published by a fault of ours.
FAULT_SECONDS = 5

#: Nothing is known of any destination.
NO_ROOMS: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True)
class Sent:
    """A row that the broker has confirmed, and when."""

    row_id: int
    at: datetime


def take_fresh(lease: UUID, rows: Sequence[Outbox]) -> list[Outbox]:
    """Lease rows that were just written; the short way, as a reader waits for them.

    Row by row: a look at the outbox may have taken one already, under the very same lease.
    """
    now = timezone.now()
    until = now + timedelta(seconds=LEASE_SECONDS)
    waiting = _free(now)
    taken = {"lease": lease, "leased_until": until, "attempted": True}
    return [r for r in rows if waiting.filter(pk=r.pk).update(**taken)]


def take(lease: UUID, limit: int, rooms: Mapping[str, int] = NO_ROOMS) -> list[Outbox]:
    """Lease the oldest free rows of each destination; what another relay took is left out.

    `rooms` says how many of a destination; `limit` holds for those that it does not name.
    """
    now = timezone.now()
    waiting = _free(now)
    # By destination: what waits for one that takes nothing must not stand before all others.
    ways: dict[str, list[Q]] = defaultdict(list)
    for exchange, key in waiting.order_by().values_list("exchange", "routing_key").distinct():
        way = Q(exchange=exchange, routing_key=key)
        ways[destination_of(exchange, key)].append(way)
    ids: list[int] = []
    for name, its in ways.items():
        room = rooms.get(name, limit)
        oldest = waiting.filter(reduce(or_, its)).order_by("id").values_list("id", flat=True)
        ids += oldest[:room] if room > 0 else ()
    if not ids:
        return []
    until = now + timedelta(seconds=LEASE_SECONDS)
    waiting.filter(id__in=ids).update(lease=lease, leased_until=until, attempted=True)
    return list(Outbox.objects.filter(id__in=ids, lease=lease, sent_at=None).order_by("id"))


def _free(now: datetime) -> QuerySet[Outbox]:
    # No lease lies that far ahead: its relay went by a clock that was set back since.
    astray = Q(leased_until__gt=now + timedelta(seconds=2 * LEASE_SECONDS))
    over = Q(leased_until=None) | Q(leased_until__lt=now)
    # What is held is nobody's yet: it may be written anew, or never be sent.
    return Outbox.objects.filter(over | astray, sent_at=None, held=False)


def renew(lease: UUID, row_ids: Sequence[int]) -> None:
    """Keep rows that wait for their confirm; another relay would publish them once more."""
    until = timezone.now() + timedelta(seconds=LEASE_SECONDS)
    waiting = Outbox.objects.filter(pk__in=row_ids, lease=lease, sent_at=None)
    waiting.update(leased_until=until)


def give_back(lease: UUID) -> None:
    """Free what a relay has leased and not sent."""
    Outbox.objects.filter(lease=lease, sent_at=None).update(lease=None, leased_until=None)


def free(lease: UUID, row_ids: Sequence[int]) -> None:
    """Free rows that the broker has not taken; their destination is tried again in a while."""
    rows = Outbox.objects.filter(pk__in=row_ids, lease=lease, sent_at=None)
    rows.update(lease=None, leased_until=None)


def put_off(row_id: int) -> None:
    """Try the row again in a while."""
    until = timezone.now() + timedelta(seconds=FAULT_SECONDS)
    Outbox.objects.filter(pk=row_id, sent_at=None).update(lease=None, leased_until=until)


def mark_sent(sent: Sequence[Sent]) -> list[UUID]:
    """Mark rows as confirmed, in one transaction; return the requests that changed by it."""
    changed = []
    with transaction.atomic():
        for item in _in_order(sent):
            unsent = Outbox.objects.filter(pk=item.row_id, sent_at=None)
            row = unsent.first()
            # An update and no save: a cancel may delete the row between the two.
            if row is None or not unsent.update(sent_at=item.at, leased_until=None):
                continue
            is_request = row.type == InferenceRequested.wire_type()
            if is_request and record_published(row.request_id, item.at):
                changed.append(row.request_id)
    return changed


def _in_order(sent: Sequence[Sent]) -> list[Sent]:
    """By request, as the listener locks their rows: otherwise two could wait for each other."""
    rows = Outbox.objects.filter(pk__in=[item.row_id for item in sent])
    requests = dict(rows.values_list("pk", "request_id"))
    return sorted(
        (item for item in sent if item.row_id in requests),
        key=lambda item: (requests[item.row_id], item.row_id),
    )
