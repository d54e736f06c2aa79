"""Whatever goes wrong under DICOMweb is JSON with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from web.dicomweb.query import QueryNotAllowed
from web.dicomweb.slots import TooManyOpen
from web.error_form import code_for, error_response, sentence_for
from web.orthanc.answers import status_and_sentence
from web.orthanc.errors import ArchiveError, NotInArchive, StudyNotFound, UnusableAnswer

log = structlog.get_logger(__name__)

#: Seconds after which one who was told that there are too many may ask again.
_AGAIN_SECONDS = 2

View = Callable[[HttpRequest, str], HttpResponseBase]


def json_errors(view: View) -> View:
    """For a view below DICOMweb's root: GET and HEAD, for who is logged in."""

    @wraps(view)
    def answer(request: HttpRequest, path: str) -> HttpResponseBase:
        if request.method not in {"GET", "HEAD"}:
            response = refusal(405, sentence_for(405))
            response.headers["Allow"] = "GET, HEAD"
            return response
        if not request.user.is_authenticated:
            return refusal(401, _("Please log in."))
        try:
            return view(request, path)
        except QueryNotAllowed:
            return refusal(400, _("This search is not answered. A search for studies names them."))
        except TooManyOpen:
            log.warning("dicomweb_busy", user_id=request.user.pk)
            response = refusal(503, _("Too many images are being sent. Please try again shortly."))
            response.headers["Retry-After"] = str(_AGAIN_SECONDS)
            return response
        except ArchiveError as error:
            return _of(error)

    return answer


def refusal(status: int, sentence: str) -> HttpResponseBase:
    """An error that is told, and kept by nobody."""
    response = error_response(status, code_for(status), sentence)
    response.headers["Cache-Control"] = "no-store"
    return response


def _of(error: ArchiveError) -> HttpResponseBase:
    match error:
        case StudyNotFound():
            return refusal(*status_and_sentence(error))
        case NotInArchive():
            return refusal(404, _("The archive holds nothing at this address."))
        case UnusableAnswer():
            return refusal(406, _("The archive cannot give this in the form that was asked for."))
    return refusal(*status_and_sentence(error))
