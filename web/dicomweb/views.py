"""DICOMweb at our own address: checked here, answered by the archive, and passed on as it comes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from weakref import finalize

import structlog
from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from web.access.audit import Action
from web.access.caller import Caller, caller_of
from web.access.limits import caller_key
from web.dicomweb.addresses import STAND_IN, renamed
from web.dicomweb.errors import json_errors, refusal
from web.dicomweb.forms import Form, Kind, form_of
from web.dicomweb.query import STUDY_KEYS, checked, studies_named
from web.dicomweb.slots import Slot, slots
from web.dicomweb.studies import results_in, seen, visible_of
from web.dicomweb.upstream import Opened, opened, whole
from web.orthanc.errors import ArchiveUnavailable, StudyNotFound

log = structlog.get_logger(__name__)

#: Seconds for which a browser keeps pixels: an instance never changes, but a grant may end.
KEPT_SECONDS = 3600

#: Bytes of an answer to a search for at most sixteen studies.
MOST_SEARCH_BYTES = 1024 * 1024

_KEPT = frozenset({Kind.FRAMES, Kind.BULK, Kind.RENDERED})

#: What a browser may be told that an answer is. Whatever else the archive says is bytes.
_TYPES = re.compile(
    r"multipart/related|application/(?:dicom(?:\+json)?|octet-stream|json)|image/|video/"
)

#: What may stand in `Accept`: media types and their parameters.
_ACCEPT = re.compile(r"""[A-Za-z0-9 *+./;,="_:-]{1,1000}""")

#: An answer is never a page, whatever an object in the archive holds.
_POLICY = "default-src 'none'; frame-ancestors 'none'; sandbox"

JSON = "application/dicom+json"


# Other methods are refused with a sentence of ours, and not for want of a token.
@csrf_exempt
@json_errors
def dicomweb(request: HttpRequest, path: str) -> HttpResponseBase:
    """Answer a DICOMweb call that is one of `web.dicomweb.forms`, about a study that is seen."""
    form = form_of(path)
    if form is None:
        return refusal(404, _("This address is none of the DICOMweb forms that are answered."))
    parameters = checked(
        form.kind, ((name, value) for name, values in request.GET.lists() for value in values)
    )
    caller = caller_of(request)
    if form.kind is Kind.STUDIES:
        return _hardened(_found_studies(request, caller, parameters))
    study_id = seen(caller, form.study_uid)
    _note(caller, form, study_id)
    # The thread is free again as soon as the archive begins to answer.
    answer = async_to_sync(opened)(form.path, parameters, _accept(request), _slot(caller))
    return _hardened(_passed_on(request, form, answer))


def _found_studies(
    request: HttpRequest, caller: Caller, parameters: list[tuple[str, str]]
) -> HttpResponse:
    """A search for studies: of those that it names, the ones that are seen."""
    visible = [uid for uid in studies_named(parameters) if _sees(caller, uid)]
    if not visible:
        return HttpResponse(b"[]", content_type=JSON)
    rest = [item for item in parameters if item[0] not in STUDY_KEYS]
    asked = [("StudyInstanceUID", ",".join(visible)), *rest]
    found = async_to_sync(whole)("studies", asked, JSON, _slot(caller), MOST_SEARCH_BYTES)
    answer = visible_of(found.replace(STAND_IN, _root(request)), visible)
    return HttpResponse(answer, content_type=JSON)


def _sees(caller: Caller, study_uid: str) -> bool:
    try:
        study_id = seen(caller, study_uid)
    except StudyNotFound:
        return False
    caller.note(Action.STUDY_VIEWED, study_id=study_id)
    return True


def _note(caller: Caller, form: Form, study_id: str) -> None:
    """Write down what is looked at, before it is answered."""
    caller.note(Action.STUDY_VIEWED, study_id=study_id)
    if form.kind is Kind.SEARCH:
        return
    results = results_in(study_id, form.series_uid)
    if form.kind is Kind.OBJECTS and not (form.instance_uid and results):
        # The viewer takes frames of images, and files only of results; others leave for elsewhere.
        caller.note(Action.EXPORTED, study_id=study_id, subject=form.series_uid)
    caller.sees_results((study_id, one) for one in results)


def _slot(caller: Caller) -> Slot:
    user_id = None if caller.user is None else caller.user.pk
    return slots.take(caller_key(user_id, caller.address))


def _accept(request: HttpRequest) -> str:
    wanted = request.headers.get("Accept", "*/*")
    return wanted if _ACCEPT.fullmatch(wanted) else "*/*"


def _passed_on(request: HttpRequest, form: Form, answer: Opened) -> HttpResponseBase:
    content_type = answer.content_type
    if _TYPES.match(content_type) is None:
        content_type = "application/octet-stream"
    response: HttpResponseBase
    if request.method == "HEAD":
        answer.abandon()
        response = HttpResponse(content_type=content_type)
    elif answer.content is not None:
        content = _ours(request, content_type, answer.content)
        response = HttpResponse(content, content_type=content_type)
    else:
        response = Passing(answer, renamed(answer.parts(), _root(request)), content_type)
    if form.kind in _KEPT:
        response.headers["Cache-Control"] = f"private, max-age={KEPT_SECONDS}"
    return response


def _ours(request: HttpRequest, content_type: str, content: bytes) -> bytes:
    """With our address in JSON and in the heads of parts."""
    if content_type.startswith("image/"):
        return content
    return content.replace(STAND_IN, _root(request))


class Passing(StreamingHttpResponse):
    """Passes on what the archive sends, and lets go of it however that ends."""

    def __init__(self, answer: Opened, parts: AsyncGenerator[bytes], content_type: str) -> None:
        super().__init__(_or_broken_off(parts), content_type=content_type)
        self._answer = answer
        # A caller may go away before Django has the response: then nobody closes it.
        finalize(self, answer.abandon).atexit = False

    def close(self) -> None:
        """Also where the answer was broken off between two parts."""
        super().close()
        self._answer.abandon()


async def _or_broken_off(parts: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """The parts; where the archive breaks off, the answer that is under way does.

    Otherwise half of it would look like the whole. Django ends an answer without its end when it
    is cancelled, and in no other way without a traceback.
    """
    try:
        async with aclosing(parts):
            async for part in parts:
                yield part
    except ArchiveUnavailable as error:
        log.warning("archive_broke_off", detail=str(error))
        raise asyncio.CancelledError from error


def _root(request: HttpRequest) -> bytes:
    """DICOMweb's root as the caller reached it, without its last slash."""
    return request.build_absolute_uri(
        reverse("labrelay_viewer:dicomweb", args=["studies"]).removesuffix("/studies")
    ).encode("ascii", "replace")


def _hardened(response: HttpResponseBase) -> HttpResponseBase:
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    response.headers.setdefault("Cache-Control", "no-store")
    return response
