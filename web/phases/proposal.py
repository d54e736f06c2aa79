"""Which phases a model would take, with each reason as a sentence in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from messages.phases import DCE_ROLES, Choice, LeftOut, Problem, SeriesFacts, Unclear, propose
from web.orthanc.tags import MAX_SERIES_TAGS_BYTES
from web.phases.flaw_wording import left_out_for
from web.phases.images import MAX_IMAGES
from web.phases.phase_names import PhaseName, selector_of
from web.phases.samples import MAX_AT_ONE_POSITION
from web.phases.studies import SeriesDetail

_ROLE_LABELS = {
    "pre": gettext_lazy("Pre-contrast"),
    "post1": gettext_lazy("Post-contrast 1"),
    "post2": gettext_lazy("Post-contrast 2"),
    "last": gettext_lazy("Last post-contrast"),
    "image": gettext_lazy("Image"),
}

_LEFT_OUT = {
    LeftOut.NOT_MR: gettext_lazy("Not an MR image series"),
    LeftOut.LOCALIZER: gettext_lazy("A localizer"),
    LeftOut.SUBTRACTION: gettext_lazy("A subtraction of two phases"),
    LeftOut.PROJECTION: gettext_lazy("A projection or reformat"),
    LeftOut.OTHER_WEIGHTING: gettext_lazy("Not T1-weighted dynamic images (T2, STIR or similar)"),
    LeftOut.DIFFUSION: gettext_lazy("Diffusion images or a map made of them"),
    LeftOut.TILED: gettext_lazy("Several slices in one image (mosaic)"),
    LeftOut.TURNED: gettext_lazy("Rows stored the other way round than the header says"),
    LeftOut.LOSSY: gettext_lazy("Compressed with loss"),
    LeftOut.MISSING_ATTRIBUTE: gettext_lazy("The images lack an attribute that is needed"),
    LeftOut.MALFORMED: gettext_lazy("The images have an attribute that cannot be read"),
    LeftOut.IMPLAUSIBLE: gettext_lazy("Of a size that no MR scanner makes"),
    LeftOut.PARAMETER_MAP: gettext_lazy("A map of computed values"),
    LeftOut.PHASE_IMAGE: gettext_lazy("Not the magnitude of the signal"),
    LeftOut.DIXON_PART: gettext_lazy("Part of a Dixon scan whose water images are used"),
    LeftOut.NOT_DYNAMIC: gettext_lazy("Not a dynamic phase"),
    LeftOut.DERIVED: gettext_lazy("Computed from other images"),
    LeftOut.UNCLEAR: gettext_lazy("Several phases that cannot be told apart"),
    LeftOut.OTHER_SLICE_COUNT: gettext_lazy("Different number of slices from the dynamic phases"),
    LeftOut.OTHER_GRID: gettext_lazy("Another grid than the dynamic phases"),
    LeftOut.OTHER_CONTRAST: gettext_lazy(
        "Another fat saturation or echo time than the dynamic phases"
    ),
    LeftOut.NO_TIME: gettext_lazy("No acquisition time"),
    LeftOut.BETWEEN: gettext_lazy("A phase between those that the model uses"),
}

#: In place of `LeftOut.UNCLEAR`'s, which does not say why.
_UNCLEAR = {
    Unclear.NO_POSITION: gettext_lazy("Images that do not say where they lie"),
    Unclear.NOT_SEPARABLE: gettext_lazy("Several phases, and nothing tells them apart"),
    Unclear.SEVERAL_KINDS: gettext_lazy(
        "Images of several kinds at the same places, such as water and fat"
    ),
    Unclear.INCOMPLETE_PHASE: gettext_lazy("Several phases, at least one of which lacks slices"),
    Unclear.VALUE_NOT_CARRIED: gettext_lazy(
        "Several phases, told apart by values that no request can carry"
    ),
    Unclear.OTHER_COUNT: gettext_lazy(
        "The numbering of the images makes another number of phases than the series says"
    ),
    Unclear.TOO_MANY_IMAGES: gettext_lazy(
        "More than %(images)d images: it was not looked into which phases they are"
    ),
    Unclear.TOO_MANY_AT_ONE_PLACE: gettext_lazy(
        "More than %(at_one_place)d images at one place: it was not looked into what tells them "
        "apart"
    ),
    Unclear.TOO_LONG: gettext_lazy(
        "The images say more of themselves than the %(megabytes)d MB that are read of one series"
    ),
    Unclear.TOO_SLOW: gettext_lazy(
        "The archive took too long to describe all images. Please load the page again."
    ),
}

#: What the sentences above name.
_LIMITS = {
    "images": MAX_IMAGES,
    "at_one_place": MAX_AT_ONE_POSITION,
    "megabytes": MAX_SERIES_TAGS_BYTES // 1024**2,
}

_PROBLEMS = {
    Problem.TOO_FEW: gettext_lazy(
        "Fewer dynamic phases were found than the model needs. Please choose the phases yourself."
    ),
    Problem.UNEQUAL_GRIDS: gettext_lazy(
        "Too few of the dynamic phases lie on one grid. Please choose the phases yourself."
    ),
    Problem.SEVERAL_GRIDS: gettext_lazy(
        "The study holds several groups of dynamic phases, each on a grid of its own. "
        "Please choose the phases yourself."
    ),
    Problem.UNCLEAR_PARTS: gettext_lazy(
        "A series that may be dynamic holds several phases which cannot be told apart. "
        "Please choose the phases yourself."
    ),
    Problem.NOT_LOOKED_INTO: gettext_lazy(
        "A series that may be dynamic could not be looked into, so it is not known which phases "
        "it holds. Please choose the phases yourself."
    ),
    Problem.REPEATED_RUN: gettext_lazy(
        "A dynamic run seems to have been started again, so it is not known which one counts. "
        "Please choose the phases yourself."
    ),
    Problem.UNCLEAR_START: gettext_lazy(
        "A series lies before the dynamic run, and nothing says whether it is the phase before "
        "the contrast medium. Please choose the phases yourself."
    ),
    Problem.UNCLEAR_END: gettext_lazy(
        "A series of another name lies after a complete dynamic run, and nothing says whether it "
        "is its last phase. Please choose the phases yourself."
    ),
    Problem.PHASE_LEFT_OUT: gettext_lazy(
        "A series that cannot be used with the others seems to be a phase of their run, so the "
        "roles of the others are not certain. Please choose the phases yourself."
    ),
    Problem.NO_PRE: gettext_lazy(
        "The names or numbers of the phases begin after the contrast medium: the phase before it "
        "is missing. Please choose the phases yourself."
    ),
    Problem.COUNT_DISAGREES: gettext_lazy(
        "A series counts its phases in another order than their times. "
        "Please choose the phases yourself."
    ),
    Problem.SAME_TIME: gettext_lazy(
        "Two phases have the same acquisition time, so their order is unknown. "
        "Please choose the phases yourself."
    ),
    Problem.TOO_CLOSE: gettext_lazy(
        "The phases follow each other so fast that the first ones may all be before the contrast "
        "medium. Please choose the phases yourself."
    ),
    Problem.IMPLAUSIBLE_TIME: gettext_lazy(
        "The acquisition times lie too far apart for one examination, so the order is not "
        "certain. Please choose the phases yourself."
    ),
    Problem.NAMES_DISAGREE: gettext_lazy(
        "The descriptions of the series and their acquisition times tell different orders. "
        "Please choose the phases yourself."
    ),
}

#: What the series itself says more exactly than its reason does.
_OF_A_FLAW = frozenset(
    {
        LeftOut.TILED,
        LeftOut.TURNED,
        LeftOut.LOSSY,
        LeftOut.MISSING_ATTRIBUTE,
        LeftOut.MALFORMED,
        LeftOut.IMPLAUSIBLE,
    }
)

#: Notices of the bundles that ship with the project, so that they can be translated here. The
#: notice of another bundle is shown as its maker wrote it.
SHIPPED_NOTICES: tuple[str, ...] = (
    gettext_noop("Trained on simulated phantoms, not for clinical use."),
    gettext_noop("Trained for T1 brain masks. No medical device, no clinical use."),
)


@dataclass(frozen=True)
class RoleProposal:
    """One role of a model: the phase proposed for it, and why. None, and an empty text: nothing."""

    role: str
    label: str
    phase: PhaseName | None
    reason: str


@dataclass(frozen=True)
class StudyProposal:
    """The roles in the model's order, why other series were left out, and what is wrong."""

    roles: tuple[RoleProposal, ...]
    left_out: dict[str, str]
    problem: str


