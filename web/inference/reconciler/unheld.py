"""Which requests no lab holds, as far as the labs' heartbeats tell. Synchronous."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from messages.lab import OFFLINE_AFTER_SECONDS
from web.inference.happenings import CancelSettled
from web.inference.models import InferenceRequest, RequestEvent
from web.inference.reconciler.unfinished import unfinished
from web.inference.record import record
from web.inference.states import State
from web.labs.models import Lab


def held(within_s: float = OFFLINE_AFTER_SECONDS) -> set[UUID]:
    """Requests that a lab listed as held in a heartbeat of the last seconds.

    Whatever its pool: a lab that was moved to another one may hold work of the first.
    """
    labs = Lab.objects.filter(last_seen__gte=timezone.now() - timedelta(seconds=within_s))
    return {UUID(one) for current in labs.values_list("current", flat=True) for one in current}


def someone_online(pool: str) -> bool:
    """Whether a lab of the pool is online."""
    since = timezone.now() - timedelta(seconds=OFFLINE_AFTER_SECONDS)
    return Lab.objects.filter(pool=pool, last_seen__gte=since).exists()


def unanswered_cancels(after_s: float) -> list[UUID]:
    """Requests whose cancel was asked so long ago and that no lab holds that could confirm it."""
    asked_by = timezone.now() - timedelta(seconds=after_s)
    rows = unfinished().filter(state=State.CANCELLING, cancel_asked_at__lte=asked_by)
    in_hand = held()
    return [pk for pk in rows.values_list("pk", flat=True) if pk not in in_hand]


def untaken_cancels(after_s: float) -> list[UUID]:
    """Requests whose cancel was asked so long ago while no lab had told of their attempt.

    They wait in a queue or a retry tier, and nobody is there who could confirm it.
    """
    asked_by = timezone.now() - timedelta(seconds=after_s)
    rows = unfinished().filter(state=State.CANCELLING, cancel_asked_at__lte=asked_by)
    in_hand = held()
    return [row.pk for row in rows if row.pk not in in_hand and not _taken(row)]


def _taken(row: InferenceRequest) -> bool:
    """Whether a lab has told of the attempt that is under way."""
    if (row.delivery, row.sequence) == (0, -1):
        return False
    # The lab that had it has let go of it: its copy in a tier is the next attempt.
    before = RequestEvent.objects.filter(request=row).exclude(state=State.CANCELLING)
    last = before.order_by("-version").first()
    waits = last is not None and last.state == State.WAITING
    return not (waits and (last.attempt, last.delivery) == (row.attempt, row.delivery))


def settle_cancel(request_id: UUID) -> bool:
    """The request is cancelled: whoever takes it later is told to stop, and the archive swept."""
    with transaction.atomic():
        return record(request_id, CancelSettled(at=timezone.now()))
