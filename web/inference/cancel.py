"""Stopping a request: the reader's wish is written down, and told to the labs until it is true."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from web.access.audit import Action
from web.access.caller import Caller
from web.inference.models import InferenceRequest
from web.inference.outbox import enqueue_stop, take_back
from web.inference.record import record, snapshot
from web.inference.states import UNWANTED, State
from web.inference.triggers import CancelAsked
from web.notify import notify_on_commit
from web.refusals import CONFLICT, NotAsked


def cancel(request_id: UUID, caller: Caller | None = None) -> InferenceRequest:
    """Ask to stop the request and return it as it is then: cancelled, or being cancelled.

    Asked twice, it is asked once. Raises `NotAsked` (409) when the request has ended otherwise,
    and `InferenceRequest.DoesNotExist`.
    """
    with transaction.atomic():
        row = InferenceRequest.objects.select_for_update().get(pk=request_id)
        if row.state in {State.CANCELLING, State.CANCELLED}:
            return row
        if row.state == State.COMPLETED:
            sentence = _("Too late: the result is stored already.")
            raise NotAsked("too_late", sentence, CONFLICT)
        unsent = _taken_back(row)
        if not record(request_id, CancelAsked(at=timezone.now(), unsent=unsent)):
            raise NotAsked("not_running", _("The request has ended already."), CONFLICT)
        if caller is not None:
            caller.note(Action.CANCELLED, study_id=row.study_id, subject=str(row.pk))
        row.refresh_from_db()
        # The reader's other pages, and calls that wait.
        notify_on_commit(row.pk)
    return row


def _taken_back(row: InferenceRequest) -> bool:
    """Delete the request's own message if no relay has had it; whether that was so.

    One that was leased before may have been published, whatever became of the lease.
    """
    return row.state == State.QUEUED and row.attempt == 1 and take_back(row, attempted=False)


def stop_unwanted(request_ids: Collection[UUID], pool: str) -> None:
    """Tell the labs once more to stop those of these requests of the pool that nobody wants.

    For what a lab says it holds: it was away when it was told, or took the request later. Call it
    inside a transaction.
    """
    rows = InferenceRequest.objects.filter(
        pk__in=request_ids, pool=pool, state__in=sorted(UNWANTED)
    )
    for row in rows:
        if snapshot(row).unwanted:
            enqueue_stop(row)
