"""The one form of an error for programs, and the sentence for a status that says no more."""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

from django.http import JsonResponse
from django.utils.functional import Promise
from django.utils.translation import gettext as _

#: Where the answers are for programs.
API_PREFIX = "/api/"

#: The same, where we answer before anybody knows whose the address is: DICOMweb for the viewer.
PROGRAM_PREFIXES = (API_PREFIX, "/dicom-web/")

#: Where a front end shows ``error`` as it is: a sentence, and no object.
OLD_PREFIX = "/api/mri/"


def error_response(
    status: int, code: str, message: str | Promise, request_id: UUID | str | None = None
) -> JsonResponse:
    """The one form of an error; `request_id` is the analysis request that it is about."""
    error = {
        "code": code,
        "message": str(message),
        "request_id": None if request_id is None else str(request_id),
    }
    return JsonResponse({"error": error}, status=status)


def sentence_for(status: int) -> str:
    """What a reader is told when nothing more exact is known."""
    known = {
        400: _("The request cannot be read."),
        401: _("Please log in."),
        403: _("This is not allowed. Please load the page again."),
        404: _("There is nothing at this address."),
        405: _("This address does not take that method."),
        408: _("The request did not arrive in time."),
        413: _("The request is too large."),
        422: _("The request is not complete or holds a value that is not allowed."),
        500: _("Something went wrong on our side. It was written down."),
        503: _("The database does not answer. Please try again."),
    }
    return known.get(status) or _("The request failed.")


def code_for(status: int) -> str:
    """``not_found`` for 404, and so on."""
    try:
        return HTTPStatus(status).name.lower()
    except ValueError:
        return "error"
