"""Staff take a result back, for a reason that everybody who sees the study can read."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import structlog
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from web.access.audit import Action
from web.access.caller import Caller
from web.inference.models import InferenceRequest
from web.inference.result_state import MAX_REASON, ResultState
from web.inference.states import State
from web.inference.superseded import with_superseded
from web.notify import notify_on_commit
from web.one_line import one_line
from web.orthanc.archive import Orthanc, archive
from web.orthanc.errors import ArchiveError
from web.orthanc.objects import delete_objects, objects_of, say_foreign
from web.refusals import CONFLICT, NotAsked, NotNow

log = structlog.get_logger(__name__)

#: HTTP 410: it was here, and asking again will not help.
_GONE = 410

#: Django's permission that a member of staff needs for it.
PERMISSION = "labrelay_inference.change_inferencerequest"


@dataclass(frozen=True)
class Withdrawn:
    """What was done."""

    row: InferenceRequest
    #: Objects of it that lie in another study and stay there: somebody has copied them.
    left_elsewhere: int


def may_withdraw(caller: Caller) -> bool:
    """Whether the caller is staff with the permission to change requests."""
    user = caller.user
    return user is not None and user.is_staff and user.has_perm(PERMISSION)


def withdraw(
    request_id: UUID,
    caller: Caller,
    reason: str,
    *,
    objects_too: bool = False,
    orthanc: Orthanc | None = None,
) -> Withdrawn:
    """Withdraw the result; the verdicts on it are kept, and it stays so.

    With `objects_too` the archive's objects of it are removed after that, save those that lie in
    other studies; of a result that is withdrawn already only this is done. Whether the caller may
    is for the caller to know. Raises `NotAsked`: 422 without a reason, 409 without a result or for
    one that was withdrawn before; `NotNow` when it is withdrawn and the archive did not remove its
    objects: asked again, it does. And `InferenceRequest.DoesNotExist`.
    """
    words = one_line(reason)
    if not words:
        raise NotAsked("reason_missing", _("Please say why the result is withdrawn."))
    if len(words) > MAX_REASON:
        raise NotAsked("reason_too_long", _("The reason is too long."))
    row = _withdrawn(request_id, caller, words, objects_too=objects_too)
    left = _remove(row, caller, orthanc or archive()) if objects_too else 0
    return Withdrawn(row, left)


def _withdrawn(
    request_id: UUID, caller: Caller, reason: str, *, objects_too: bool
) -> InferenceRequest:
    with transaction.atomic():
        row = InferenceRequest.objects.select_for_update().get(pk=request_id)
        if row.state != State.COMPLETED or row.result is None:
            sentence = _("This request has no result to withdraw.")
            raise NotAsked("no_result", sentence, CONFLICT)
        if row.withdrawn_at is not None:
            if objects_too:
                return row
            raise NotAsked("withdrawn_before", _("This result is withdrawn already."), CONFLICT)
        row.result_state = ResultState.WITHDRAWN
        row.withdrawn_at, row.withdrawn_by, row.withdrawn_reason = (
            timezone.now(),
            caller.user,
            reason,
        )
        row.version += 1
        row.save(
            update_fields=[
                "result_state",
                "withdrawn_at",
                "withdrawn_by",
                "withdrawn_reason",
                "version",
            ]
        )
        caller.note(Action.WITHDRAWN, study_id=row.study_id, subject=str(row.pk))
        for changed in with_superseded([row.pk]):
            # An older result may hold in its place now.
            notify_on_commit(changed)
    log.warning("result_withdrawn", request_id=str(row.pk), version=row.version)
    return row


def _remove(row: InferenceRequest, caller: Caller, orthanc: Orthanc) -> int:
    """How many lie in other studies, and stay there.

    Not inside the transaction: it speaks with the archive. What is gone by an error stays so.
    """
    try:
        found = objects_of(row.pk, row.study_uid, orthanc)
        say_foreign(row.pk, found.elsewhere)
        if found.here:
            # Before it is done: an entry without a removal is better than one that is missing.
            caller.note(Action.OBJECTS_REMOVED, study_id=row.study_id, subject=str(row.pk))
            delete_objects(row.pk, found.here, orthanc)
    except ArchiveError as exc:
        log.warning("objects_not_removed", request_id=str(row.pk), error=type(exc).__name__)
        sentence = _(
            "The result is withdrawn, but the archive did not remove its objects. Please ask for "
            "that again."
        )
        raise NotNow("objects_not_removed", sentence) from None
    return len(found.elsewhere)


def withdrawal_of(row: InferenceRequest) -> NotAsked:
    """What everybody is told of a result that staff have withdrawn."""
    sentence = _("This result was withdrawn. Reason: %(reason)s")
    return NotAsked("result_withdrawn", sentence % {"reason": row.withdrawn_reason}, _GONE)


def why_not_shown(row: InferenceRequest) -> NotAsked | None:
    """Why a result is not shown any more; None where nothing speaks against it."""
    if row.withdrawn_at is not None:
        return withdrawal_of(row)
    if row.result_state == ResultState.GONE:
        return NotAsked("result_gone", _("The stored result is no longer in the archive."), _GONE)
    return None


def result_in(study_id: str, instance_id: str) -> InferenceRequest | None:
    """The request whose segmentation this object of the study is; None of one of nobody's."""
    rows = InferenceRequest.objects.filter(study_id=study_id, result__seg_instance_id=instance_id)
    return rows.order_by("created_at", "pk").first()
