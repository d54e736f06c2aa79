"""The old calls that answer at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from web.access.audit import Action
from web.inference.compare import looked_at
from web.inference.models import InferenceRequest
from web.inference.withdraw import result_in, withdrawal_of
from web.labs.registry import heard
from web.legacy.answers import HEADERS, Answer, CallEnded, answer_to, as_json, error_answer
from web.legacy.caller import no_such_request, require_caller, require_seen
from web.legacy.frames import StoredSegmentation, frames_of, stored_segmentation
from web.legacy.language import language_of
from web.legacy.outcome import STATES, described, in_status, listed, withdrawn
from web.orthanc.archive import archive
from web.orthanc.errors import ArchiveError, NotInArchive

#: Requests that a list may hold, and holds when no limit is named.
MAX_LIMIT, DEFAULT_LIMIT = 500, 50

View = Callable[..., Answer]


def old_call(*methods: str) -> Callable[[View], Callable[..., HttpResponse]]:
    """A view of the old interface: JSON in the caller's language, whatever happens.

    Without `methods` it takes any. No CSRF token is asked for: those that change something are
    not here, or change nothing any more.
    """

    def decorate(view: View) -> Callable[..., HttpResponse]:
        @csrf_exempt
        @wraps(view)
        def respond(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
            with translation.override(language_of(request)):
                status, body = _answered(view, methods, request, *args, **kwargs)
            headers = dict(HEADERS)
            if status == 405:
                headers["Allow"] = ", ".join(methods)
            return HttpResponse(as_json(body), status=status, headers=headers)

        return respond

    return decorate


def _answered(
    view: View, methods: tuple[str, ...], request: HttpRequest, *args: object, **kwargs: object
) -> Answer:
    if methods and request.method not in methods:
        return error_answer(405, _("This address does not take that method."))
    try:
        return view(request, *args, **kwargs)
    except Exception as exc:  # noqa: BLE001 - a sentence is all that a reader may see of it
        return answer_to(exc)


@old_call("GET", "HEAD")
def frames(request: HttpRequest, instance_id: str) -> Answer:
    """The masks of a SEG, one for each slice of the series that was asked about."""
    caller = require_caller(request)
    absent = _("There is no segmentation of this id in the archive.")
    try:
        stored = stored_segmentation(archive(), instance_id)
        require_seen(caller, stored.study_id, instance_id, absent)
        _refuse_withdrawn(stored)
        pictures = frames_of(archive(), stored)
    except NotInArchive:
        raise CallEnded(404, absent) from None
    caller.note(Action.EXPORTED, study_id=stored.study_id, subject=instance_id)
    return 200, {
        "success": True,
        "num_frames": len(pictures),
        "start_slice_index": 0,
        "frames": [{"index": i, "mask_base64": one} for i, one in enumerate(pictures)],
    }


@old_call("GET", "HEAD")
def requests(request: HttpRequest) -> Answer:
    """The newest requests that the caller sees, newest first."""
    caller = require_caller(request)
    status, limit = request.GET.get("status") or None, _limit(request.GET.get("limit"))
    rows = caller.scope.only(InferenceRequest.objects.select_related("requested_by"))
    if status is not None:
        if status not in STATES:
            sentence = _("The status must be one of these: {names}.")
            raise CallEnded(400, sentence.format(names=", ".join(STATES)))
        rows = in_status(rows, status)
    found = [listed(row) for row in rows.order_by("-created_at", "-pk")[:limit]]
    return 200, {
        "success": True,
        "count": len(found),
        "requests": found,
        "filter": {"status": status, "limit": limit},
    }


@old_call("GET", "HEAD")
def status(request: HttpRequest, request_id: str) -> Answer:
    """Where one request is."""
    caller = require_caller(request)
    try:
        key = UUID(request_id)
    except ValueError:
        raise no_such_request() from None
    rows = caller.scope.only(InferenceRequest.objects.select_related("requested_by"))
    row = rows.filter(pk=key).first()
    if row is None:
        raise no_such_request()
    if row.result is not None:
        caller.note(Action.RESULT_VIEWED, study_id=row.study_id, subject=str(row.pk))
    if row.withdrawn_at is not None:
        return withdrawn(row)
    return 200, described(looked_at(row, archive()))


@old_call("GET", "HEAD")
def health(request: HttpRequest) -> Answer:
    """Whether the archive answers and a lab takes the requests of the site's own pool."""
    require_caller(request)
    lab_online = heard(settings.SITE.pool).exists()
    try:
        archive().find({"Level": "Study", "Limit": 1, "Query": {}})
        archive_online = True
    except ArchiveError:
        archive_online = False
    body = {
        "success": archive_online,
        "status": "healthy" if archive_online and lab_online else "degraded",
        "service": "mri-segmentation",
        "orthanc_url": _without_password(settings.SITE.orthanc_url),
        "orthanc_online": archive_online,
        "lab_online": lab_online,
    }
    if not archive_online:
        body["error"] = _("The image archive does not answer. Please try again shortly.")
    return (200 if archive_online else 503), body


@old_call()
def gone(_request: HttpRequest, **_kwargs: object) -> Answer:
    """What the worker of the old installation asked for again and again."""
    return error_answer(
        410,
        _(
            "This call is gone: requests and results travel through the message broker now. "
            "Please run mri-consumer instead of the old worker."
        ),
    )


@old_call()
def nothing(_request: HttpRequest) -> Answer:
    """An address under the old prefix that never was one."""
    return error_answer(404, _("There is nothing at this address."))


def _refuse_withdrawn(stored: StoredSegmentation) -> None:
    """Raise `CallEnded` for a segmentation that staff have withdrawn and left in the archive."""
    row = result_in(stored.study_id, stored.instance_id)
    if row is not None and row.withdrawn_at is not None:
        reason = withdrawal_of(row)
        raise CallEnded(reason.status, str(reason.message))


def _limit(text: str | None) -> int:
    if not text:
        return DEFAULT_LIMIT
    if text.isascii() and text.isdecimal() and len(text) <= 6 and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    sentence = _("The limit must be a whole number from 1 to {most}.")
    raise CallEnded(400, sentence.format(most=MAX_LIMIT))


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
