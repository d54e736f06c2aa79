"""Which series a model would take, with each reason as a sentence in the reader's language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from messages.phases import DCE_ROLES, Choice, LeftOut, Problem, SeriesFacts, propose
from web.archive.studies import SeriesDetail

_ROLE_LABELS = {
    "pre": gettext_lazy("Pre-contrast"),
    "post1": gettext_lazy("Post-contrast 1"),
    "post2": gettext_lazy("Post-contrast 2"),
    "last": gettext_lazy("Last post-contrast"),
    "image": gettext_lazy("Image"),
}

_LEFT_OUT = {
    LeftOut.NOT_MR: gettext_lazy("Not an MR image series"),
    LeftOut.OTHER_SLICE_COUNT: gettext_lazy("Different number of slices from the dynamic series"),
    LeftOut.NOT_DYNAMIC: gettext_lazy(
        "Not a dynamic phase (localizer, T2, diffusion, subtraction or projection)"
    ),
    LeftOut.NO_TIME: gettext_lazy("No acquisition time"),
    LeftOut.BETWEEN: gettext_lazy("A phase between those that the model uses"),
}

_PROBLEMS = {
    Problem.TOO_FEW: gettext_lazy(
        "Fewer dynamic series were found than the model needs. Please choose the series yourself."
    ),
    Problem.SAME_TIME: gettext_lazy(
        "Two series have the same acquisition time, so their order is unknown. "
        "Please choose the series yourself."
    ),
    Problem.IMPLAUSIBLE_TIME: gettext_lazy(
        "The acquisition times lie too far apart for one examination, so the order is not "
        "certain. Please choose the series yourself."
    ),
}

#: Notices of the bundles that ship with the project, so that they can be translated here. The
#: notice of another bundle is shown as its maker wrote it.
SHIPPED_NOTICES: tuple[str, ...] = (
    gettext_noop("Trained on simulated phantoms, not for clinical use."),
    gettext_noop("Trained for T1 brain masks. No medical device, no clinical use."),
)


@dataclass(frozen=True)
class RoleProposal:
    """One role of a model: the series proposed for it, and why. Empty texts mean: none."""

    role: str
    label: str
    series_id: str
    reason: str


@dataclass(frozen=True)
class StudyProposal:
    """The roles in the model's order, why other series were left out, and what is wrong."""

    roles: tuple[RoleProposal, ...]
    left_out: dict[str, str]
    problem: str


def proposal_for(series: Sequence[SeriesDetail], roles: Sequence[str]) -> StudyProposal:
    """Propose a series of the study for each role of a model."""
    made = propose([_facts(item) for item in series], roles)
    chosen = {choice.role: choice for choice in made.choices}
    return StudyProposal(
        roles=tuple(
            RoleProposal(
                role=role,
                label=role_label(role),
                series_id=chosen[role].series_id if role in chosen else "",
                reason=_reason(chosen[role]) if role in chosen else "",
            )
            for role in roles
        ),
        left_out={series_id: str(_LEFT_OUT[why]) for series_id, why in made.left_out.items()},
        problem=str(_PROBLEMS[made.problem]) if made.problem else "",
    )


def role_label(role: str) -> str:
    """The name of a role for a reader; a role that is not ours is shown as the model has it."""
    return str(_ROLE_LABELS.get(role, role))


def notice_text(notice: str) -> str:
    """A model's notice in the reader's language, where there is a translation."""
    return _(notice) if notice else ""


def _facts(series: SeriesDetail) -> SeriesFacts:
    return SeriesFacts(
        series_id=series.series_id,
        modality=series.modality,
        description=series.description,
        acquired_at_s=series.acquired_at_s,
        instance_count=series.instance_count,
        image_type=series.image_type,
    )


def _reason(choice: Choice) -> str:
    if choice.of == 1:
        # A model of one phase may take any kind of series.
        dynamic = choice.role in DCE_ROLES
        return _("The only dynamic series") if dynamic else _("The only series that fits")
    numbers = {"place": choice.place, "of": choice.of}
    if choice.place == 1:
        return _("No. %(place)d of %(of)d by acquisition time") % numbers
    return _("No. %(place)d of %(of)d by acquisition time, %(seconds)d s after the first") % {
        **numbers,
        "seconds": round(choice.seconds_after_first),
    }
