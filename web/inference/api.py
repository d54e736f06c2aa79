"""``/api/v1/``: ask for an analysis, and read what became of it."""

from __future__ import annotations

from typing import Annotated, Any, cast
from uuid import UUID

from django.contrib.auth.models import User
from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from ninja import NinjaAPI, Schema, Status
from ninja.errors import HttpError, ValidationError
from ninja.security import SessionAuth
from pydantic import Field

from web.errors import code_for, error_response, sentence_for
from web.inference.models import InferenceRequest
from web.inference.presentation import RequestView
from web.inference.refusals import Refused
from web.inference.submit import Selection, submit

#: Requests of one study that a list returns.
LIST_LIMIT = 50

#: Series that a body may name; the widest contract allows 16 roles.
MAX_INPUTS = 32

# The cookie logs in, so ninja checks the CSRF token of every call that changes something.
api = NinjaAPI(title="Labrelay", version="1", auth=SessionAuth(), urls_namespace="api", docs_url="")


class SelectionIn(Schema):
    """One series for one role of the model."""

    role: Annotated[str, Field(max_length=63)]
    series_id: Annotated[str, Field(max_length=64)]


class RequestIn(Schema):
    """What a reader asks for."""

    study_id: Annotated[str, Field(max_length=64)]
    inputs: Annotated[list[SelectionIn], Field(max_length=MAX_INPUTS)]
    model: Annotated[str, Field(max_length=63)] | None = None
    threshold: float | None = None


@api.post("/requests", response={202: RequestView}, url_name="requests")
def ask(request: HttpRequest, body: RequestIn, response: HttpResponse) -> Status[RequestView]:
    """Take a request: it is safe once this has answered."""
    row = submit(
        study_id=body.study_id,
        inputs=[Selection(role=item.role, series_id=item.series_id) for item in body.inputs],
        user=cast("User", request.user),
        model=body.model,
        threshold=body.threshold,
    )
    response["Location"] = f"{request.path}/{row.pk}"
    return Status(202, RequestView.of(row))


@api.get("/requests/{uuid:request_id}", response=RequestView, url_name="request")
def one(request: HttpRequest, request_id: UUID) -> RequestView:  # noqa: ARG001 - ninja's name
    """Where a request is."""
    row = InferenceRequest.objects.filter(pk=request_id).first()
    if row is None:
        raise UnknownRequest(request_id)
    return RequestView.of(row)


class RequestList(Schema):
    """The latest requests, newest first."""

    requests: list[RequestView]


@api.get("/requests", response=RequestList)
def of_study(
    request: HttpRequest,  # noqa: ARG001 - ninja's name
    study_id: Annotated[str, Field(max_length=64)],
) -> RequestList:
    """The latest requests of a study, newest first."""
    rows = InferenceRequest.objects.filter(study_id=study_id).order_by("-created_at")
    return RequestList(requests=[RequestView.of(row) for row in rows[:LIST_LIMIT]])


class UnknownRequest(Exception):
    """No request of that id."""

    def __init__(self, request_id: UUID) -> None:
        super().__init__("unknown request")
        self.request_id = request_id


@api.exception_handler(Refused)
def _refused(_request: HttpRequest, exc: Any) -> HttpResponse:
    return error_response(exc.status, exc.code, exc.message)


@api.exception_handler(UnknownRequest)
def _unknown(_request: HttpRequest, exc: Any) -> HttpResponse:
    return error_response(404, "not_found", _("There is no such request."), exc.request_id)


@api.exception_handler(ValidationError)
def _invalid(_request: HttpRequest, exc: Any) -> HttpResponse:
    # The names of the fields only: pydantic's own text quotes what was sent.
    fields = sorted({".".join(str(part) for part in e["loc"][1:]) or "body" for e in exc.errors})
    return error_response(422, "invalid", f"{sentence_for(422)} ({', '.join(fields)[:200]})")


@api.exception_handler(HttpError)
def _http_error(_request: HttpRequest, exc: Any) -> HttpResponse:
    status = exc.status_code
    return error_response(status, code_for(status), sentence_for(status))


@api.exception_handler(Http404)
def _absent(_request: HttpRequest, _exc: Any) -> HttpResponse:
    return error_response(404, code_for(404), sentence_for(404))


@api.exception_handler(RequestDataTooBig)
def _too_large(_request: HttpRequest, _exc: Any) -> HttpResponse:
    return error_response(413, code_for(413), sentence_for(413))


@api.exception_handler(Exception)
def _broken(_request: HttpRequest, exc: Any) -> HttpResponse:
    # On to Django: it logs and answers 500, which `web.errors` makes JSON.
    raise exc
