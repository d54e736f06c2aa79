"""Phases: which series of a study a model would take, and why."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja import Router, Schema
from pydantic import Field

from web.api.errors import failing
from web.archive.proposal import proposal_for
from web.archive.studies import study_detail
from web.archive.views import seen
from web.door.audit import Action
from web.inference.refusals import NotAsked
from web.labs.catalogue import model_on_offer

router = Router()


class PhaseView(Schema):
    """The series that is proposed for a role."""

    role: str
    label: str
    #: Null when none can be proposed.
    series_id: str | None
    #: Why this one, in the caller's language; empty without one.
    reason: str


class LeftOutView(Schema):
    """A series that takes no part."""

    series_id: str
    reason: str


class PhaseProposal(Schema):
    """What a model would take of a study."""

    study_id: str
    model: str
    #: In the model's order.
    phases: list[PhaseView]
    left_out: list[LeftOutView]
    #: Why the caller has to choose; null when the proposal is complete.
    problem: str | None


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
    """Propose a series for each role of a model, in the order of the acquisition times."""
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
                series_id=item.series_id or None,
                reason=item.reason,
            )
            for item in made.roles
        ],
        left_out=[
            LeftOutView(series_id=series_id, reason=reason)
            for series_id, reason in made.left_out.items()
        ],
        problem=made.problem or None,
    )
