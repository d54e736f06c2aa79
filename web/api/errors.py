"""Every error of the API in its one form, in the answers and in the description of them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from ninja import NinjaAPI, Schema, Status
from ninja.errors import HttpError, ValidationError

from web.access import limits
from web.error_form import code_for, error_response, sentence_for
from web.orthanc import answers
from web.orthanc.errors import ArchiveError
from web.refusals import Refused

#: What every operation can answer: nobody is logged in, and too many calls.
EVERYWHERE = (401, 429)


class ErrorDetail(Schema):
    """What went wrong."""

    #: For programs: `not_found`, `wrong_phase_count`, and so on.
    code: str
    #: A sentence in the caller's language.
    message: str
    #: The request that it is about, where there is one.
    request_id: UUID | None


class ErrorAnswer(Schema):
    """The one form of an error."""

    error: ErrorDetail


def failing(*statuses: int) -> dict[int, Any]:
    """For ``response=``: these statuses and those of every operation, each as an `ErrorAnswer`."""
    return dict.fromkeys(sorted({*EVERYWHERE, *statuses}), ErrorAnswer)


def refused(reason: Refused, request_id: UUID) -> Status[ErrorAnswer]:
    """Answer a refusal that concerns a request which is there; it does not know that one itself."""
    detail = ErrorDetail(code=reason.code, message=str(reason.message), request_id=request_id)
    return Status(reason.status, ErrorAnswer(error=detail))


class UnknownRequest(Exception):
    """No request of that id, or it is of a study that the caller does not see."""

    def __init__(self, request_id: UUID) -> None:
        super().__init__("unknown request")
        self.request_id = request_id


class NoResult(Exception):
    """The request has no result, or none yet."""

    def __init__(self, request_id: UUID) -> None:
        super().__init__("no result")
        self.request_id = request_id


class NotShown(Exception):
    """The request's result is withdrawn, or not in the archive any more."""

    def __init__(self, request_id: UUID, reason: Refused) -> None:
        super().__init__("not shown")
        self.request_id = request_id
        self.reason = reason


class TooMany(Exception):
    """The caller has made too many calls."""

    def __init__(self, wait: float) -> None:
        super().__init__("too many calls")
        #: Seconds.
        self.wait = wait


def add_handlers(api: NinjaAPI) -> None:
    """Let the API answer every exception that is not a fault of ours."""
    for kind, handler in (
        (Refused, _refused),
        (ArchiveError, _archive),
        (UnknownRequest, _unknown),
        (NoResult, _no_result),
        (NotShown, _not_shown),
        (TooMany, _too_many),
        (ValidationError, _invalid),
        (HttpError, _http_error),
        (Http404, _absent),
        (RequestDataTooBig, _too_large),
        (Exception, _broken),
    ):
        api.add_exception_handler(kind, handler)


def _refused(_request: HttpRequest, exc: Any) -> HttpResponse:
    return error_response(exc.status, exc.code, exc.message)


def _archive(_request: HttpRequest, exc: Any) -> HttpResponse:
    status, sentence = answers.status_and_sentence(exc)
    return error_response(status, code_for(status), sentence)


def _unknown(_request: HttpRequest, exc: Any) -> HttpResponse:
    return error_response(404, "not_found", _("There is no such request."), exc.request_id)


def _no_result(_request: HttpRequest, exc: Any) -> HttpResponse:
    return error_response(409, "no_result", _("This request has no result."), exc.request_id)


def _not_shown(_request: HttpRequest, exc: Any) -> HttpResponse:
    reason = exc.reason
    return error_response(reason.status, reason.code, reason.message, exc.request_id)


def _too_many(request: HttpRequest, exc: Any) -> HttpResponse:
    return limits.too_many(request, exc.wait)


def _invalid(_request: HttpRequest, exc: Any) -> HttpResponse:
    # The names of the fields only: pydantic's own text quotes what was sent.
    fields = sorted({".".join(str(part) for part in e["loc"][1:]) or "body" for e in exc.errors})
    return error_response(422, "invalid", f"{sentence_for(422)} ({', '.join(fields)[:200]})")


def _http_error(_request: HttpRequest, exc: Any) -> HttpResponse:
    status = exc.status_code
    return error_response(status, code_for(status), sentence_for(status))


def _absent(_request: HttpRequest, _exc: Any) -> HttpResponse:
    return error_response(404, code_for(404), sentence_for(404))


def _too_large(_request: HttpRequest, _exc: Any) -> HttpResponse:
    return error_response(413, code_for(413), sentence_for(413))


def _broken(_request: HttpRequest, exc: Any) -> HttpResponse:
    # On to Django: it logs and answers 500, which `web.errors` makes JSON.
    raise exc
