"""Errors for programs are JSON, whoever raises them; elsewhere they are pages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.core.signals import got_request_exception
from django.db import InterfaceError, OperationalError
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils import translation

from web import database_file
from web.error_form import API_PREFIX, OLD_PREFIX, code_for, error_response, sentence_for
from web.ownership import OWN_ADDRESSES, is_our_view, is_ours

#: Of our API's addresses, and of the viewer's.
API_NAMESPACE = "labrelay_api"
VIEWER_NAMESPACE = "labrelay_viewer"

#: Where a request keeps that its answer failed for want of the database.
_DATABASE_AWAY = "labrelay.database_away"

#: Headers that tell of the page that they came with.
_OF_THE_CONTENT = frozenset(
    {"Content-Type", "Content-Length", "Content-Encoding", "Content-Disposition", "ETag"}
    | {"Last-Modified", "Location"}
)

#: Below this a status is no error.
FIRST_ERROR = 400


def json_errors(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Outermost middleware: turns the HTML of an error under ``/api/`` into JSON.

    Handlers in the URL configuration would not see all of them: a method that is not allowed, a
    foreign host name and, with DEBUG, Django's own error pages come from elsewhere. And it answers
    503 for want of the database, on pages and at the log-in too.
    """

    def answer(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if database_file.is_gone() and response.status_code < FIRST_ERROR and _is_ours(request):
            # What was written for this answer lies in a file that nobody will open again.
            request.META[_DATABASE_AWAY] = True
            response.close()
            response = _in_place_of(response, HttpResponse(status=HTTPStatus.SERVICE_UNAVAILABLE))
        if request.META.get(_DATABASE_AWAY) and response.status_code >= FIRST_ERROR:
            response = _as_page(request, response)
        return _as_json(request, response)

    return answer


@receiver(got_request_exception, dispatch_uid="labrelay_database_away")
def _note_database(request: HttpRequest | None = None, **_: object) -> None:
    """Remember why an answer will be a 500: Django makes it before any middleware could."""
    if request is not None and isinstance(sys.exception(), OperationalError | InterfaceError):
        request.META[_DATABASE_AWAY] = True


def _is_anothers(request: HttpRequest) -> bool:
    """Whether a view of a host project answers: its own errors under ``/api/`` stay its own."""
    match = request.resolver_match
    if match is None or API_NAMESPACE in match.namespaces:
        return False
    return not match.func.__module__.startswith("web.")


def _is_ours(request: HttpRequest) -> bool:
    match = request.resolver_match
    if match is None or settings.ROOT_URLCONF == OWN_ADDRESSES:
        return is_ours(request.path_info)
    return is_our_view(match)


def _as_page(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """The page that says that the database is away, where a reader is shown that there was a fault.

    Made without the request: who asks, and what the page says to whom, is in the database.
    """
    if _is_for_program(request) or not isinstance(response, HttpResponse) or not _is_ours(request):
        return response
    status = HTTPStatus.SERVICE_UNAVAILABLE
    page = render_to_string("labrelay/503.html", {"sentence": sentence_for(status)})
    return _in_place_of(response, HttpResponse(page, status=status))


def _in_place_of(response: HttpResponseBase, answer: HttpResponse) -> HttpResponse:
    """The answer with the headers that the middleware inside sets on every page; no cookies."""
    for name, value in response.headers.items():
        if name not in _OF_THE_CONTENT:
            answer.headers[name] = value
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _is_for_program(request: HttpRequest) -> bool:
    match = request.resolver_match
    dicomweb = match is not None and match.view_name == f"{VIEWER_NAMESPACE}:dicomweb"
    return dicomweb or request.path.startswith(API_PREFIX)


def _form_of(request: HttpRequest) -> Callable[[HttpRequest, int], HttpResponse]:
    """How an error is written at this address."""
    old = request.path.startswith(OLD_PREFIX) and request.META.get(_DATABASE_AWAY)
    return _old_form if old else _form


def _form(_request: HttpRequest, status: int) -> HttpResponse:
    return error_response(status, code_for(status), sentence_for(status))


def _old_form(request: HttpRequest, status: int) -> HttpResponse:
    # Only here: both are made of what this module has.
    from web.legacy.answers import as_json, error_answer
    from web.legacy.language import language_of

    with translation.override(language_of(request)):
        _status, body = error_answer(status, sentence_for(status))
    return HttpResponse(as_json(body), status=status, content_type="application/json")


def _as_json(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    status = response.status_code
    kept = response.headers.get("Content-Type", "").startswith("application/json")
    if status < FIRST_ERROR or kept or not _is_for_program(request):
        return response
    # Nothing of ours fails in a stream.
    if _is_anothers(request) or not isinstance(response, HttpResponse):
        return response
    if request.META.get(_DATABASE_AWAY):
        # Nothing is wrong with us. A click that names itself may be sent again.
        status = response.status_code = HTTPStatus.SERVICE_UNAVAILABLE.value
        response.reason_phrase = HTTPStatus.SERVICE_UNAVAILABLE.phrase
    # In place: cookies and the headers of the middleware inside stay on it.
    json = _form_of(request)(request, status)
    response.content = json.content
    response.headers["Content-Type"] = json.headers["Content-Type"]
    # Both told of the page that this was.
    del response.headers["Content-Encoding"], response.headers["ETag"]
    if "Content-Length" in response.headers:
        response.headers["Content-Length"] = str(len(json.content))
    return response
