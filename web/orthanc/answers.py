"""An archive error becomes a page or a JSON sentence, never a traceback."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import structlog
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from web.error_form import code_for, error_response
from web.orthanc.errors import (
    ArchiveError,
    ArchiveUnavailable,
    InstanceNotFound,
    NotAnOrthancId,
    NotLookedInto,
    PhaseNotFound,
    SeriesChanged,
    SeriesNotFound,
    SliceNotFound,
    StudyNotFound,
    TooLargeResult,
    UnreadableReport,
    UnusableAnswer,
)

log = structlog.get_logger(__name__)

#: Status and sentence by error; what is another's base stands behind it.
_ANSWERS: dict[type[ArchiveError], tuple[int, Promise]] = {
    ArchiveUnavailable: (503, _("The image archive does not answer. Please try again shortly.")),
    SeriesChanged: (
        409,
        _("The series has changed since the page was loaded. Please load it again."),
    ),
    StudyNotFound: (404, _("This study is not in the archive.")),
    SeriesNotFound: (404, _("This series is not in the archive, or not in this study.")),
    PhaseNotFound: (404, _("This series does not hold the chosen phase.")),
    SliceNotFound: (404, _("The series has no slice of this number.")),
    NotAnOrthancId: (404, _("The address does not name a study or series.")),
    InstanceNotFound: (404, _("The stored result is no longer in the archive.")),
    NotLookedInto: (
        502,
        _("Not all images of this series could be looked into. Please load the page again."),
    ),
    UnusableAnswer: (502, _("The archive says more of this than the site can read.")),
    TooLargeResult: (
        502,
        _("What is stored as the result is larger than the site reads. Please tell staff."),
    ),
    UnreadableReport: (502, _("The stored report cannot be read.")),
}

View = Callable[..., HttpResponse]


def page(view: View) -> View:
    """A page for a reader who is logged in: an archive error is a page with a sentence."""

    @login_required
    @wraps(view)
    def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        try:
            return view(request, *args, **kwargs)
        except ArchiveError as error:
            status, sentence = status_and_sentence(error)
            template = "labrelay/404.html" if status == 404 else "labrelay/503.html"
            response = render(request, template, {"sentence": sentence}, status=status)
            response.headers["Cache-Control"] = "no-store"
            return response

    return answer


def data(view: View) -> View:
    """Something that a script on a page loads: errors, also a missing log-in, are JSON."""

    @wraps(view)
    def answer(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        if not request.user.is_authenticated:
            return error_response(401, code_for(401), _("Please log in."))
        try:
            return view(request, *args, **kwargs)
        except ArchiveError as error:
            status, sentence = status_and_sentence(error)
            response = error_response(status, code_for(status), sentence)
            response.headers["Cache-Control"] = "no-store"
            return response

    return answer


def status_and_sentence(error: ArchiveError) -> tuple[int, str]:
    """Status and sentence for a reader; what an operator needs goes to the log."""
    status, sentence = next(
        (answer for kind, answer in _ANSWERS.items() if isinstance(error, kind)),
        (502, _("The stored result cannot be drawn on these images.")),
    )
    if status >= 500:
        log.warning("archive_error", error=type(error).__name__, detail=str(error))
    return status, str(sentence)
