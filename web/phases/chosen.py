"""The phases that were chosen, as far as is known of them, and what speaks against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext_lazy as _

from messages.phases import PhaseFacts, SeriesFacts, Unclear
from messages.phases.check import Concern, check_choice, check_slices
from messages.phases.flaws import Flaw
from messages.phases.parts import NOT_LOOKED_INTO
from messages.phases.values import same_value
from messages.request import PhaseSelector
from web.orthanc.archive import Orthanc
from web.orthanc.time_budget import within
from web.phases.flaw_wording import refused_for
from web.phases.proposal import StudyProposal
from web.phases.slice_facts import SLICES_SECONDS, slices_of
from web.phases.studies import SeriesDetail
from web.refusals import NotAsked

#: Series that hold several phases of which none can be asked for.
_UNCLEAR = {
    Unclear.NOT_SEPARABLE: _(
        "A chosen series holds several phases, and nothing in it tells them apart."
    ),
    Unclear.SEVERAL_KINDS: _(
        "A chosen series holds images of several kinds at the same places, such as water and fat."
    ),
    Unclear.INCOMPLETE_PHASE: _(
        "A chosen series holds several phases, and at least one of them lacks slices."
    ),
    Unclear.VALUE_NOT_CARRIED: _(
        "A chosen series holds several phases, told apart by values that no request can carry."
    ),
    Unclear.OTHER_COUNT: _(
        "The numbering of the images of a chosen series makes another number of phases than the "
        "series says that it holds: a phase may be missing."
    ),
    Unclear.TOO_MANY_AT_ONE_PLACE: _(
        "A chosen series holds more images at one place than are looked into, so its phases are "
        "not known."
    ),
}


@dataclass(frozen=True)
class Selection:
    """One series, or one phase of it, that the reader chose for a role."""

    role: str
    series_id: str
    phase: PhaseSelector | None = None


def phases_of(
    series: Mapping[str, SeriesFacts], chosen: Sequence[Selection]
) -> tuple[PhaseFacts, ...]:
    """What is known of the chosen phases of the series, which are given by their ids.

    Raises `NotAsked` for a phase that is none, and for one that was chosen twice.
    """
    phases = tuple(_phase(series[item.series_id], item.phase) for item in chosen)
    named = {
        (item.series_id, phase.keyword, phase.value)
        for item, phase in zip(chosen, phases, strict=True)
    }
    if len(named) != len(chosen):
        # "1" and "1.0" are one phase.
        raise twice()
    return phases


def concerns_of(
    orthanc: Orthanc,
    chosen: Sequence[Selection],
    phases: Sequence[PhaseFacts],
    states: Mapping[str, str],
) -> list[Concern]:
    """What speaks against analysing the phases together, in the model's order.

    Slices of one acquisition, order, equal grids and plausible timing; some concerns refuse, others
    are only said. `states` are those of the series by their ids. For each series that was not
    looked at in this state two calls, which read all its files (`web.phases.slice_facts`). Where
    that takes too long it is a concern.
    """
    roles = [item.role for item in chosen]
    with within(SLICES_SECONDS):
        slices = [
            slices_of(orthanc, item.series_id, states[item.series_id], phase)
            for item, phase in zip(chosen, phases, strict=True)
        ]
    # The lab, too, says of a phase that is several before that it begins in the middle of another.
    return [
        *check_slices(slices, roles),
        *check_choice(phases, roles, [item.series_id for item in chosen]),
    ]


def concerns_about(
    orthanc: Orthanc, series: Sequence[SeriesDetail], proposal: StudyProposal
) -> list[Concern]:
    """The same of what is proposed of a study; nothing where the proposal is not complete."""
    chosen = [
        Selection(item.role, *item.phase) for item in proposal.roles if item.phase is not None
    ]
    if len(chosen) < len(proposal.roles):
        return []
    phases = phases_of({item.series_id: item.facts for item in series}, chosen)
    return concerns_of(orthanc, chosen, phases, {item.series_id: item.state for item in series})


def twice() -> NotAsked:
    """One phase for two roles."""
    return NotAsked("same_series_twice", _("The same series and phase was chosen for two roles."))


def _phase(series: SeriesFacts, wanted: PhaseSelector | None) -> PhaseFacts:
    """What is known of the phase that was chosen of a series, of which a volume can be made."""
    if series.flaw is not None and not series.phases:
        raise _flawed(series.flaw)
    phase = _named(series, wanted)
    if phase.flaw is not None:
        raise _flawed(phase.flaw)
    return phase


def _flawed(flaw: Flaw) -> NotAsked:
    return NotAsked(str(flaw.code), refused_for(flaw))


def _named(series: SeriesFacts, wanted: PhaseSelector | None) -> PhaseFacts:
    if series.unclear in _UNCLEAR:
        raise NotAsked("phases_unclear", _UNCLEAR[series.unclear])
    if wanted is not None and series.unclear in NOT_LOOKED_INTO:
        raise NotAsked(
            "phases_unclear",
            _(
                "A chosen series could not be looked into, so it is not known whether it holds the "
                "chosen phase. Please load the page again; it says beside the series what the "
                "reason is."
            ),
        )
    if wanted is None:
        if len(series.phases) > 1:
            raise NotAsked(
                "several_phases",
                _(
                    "A chosen series holds %(count)d phases. Please choose one of them for each "
                    "role."
                )
                % {"count": len(series.phases)},
            )
        return series.phases[0] if series.phases else PhaseFacts(image_count=series.instance_count)
    for phase in series.phases:
        if phase.keyword == wanted.keyword and same_value(phase.value, wanted.value):
            return phase
    raise NotAsked("phase_not_found", _("This series does not hold the chosen phase."))