def proposal_for(series: Sequence[SeriesDetail], roles: Sequence[str]) -> StudyProposal:
    """Propose a phase of the study for each role of a model."""
    facts = {item.series_id: item.facts for item in series}
    made = propose(list(facts.values()), roles)
    chosen = {choice.role: choice for choice in made.choices}
    return StudyProposal(
        roles=tuple(
            RoleProposal(
                role=role,
                label=role_label(role),
                phase=_name(chosen[role]) if role in chosen else None,
                reason=_reason(chosen[role], facts) if role in chosen else "",
            )
            for role in roles
        ),
        left_out={key: _left_out(facts[key], why) for key, why in made.left_out.items()},
        problem=str(_PROBLEMS[made.problem]) if made.problem else "",
    )


def role_label(role: str) -> str:
    """The name of a role for a reader; a role that is not ours is shown as the model has it."""
    return str(_ROLE_LABELS.get(role, role))


def notice_text(notice: str) -> str:
    """A model's notice in the reader's language, where there is a translation."""
    return _(notice) if notice else ""


def _name(choice: Choice) -> PhaseName:
    return PhaseName(choice.series_id, selector_of(choice.keyword, choice.value))


def _left_out(series: SeriesFacts, why: LeftOut) -> str:
    if why in _OF_A_FLAW and series.flaw is not None:
        return left_out_for(series.flaw)
    if why is LeftOut.UNCLEAR and series.unclear is not None:
        return str(_UNCLEAR[series.unclear]) % _LIMITS
    return str(_LEFT_OUT[why])


def _reason(choice: Choice, facts: Mapping[str, SeriesFacts]) -> str:
    in_time = _in_time(choice)
    names = [(phase.keyword, phase.value) for phase in facts[choice.series_id].phases]
    if not choice.keyword or (choice.keyword, choice.value) not in names:
        return in_time
    in_series = _("Phase %(number)d of %(count)d in this series by %(keyword)s") % {
        "number": names.index((choice.keyword, choice.value)) + 1,
        "count": len(names),
        "keyword": choice.keyword,
    }
    return f"{in_series}. {in_time}"


def _in_time(choice: Choice) -> str:
    if choice.of == 1:
        # A model of one phase may take any kind of series.
        dynamic = choice.role in DCE_ROLES
        return _("The only dynamic phase") if dynamic else _("The only series that fits")
    numbers = {"place": choice.place, "of": choice.of}
    if choice.seconds_after_first is None:
        return _("No. %(place)d of %(of)d in the order of the phases") % numbers
    if choice.place == 1:
        return _("No. %(place)d of %(of)d by acquisition time") % numbers
    return _("No. %(place)d of %(of)d by acquisition time, %(seconds)d s after the first") % {
        **numbers,
        "seconds": round(choice.seconds_after_first),
    }
