"""Withdrawing a result: for staff."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from ninja import Router, Schema, Status
from pydantic import Field

from web.api.errors import ErrorAnswer, failing, refused
from web.api.seen import seen_request
from web.inference.presentation import RequestView
from web.inference.result_state import MAX_REASON
from web.inference.withdraw import may_withdraw, withdraw
from web.refusals import NotAsked, Refused

router = Router()


class WithdrawalIn(Schema):
    """Why a result is withdrawn."""

    #: Whoever sees the study can read it.
    reason: Annotated[str, Field(max_length=MAX_REASON)]
    #: Whether the archive's objects of the result are removed too.
    remove_objects: bool = False


@router.post(
    "/{uuid:request_id}/withdraw",
    response={200: RequestView, **failing(400, 403, 404, 409, 413, 422, 503)},
    url_name="request_withdraw",
    operation_id="withdraw_result",
)
def take_back(
    request: HttpRequest, request_id: UUID, body: WithdrawalIn
) -> Status[RequestView] | Status[ErrorAnswer]:
    """Withdraw the result, for staff who may change requests (403 for others).

    It stays so; verdicts are kept. 409 without a result, or when it was withdrawn before: then only
    its objects can still be removed. 503 when it is withdrawn and the archive has not removed them.
    """
    _row, caller = seen_request(request, request_id)
    try:
        if not may_withdraw(caller):
            sentence = _("Only staff may withdraw a result.")
            raise NotAsked("not_staff", sentence, 403)
        done = withdraw(request_id, caller, body.reason, objects_too=body.remove_objects)
    except Refused as exc:
        return refused(exc, request_id)
    return Status(200, RequestView.of(done.row))
