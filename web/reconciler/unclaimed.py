"""Which requests no lab holds, as far as the labs' heartbeats tell. Synchronous."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from messages.lab import OFFLINE_AFTER_SECONDS
from web.inference.models import InferenceRequest, RequestEvent
from web.inference.record import record
from web.inference.states import State
from web.inference.triggers import CancelSettled
from web.labs.registry import heard
from web.reconciler.unfinished import each, unfinished

_ID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def held(within_s: float = OFFLINE_AFTER_SECONDS, pool: str | None = None) -> set[tuple[str, UUID]]:
    """Pool and id of what a lab listed as held in a heartbeat of the last seconds.

    Of its own pool: what a lab says of another's requests counts for nothing.
    """
    listed = heard(pool, within_s).values_list("pool", "current")
    return {(pool, UUID(one)) for pool, current in listed for one in _ids(current)}


def _ids(current: object) -> list[str]:
    """What of a row can be ids: one that was written otherwise keeps no other from its turn."""
    ids = [one for one in current if isinstance(one, str)] if isinstance(current, list) else []
    return [one for one in ids if _ID.fullmatch(one)]


def may_be_held(row: InferenceRequest, in_flight: Collection[tuple[str, UUID]]) -> bool:
    """Whether a lab of its pool lists the request, and is still to be believed.

    Within its deadline: a lab that lists it for ever and tells nothing must not keep it for ever.
    From a cancel it counts anew, and once: nothing that is told afterwards puts it off.
    """
    if (row.pool, row.pk) not in in_flight:
        return False
    asked_at = row.cancel_asked_at if row.state == State.CANCELLING else None
    return timezone.now() - (asked_at or row.changed_at) < timedelta(seconds=row.deadline_s)


def someone_online(pool: str) -> bool:
    """Whether a lab of the pool is online."""
    return heard(pool).exists()


def unanswered_cancels(after_s: float) -> list[UUID]:
    """Requests whose cancel was asked so long ago and that no lab holds that could confirm it."""
    asked_by = timezone.now() - timedelta(seconds=after_s)
    rows = unfinished().filter(state=State.CANCELLING, cancel_asked_at__lte=asked_by)
    in_flight = held()
    return each(
        rows.only("pool", "state", "changed_at", "cancel_asked_at", "deadline_s"),
        lambda row: None if may_be_held(row, in_flight) else row.pk,
    )


def untaken_cancels(after_s: float) -> list[UUID]:
    """Requests whose cancel was asked so long ago while no lab had told of their attempt.

    They wait in a queue or a retry tier, and nobody is there who could confirm it.
    """
    asked_by = timezone.now() - timedelta(seconds=after_s)
    rows = unfinished().filter(state=State.CANCELLING, cancel_asked_at__lte=asked_by)
    in_flight = held()
    return each(rows, lambda row: None if may_be_held(row, in_flight) or _taken(row) else row.pk)


def _taken(row: InferenceRequest) -> bool:
    """Whether a lab has told of the attempt that is under way."""
    if (row.delivery, row.sequence) == (0, -1):
        return False
    # The lab that had it has let go of it: its copy in a tier is the next attempt.
    before = RequestEvent.objects.filter(request=row).exclude(state=State.CANCELLING)
    last = before.order_by("-version").first()
    if last is None or last.state != State.WAITING:
        return True
    return (last.attempt, last.delivery) != (row.attempt, row.delivery)


def settle_cancel(request_id: UUID) -> bool:
    """The request is cancelled: whoever takes it later is told to stop, and the archive swept."""
    with transaction.atomic():
        return record(request_id, CancelSettled(at=timezone.now()))
