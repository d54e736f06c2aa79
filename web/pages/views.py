"""The pages of the archive, and what their scripts load."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Case, OuterRef, Subquery, When
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from web.access.audit import Action
from web.access.caller import Caller, caller_of
from web.error_form import code_for, error_response
from web.inference.arriving import concerns_of_proposal, more_to_come
from web.inference.compare import looked_at
from web.inference.models import InferenceRequest
from web.inference.presentation import RequestView, phase_of
from web.inference.states import State
from web.inference.withdraw import why_not_shown
from web.labs.catalogue import Offer, offers
from web.labs.heartbeats import lab_views
from web.orthanc import answers
from web.orthanc.archive import archive, checked_id
from web.orthanc.errors import SeriesChanged, StudyNotFound, UnreadableResult
from web.orthanc.time_budget import within
from web.pages.series_lines import series_lines
from web.phases.candidates import candidates_of
from web.phases.phase_names import PhaseName, phase_named, selector_of
from web.phases.proposal import StudyProposal, notice_text, proposal_for
from web.phases.slice_facts import SLICES_SECONDS
from web.phases.stack import Stack, stack_of
from web.phases.studies import StudyDetail, studies, study_detail
from web.results.overlay import overlay_of
from web.results.slices import rendered, window_of
from web.wording.texts import (
    afterwards_of,
    label_of_row,
    other_than_tumour,
    page_texts,
    stage_lines,
)

#: Seconds for which a browser keeps a slice whose address names the number of slices: instances
#: never change, but a series may still grow, and then an index is another instance's.
SLICE_SECONDS = 3600

#: Where the pages follow their requests (web/live/routing.py).
LIVE_PATH = "/ws/live/"

_COUNT = re.compile("[0-9]{1,6}")


@dataclass(frozen=True)
class OfferedModel:
    """A model that can be chosen, with what it would take of the study."""

    name: str
    version: str
    notice: str
    #: What it marks, where that is no tumour.
    marks: str
    proposal: StudyProposal
    #: That the proposal is not complete because images are still arriving, or an empty text.
    arriving: str
    #: That the labs of the pool describe it differently, or an empty text.
    disagreement: str
    #: What the site cannot be sure of in the proposal, as sentences.
    concerns: tuple[str, ...]


@require_safe
@never_cache
@answers.page
def study_list(request: HttpRequest) -> HttpResponse:
    """The newest studies that the reader sees, each with the state of its latest analysis."""
    caller = caller_of(request)
    scope = caller.scope
    found = studies(only=None if scope.everything else scope.study_ids)
    caller.note(Action.STUDIES_LISTED)
    latest = _latest([study.study_id for study in found])
    lines = []
    for study in found:
        row = latest.get(study.study_id)
        lines.append(
            {
                "study": study,
                "state": row.state if row else "",
                "version": row.version if row else 0,
                "created": row.created_at.isoformat() if row else "",
                "label": label_of_row(row) if row else _("Not analysed"),
                "afterwards": afterwards_of(row) if row else "",
            }
        )
    shared = scope.everything or bool(scope.study_ids)
    context = {"lines": lines, "shared": shared, "page": _page()}
    return render(request, "labrelay/studies.html", context)


@require_safe
@never_cache
@answers.page
def study_page(request: HttpRequest, study_id: str) -> HttpResponse:
    """One study: its images, the button, and its latest analysis as it is."""
    caller = seen(request, study_id)
    study = study_detail(study_id)
    caller.note(Action.STUDY_VIEWED, study_id=study.study_id)
    candidates = candidates_of(study.series)
    # All of them together: where the archive is slow, the last ones are not looked at as closely.
    with within(SLICES_SECONDS):
        offered = [_offered(offer, study) for offer in offers()]
    row = _latest([study.study_id]).get(study.study_id)
    if row is not None:
        row = looked_at(row, archive())
        # What stands beside a request is the model that it asked for.
        offered.sort(key=lambda model: model.name != row.model)
    if row is not None and row.result is not None:
        caller.note(Action.RESULT_VIEWED, study_id=study.study_id, subject=str(row.pk))
    page = _page() | {
        "study_id": study.study_id,
        "concerns": reverse("labrelay_api:check_phases", args=[study.study_id]),
        "choices": [candidate.as_json() for candidate in candidates],
        "models": [_model_json(model) for model in offered],
        "request": RequestView.of(row).model_dump(mode="json") if row else None,
    }
    context = {
        "study": study,
        "lines": series_lines(study.series, offered[0].proposal),
        "candidates": candidates,
        "models": offered,
        "stages": stage_lines(),
        "page": page,
    }
    return render(request, "labrelay/study.html", context)


@require_safe
@answers.data
def slice_png(request: HttpRequest, study_id: str, series_id: str, index: int) -> HttpResponse:
    """One slice as PNG.

    ``?phase=`` is keyword and value of one phase of the series, with a colon between. ``?of=`` is
    the number of slices that the page knows of; 409 when there are others. ``?window=`` names the
    phase whose window is used (`web.phases.phase_names`), so that the phases of a study differ by
    the contrast medium alone.
    """
    caller = seen(request, study_id)
    slices = _slices(request.GET.get("of"))
    keyword, _colon, value = request.GET.get("phase", "").partition(":")
    stack = stack_of(study_id, series_id, slices, phase=selector_of(keyword, value))
    pattern = request.GET.get("window")
    window = window_of(_stack_named(study_id, pattern) if pattern else stack)
    picture = rendered(stack, index, window)
    caller.note(Action.STUDY_VIEWED, study_id=study_id)
    response = HttpResponse(picture, content_type="image/png")
    kept = f"private, max-age={SLICE_SECONDS}"
    response.headers["Cache-Control"] = "no-store" if slices is None else kept
    return response


@require_safe
@answers.data
def overlay_json(request: HttpRequest, request_id: UUID) -> HttpResponse:
    """The outlines of a completed request."""
    caller = caller_of(request)
    row = InferenceRequest.objects.filter(pk=request_id).first()
    if row is not None and not caller.scope.sees(row.study_id):
        caller.note(Action.REFUSED, study_id=row.study_id, subject=str(request_id))
        row = None
    if row is None:
        return error_response(404, code_for(404), _("There is no such request."), request_id)
    if row.state != State.COMPLETED or row.result is None:
        return error_response(409, code_for(409), _("This request has no result."), request_id)
    segmentation = row.result["seg_instance_id"]
    row = looked_at(row, archive())
    hidden = why_not_shown(row)
    if hidden is not None:
        # Not an empty overlay, which would read as a result without a tumour.
        return error_response(hidden.status, hidden.code, hidden.message, request_id)
    inputs = [PhaseName(item["series_id"], phase_of(item)) for item in row.inputs]
    if not inputs:
        raise UnreadableResult("the request names no series")
    overlay = overlay_of(row.study_id, inputs, segmentation)
    caller.note(Action.RESULT_VIEWED, study_id=row.study_id, subject=str(row.pk))
    response = JsonResponse(overlay.as_json())
    response.headers["Cache-Control"] = "private, no-cache"
    return response


def seen(request: HttpRequest, study_id: str) -> Caller:
    """The caller, who sees the study; raises `StudyNotFound` where they do not.

    Before the archive is asked: whether it holds the study is not theirs to know.
    """
    caller = caller_of(request)
    if not caller.scope.sees(checked_id(study_id)):
        caller.note(Action.REFUSED, study_id=study_id)
        raise StudyNotFound("not granted")
    return caller


def _stack_named(study_id: str, text: str) -> Stack:
    named = phase_named(text)
    return stack_of(study_id, named.series_id, phase=named.phase)


def _slices(text: str | None) -> int | None:
    if text is None:
        return None
    if _COUNT.fullmatch(text) is None:
        raise SeriesChanged("the address names no number of slices")
    return int(text)


def _latest(study_ids: Collection[str]) -> dict[str, InferenceRequest]:
    """The newest request of each study that was not cancelled, else the newest.

    A click that was taken back must not hide the result that was there before. One query, and no
    more rows than studies.
    """
    of_study = InferenceRequest.objects.filter(study_id=OuterRef("study_id"))
    taken_back = Case(When(state=State.CANCELLED, then=1), default=0)
    newest = of_study.order_by(taken_back, "-created_at", "-pk").values("pk")[:1]
    rows = InferenceRequest.objects.filter(study_id__in=study_ids, pk=Subquery(newest))
    return {row.study_id: row for row in rows}


def _page() -> dict[str, Any]:
    """What every script needs: texts, the socket, the labs and the server's clock."""
    return {
        "language": get_language() or "en",
        "live": LIVE_PATH,
        "requests": reverse("labrelay_api:requests"),
        "now": timezone.now().isoformat(),
        "labs": lab_views(),
        "pool": settings.SITE.pool,
        "texts": page_texts(),
    }


def _offered(offer: Offer, study: StudyDetail) -> OfferedModel:
    model = offer.model
    proposal = proposal_for(study.series, model.roles)
    return OfferedModel(
        name=model.name,
        version=model.version,
        notice=notice_text(model.notice)
        or _("No lab has described this model yet. Not for clinical use."),
        marks=other_than_tumour(model.labels),
        proposal=proposal,
        arriving=more_to_come(study.series, proposal),
        disagreement=offer.disagreement,
        concerns=tuple(
            one.sentence for one in concerns_of_proposal(archive(), study.series, proposal)
        ),
    )


def _model_json(model: OfferedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "notice": model.notice,
        "marks": model.marks,
        "roles": [{"role": item.role, "label": item.label} for item in model.proposal.roles],
        "left_out": model.proposal.left_out,
        "concerns": model.concerns,
    }
