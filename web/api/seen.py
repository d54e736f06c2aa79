"""Which requests a caller may see. What is not granted is answered like what does not exist.

Of studies `web.pages.views.seen` tells.
"""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest

from web.access.audit import Action
from web.access.caller import Caller, caller_of
from web.api.errors import NoResult, NotShown, UnknownRequest
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.inference.supersession import with_supersession
from web.inference.withdraw import why_not_shown
from web.orthanc.archive import checked_id
from web.orthanc.errors import NotAnOrthancId


def seen_request(request: HttpRequest, request_id: UUID) -> tuple[InferenceRequest, Caller]:
    """The request and the caller, who sees its study; raises `UnknownRequest` otherwise."""
    caller = caller_of(request)
    row = with_supersession(InferenceRequest.objects.filter(pk=request_id)).first()
    if row is None:
        raise UnknownRequest(request_id)
    if not caller.scope.sees(row.study_id):
        caller.note(Action.REFUSED, study_id=row.study_id, subject=str(request_id))
        raise UnknownRequest(request_id)
    return row, caller


def shown_result(request: HttpRequest, request_id: UUID) -> tuple[InferenceRequest, Caller]:
    """The same of a request with a result that may be shown.

    Raises `NoResult`, and `NotShown` for one that is withdrawn, or known to be gone: the archive is
    not asked.
    """
    row, caller = seen_request(request, request_id)
    if row.state != State.COMPLETED or row.result is None:
        raise NoResult(request_id)
    reason = why_not_shown(row)
    if reason is not None:
        raise NotShown(request_id, reason)
    return row, caller


def note_refusal(caller: Caller, study_id: str) -> None:
    """Write down that the caller asked for a study that is not granted to them."""
    try:
        caller.note(Action.REFUSED, study_id=checked_id(study_id))
    except NotAnOrthancId:
        # It names no study, and the column holds nothing but ids.
        return
