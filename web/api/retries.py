"""Asking for an ended request once more."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from ninja import Router, Status

from web.api.errors import ErrorAnswer, failing, refused
from web.api.requests import LOCATION, IdempotencyKey, note_results
from web.api.seen import seen_request
from web.inference.presentation import RequestView
from web.inference.retry import retry
from web.refusals import Refused

router = Router()


@router.post(
    "/{uuid:request_id}/retry",
    response={202: RequestView, **failing(403, 404, 409, 422, 503)},
    url_name="request_retry",
    operation_id="retry_request",
    openapi_extra=LOCATION,
)
def once_more(
    request: HttpRequest,
    request_id: UUID,
    response: HttpResponse,
    idempotency_key: IdempotencyKey = None,
) -> Status[RequestView] | Status[ErrorAnswer]:
    """Ask for the same again: a new request, or the active one for the same wish.

    For a request that is `failed`, `cancelled` or `dead`; otherwise 409, `completed` or
    `still_running`. The series are looked up anew in the archive.
    """
    ended, caller = seen_request(request, request_id)
    try:
        row = retry(ended, caller, key=idempotency_key)
    except Refused as exc:
        return refused(exc, request_id)
    response["Location"] = reverse("labrelay_api:request", args=[row.pk])
    note_results(caller, [row])
    return Status(202, RequestView.of(row))
