"""Requests that are on their way for the site and nowhere else. Synchronous.

A request is lost when its message is gone and nobody works on it: the queue was purged or
deleted, the broker came back without its disk, or a reply was dropped after its ack. It looks
lost while all of these hold at once, for `Pace.sure_s` at a stretch:

- nothing was told of it for `Pace.lost_s`, and its next try, if it has one, is due;
- no lab of its pool listed it in a heartbeat for `Pace.gone_s`, or nothing was told of it for as
  long as it may take: a lab that lists it for ever must not keep it for ever;
- no message of it waits in the outbox;
- it waits in no queue. That is so while the queues in which it could wait hold no message that is
  ready, and no consumer while every lab is silent: those would be labs that work and cannot tell.
  Otherwise it is so after `Pace.unexplained_s` of silence that the `Backlog` does not explain: it
  was taken and labs took others since, or one that was made later was, or the labs came no further
  for as long as it may take. So what waits there, an honest backlog or what a lab has put there,
  keeps none for ever once a lab takes requests;
- the site has heard the labs for `Pace.heard_s` without a break.

What was sent again and was not lost is worked on twice, and stored and reported once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from messages.request import InferenceRequested
from messages.topology import readers_queues
from web.inference.again import send_again
from web.inference.models import InferenceRequest, Outbox
from web.inference.states import State
from web.reconciler.backlog import Backlog
from web.reconciler.pace import MOST_DOUBLINGS, Pace
from web.reconciler.unclaimed import held, may_be_held
from web.reconciler.unfinished import each, unfinished

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
    #: From when on it did. Not compared: it moves as queues fill and empty, the rest stands.
    due_at: datetime = field(compare=False)


def queues_of(pool: str) -> tuple[str, ...]:
    """Where a request of the pool can wait. A reader's: the site sends none that a rule asks for.

    Of the version before, a request can also wait in a retry queue of that name, for ten minutes
    at most. It is not asked for there: one that is sent again meanwhile does no harm.
    """
    return readers_queues(pool)


def pools_to_ask(pace: Pace) -> list[str]:
    """Pools in which a request was silent for long; of their queues the broker is asked."""
    return list(_silent(pace).order_by().values_list("pool", flat=True).distinct())


def missing(pace: Pace, backlogs: Mapping[str, Backlog | None]) -> list[Missing]:
    """Requests of these pools that nobody holds and nothing was told of, and that wait nowhere.

    `backlogs`: by pool, what may wait there; None where nothing does.
    """
    now = timezone.now()
    in_flight = held(pace.gone_s)
    for pool, backlog in backlogs.items():
        if backlog is not None:
            # A lab that is gone has left what it listed at the head, until labs come further.
            in_flight |= held(pace.gone_s + backlog.further_s, pool)
    empty = [pool for pool, backlog in backlogs.items() if backlog is None]
    somewhere = Q(pool__in=empty)
    for pool, backlog in backlogs.items():
        if backlog is not None:
            somewhere |= Q(pool=pool) & backlog.unexplained
    rows = _silent(pace).filter(somewhere).order_by("changed_at")
    sends = _sends(rows)

    def look(row: InferenceRequest) -> Missing | None:
        base_s = pace.lost_s if row.pool in empty else pace.unexplained_s
        again = max(sends.get(row.pk, 1) - 1, 0)
        due_at = row.changed_at + timedelta(seconds=base_s * 2 ** min(again, MOST_DOUBLINGS))
        if may_be_held(row, in_flight) or due_at > now:
            return None
        return Missing(row.pk, row.version, row.changed_at, due_at)

    return each(rows.only("version", "state", "changed_at", "pool", "deadline_s"), look)


def _silent(pace: Pace) -> QuerySet[InferenceRequest]:
    now = timezone.now()
    unsent = _sent_as_request().filter(request=OuterRef("pk"), sent_at=None)
    silent = unfinished().exclude(state__in=_NOT_ON_THE_WAY)
    return silent.filter(
        ~Exists(unsent),
        Q(next_try_at=None) | Q(next_try_at__lte=now),
        changed_at__lte=now - timedelta(seconds=pace.lost_s),
    )


def _sends(rows: QuerySet[InferenceRequest]) -> dict[UUID, int]:
    """How often the site has sent each. Not its attempt, which a lab raises as well."""
    sent = _sent_as_request().filter(request__in=rows.order_by().values("pk"))
    return dict(sent.values_list("request").annotate(Count("pk")))


def _sent_as_request() -> QuerySet[Outbox]:
    return Outbox.objects.filter(type=InferenceRequested.wire_type())


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
