"""The viewer's page, its files, and the way to it from a study."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from web.access.audit import Action
from web.orthanc import answers
from web.pages.views import seen
from web.viewer import policy
from web.viewer.files import PAGE, ViewerMissing, files, is_there
from web.viewer.opening import query_of


@require_safe
@answers.page
def open_study(request: HttpRequest, study_id: str) -> HttpResponse:
    """Lead on to the viewer with the study and its newest result; ``?request=`` names another.

    Looked up when it is clicked: the page that the link stands on may be older than the result.
    """
    caller = seen(request, study_id)
    if not is_there():
        return _missing(request)
    query = query_of(study_id, _id(request.GET.get("request")))
    caller.note(Action.STUDY_VIEWED, study_id=study_id)
    answer = HttpResponseRedirect(f"{reverse('labrelay_viewer:viewer')}?{query}")
    answer.headers["Cache-Control"] = "no-store"
    return answer


@require_safe
@login_required
def page(request: HttpRequest) -> HttpResponse:
    """The viewer itself; which studies it is told of, `web.dicomweb` decides."""
    return _file(request, PAGE, policy.PAGE)


@require_safe
def file(request: HttpRequest, name: str) -> HttpResponse:
    """A file of the viewer. They are public, and the same everywhere."""
    return _file(request, name, policy.FILE)


@require_safe
def root(_request: HttpRequest) -> HttpResponse:
    """Without a study: the list, which knows who sees which."""
    return redirect("labrelay:studies")


def _file(request: HttpRequest, name: str, allowed: str) -> HttpResponse:
    try:
        found = files().find(name)
    except ViewerMissing:
        return _missing(request)
    if found is None or (name == PAGE and allowed != policy.PAGE):
        return render(
            request,
            "labrelay/404.html",
            {"sentence": _("There is nothing at this address.")},
            status=404,
        )
    # Whitenoise chooses the compressed form and answers what the browser has already.
    chosen = found.get_response(request.method, request.META)
    content = b""
    if chosen.file is not None:
        with chosen.file as stream:
            content = stream.read()
    response = HttpResponse(content, status=chosen.status)
    del response.headers["Content-Type"]
    for header, value in chosen.headers:
        response.headers[header] = value
    response.headers["Content-Security-Policy"] = allowed
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    return response


def _missing(request: HttpRequest) -> HttpResponse:
    sentence = _("The viewer is not installed on this site. The study's page shows the images.")
    response = render(request, "labrelay/404.html", {"sentence": sentence}, status=404)
    response.headers["Cache-Control"] = "no-store"
    return response


def _id(text: str | None) -> UUID | None:
    try:
        return UUID(text or "")
    except ValueError:
        return None
