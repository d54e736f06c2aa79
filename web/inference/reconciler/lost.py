"""Requests that are on their way for the site and nowhere else. Synchronous.

A request is lost when its message is gone and nobody works on it: the queue was purged or
deleted, the broker came back without its disk, or a reply was dropped after its ack. It looks
lost while all of these hold at once, for `Pace.sure_s` at a stretch:

- nothing was told of it for `Pace.lost_s`, and its next try, if it has one, is due;
- no lab of its pool listed it in a heartbeat for `Pace.gone_s`, or nothing was told of it for as
  long as it may take: a lab that lists it for ever must not keep it for ever;
- no message of it waits in the outbox;
- its pool's queue and retry queues hold no message that is ready. One that is ready may be this
  request's: a number does not say whose. So one request waiting for a lab keeps every lost one of
  its pool waiting; it is taken, and then the queue is empty;
- the site has heard the labs for `Pace.heard_s` without a break, and the queue has no consumer
  while every lab is silent: those would be labs that work and cannot tell.

What was sent again and was not lost is worked on twice, and stored and reported once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from messages.request import InferenceRequested
from messages.topology import work_queues
from web.inference.again import send_again
from web.inference.models import InferenceRequest, Outbox
from web.inference.reconciler.pace import MOST_DOUBLINGS, Pace
from web.inference.reconciler.unfinished import each, unfinished
from web.inference.reconciler.unheld import held, may_be_held
from web.inference.states import State

log = structlog.get_logger(__name__)

#: States in which a request is not on its way: it waits in the outbox, nobody wants it, or its
#: result is looked for.
_NOT_ON_THE_WAY = (State.QUEUED, State.CANCELLING, State.REPORTED)


@dataclass(frozen=True)
class Missing:
    """A request that looks lost, as it stood then."""

    request_id: UUID
    #: Of the row: another one means that something was told of it meanwhile.
    version: int
    changed_at: datetime


def queues_of(pool: str) -> tuple[str, ...]:
    """Where a message of the pool can wait."""
    return work_queues(pool)


def pools_to_ask(pace: Pace) -> list[str]:
    """Pools in which a request was silent for long; of their queues the broker is asked."""
    return list(_silent(pace).order_by().values_list("pool", flat=True).distinct())


def missing(pace: Pace, empty_pools: Collection[str]) -> list[Missing]:
    """Requests of the pools whose queues are empty that nobody holds and nothing was told of."""
    now = timezone.now()
    in_hand = held(pace.gone_s)
    rows = _silent(pace).filter(pool__in=empty_pools).order_by("changed_at")

    def look(row: InferenceRequest) -> Missing | None:
        if may_be_held(row, in_hand) or row.changed_at + _patience(row, pace) > now:
            return None
        return Missing(row.pk, row.version, row.changed_at)

    return each(rows.only("version", "state", "changed_at", "attempt", "pool", "deadline_s"), look)


def _silent(pace: Pace) -> QuerySet[InferenceRequest]:
    now = timezone.now()
    type_ = InferenceRequested.wire_type()
    unsent = Outbox.objects.filter(request=OuterRef("pk"), type=type_, sent_at=None)
    silent = unfinished().exclude(state__in=_NOT_ON_THE_WAY)
    return silent.filter(
        ~Exists(unsent),
        Q(next_try_at=None) | Q(next_try_at__lte=now),
        changed_at__lte=now - timedelta(seconds=pace.lost_s),
    )


def _patience(row: InferenceRequest, pace: Pace) -> timedelta:
    return timedelta(seconds=pace.lost_s * 2 ** min(row.attempt - 1, MOST_DOUBLINGS))


def send_lost(lost: Missing) -> bool:
    """Publish the request once more, under its next attempt, unless it has moved meanwhile."""
    with transaction.atomic():
        row = InferenceRequest.objects.select_for_update().filter(pk=lost.request_id).first()
        if row is None or row.version != lost.version or not send_again(row.pk):
            return False
    log.warning(
        "lost_request_sent_again",
        request_id=str(row.pk),
        attempt=row.attempt + 1,
        was=row.state,
        silent_since=lost.changed_at.isoformat(),
    )
    return True
