"""Phases: which ones of a study a model would take, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja import Query, Router, Schema
from pydantic import Field

from messages.request import PhaseSelector
from web.access.audit import Action
from web.api.errors import failing
from web.api.requests import MAX_INPUTS
from web.inference.arriving import concerns_of_choice, concerns_of_proposal
from web.labs.catalogue import model_on_offer
from web.orthanc.archive import archive
from web.pages.views import seen
from web.phases.choice import check_selections, look_up
from web.phases.chosen import Selection
from web.phases.concerns import WordedConcern
from web.phases.phase_names import phase_named
from web.phases.proposal import proposal_for
from web.phases.studies import study_detail
from web.refusals import NotAsked

router = Router()


class PhaseView(Schema):
    """The phase that is proposed for a role."""

    role: str
    label: str
    #: Null when none can be proposed.
    series_id: str | None
    #: Null when the whole series is the phase.
    phase: PhaseSelector | None
    #: Why this one, in the caller's language; empty without one.
    reason: str


class LeftOutView(Schema):
    """A series that takes no part."""

    series_id: str
    reason: str


class ChosenPhases(Schema):
    """A choice to look at."""

    phase: Annotated[
        list[Annotated[str, Field(max_length=160)]],
        Field(
            max_length=MAX_INPUTS,
            description="For each role in the model's order the id of a series; of one phase in "
            "it, the id, a keyword and a value with colons between them.",
        ),
    ]
    model: Annotated[
        str | None,
        Field(max_length=63, description="Name of a model. Without: the default one."),
    ] = None


class ConcernView(Schema):
    """Something that speaks against a choice of phases."""

    #: For programs: a failure code of a lab, or what a lab says nothing of; `series_arriving` while
    #: images of a chosen series are still arriving.
    code: str
    #: A sentence in the caller's language.
    message: str
    #: Whether a request for the choice is refused; otherwise it is for the caller to weigh.
    refuses: bool


class ConcernList(Schema):
    """What speaks against a choice; empty when nothing does."""

    concerns: list[ConcernView]


class PhaseProposal(Schema):
    """What a model would take of a study."""

    study_id: str
    model: str
    #: In the model's order.
    phases: list[PhaseView]
    left_out: list[LeftOutView]
    #: Why the caller has to choose; null when the proposal is complete.
    problem: str | None
    #: What the site cannot be sure of in a proposal that is complete.
    concerns: list[ConcernView]


@router.get(
    "/{study_id}/phases",
    response={200: PhaseProposal, **failing(404, 422, 503)},
    operation_id="propose_phases",
)
def phases(
    request: HttpRequest,
    study_id: str,
    model: Annotated[
        str, Field(max_length=63, description="Name of a model. Without: the default one.")
    ]
    | None = None,
) -> PhaseProposal:
    """Propose a phase for each role of a model, in the order of the acquisition times."""
    caller = seen(request, study_id)
    chosen = model_on_offer(model)
    if chosen is None:
        raise NotAsked("unknown_model", _("No lab offers this model."))
    study = study_detail(study_id)
    caller.note(Action.STUDY_VIEWED, study_id=study.study_id)
    made = proposal_for(study.series, chosen.roles)
    return PhaseProposal(
        study_id=study.study_id,
        model=chosen.name,
        phases=[
            PhaseView(
                role=item.role,
                label=item.label,
                series_id=item.phase.series_id if item.phase else None,
                phase=item.phase.phase if item.phase else None,
                reason=item.reason,
            )
            for item in made.roles
        ],
        left_out=[
            LeftOutView(series_id=series_id, reason=reason)
            for series_id, reason in made.left_out.items()
        ],
        problem=made.problem or None,
        concerns=_views(concerns_of_proposal(archive(), study.series, made)),
    )


@router.get(
    "/{study_id}/concerns",
    response={200: ConcernList, **failing(404, 422, 503)},
    url_name="check_phases",
    operation_id="check_phases",
)
def concerns(request: HttpRequest, study_id: str, wanted: Query[ChosenPhases]) -> ConcernList:
    """Say what speaks against a choice of phases, without asking for an analysis."""
    caller = seen(request, study_id)
    model = model_on_offer(wanted.model)
    if model is None:
        raise NotAsked("unknown_model", _("No lab offers this model."))
    named = [phase_named(text) for text in wanted.phase]
    # One too many has no role, and is counted.
    roles = [*model.roles, *[""] * len(named)]
    inputs = [Selection(role, *name) for role, name in zip(roles, named, strict=False)]
    check_selections(model, study_id, inputs, None)
    waits = settings.SITE.wait_for_whole_series
    found = look_up(archive(), model, study_id, inputs, waits=waits)
    caller.note(Action.STUDY_VIEWED, study_id=study_id)
    return ConcernList(concerns=_views(concerns_of_choice(found)))


def _views(found: Sequence[WordedConcern]) -> list[ConcernView]:
    return [ConcernView(code=one.code, message=one.sentence, refuses=one.refuses) for one in found]
