"""Stopping a request."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest
from ninja import Router, Status

from web.api.errors import ErrorAnswer, failing, refused
from web.api.seen import seen_request
from web.inference.cancel import cancel
from web.inference.presentation import RequestView
from web.refusals import NotAsked

router = Router()


@router.post(
    "/{uuid:request_id}/cancel",
    response={202: RequestView, **failing(403, 404, 409)},
    url_name="request_cancel",
    operation_id="cancel_request",
)
def stop(request: HttpRequest, request_id: UUID) -> Status[RequestView] | Status[ErrorAnswer]:
    """Stop a request: it is `cancelled`, or `cancelling` until a lab has let go of it.

    409 when it has ended: `too_late` beside a stored result, otherwise `not_running`.
    """
    _row, caller = seen_request(request, request_id)
    try:
        row = cancel(request_id, caller)
    except NotAsked as exc:
        return refused(exc, request_id)
    return Status(202, RequestView.of(row))
