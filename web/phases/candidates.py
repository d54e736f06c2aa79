"""What a reader can choose for a role: every MR series, or each phase of one that holds several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from messages.phases import PhaseFacts, Unclear
from messages.phases.parts import PERHAPS_ONE_PHASE
from web.phases.phase_names import PhaseName, selector_of
from web.phases.studies import SeriesDetail

#: Several phases, and none that could be asked for by itself.
_NOT_OFFERED = frozenset(Unclear) - PERHAPS_ONE_PHASE


@dataclass(frozen=True)
class Candidate:
    """One series, or one phase of it."""

    name: PhaseName
    label: str
    slices: int

    def as_json(self) -> dict[str, Any]:
        """What the scripts of the page need of it."""
        phase = self.name.phase
        return {
            "id": str(self.name),
            "series_id": self.name.series_id,
            "phase": None if phase is None else phase.model_dump(),
            "slices": self.slices,
        }


def candidates_of(series: Sequence[SeriesDetail]) -> list[Candidate]:
    """The choices that a study offers, in the order of its series and of their phases.

    A series whose phases cannot be told apart is none, nor is a phase whose images are no volume:
    no lab could read them.
    """
    return [
        candidate
        for item in series
        if item.facts.modality == "MR" and item.facts.unclear not in _NOT_OFFERED
        if not (item.facts.flaw and not item.facts.phases)
        for candidate in _of(item)
    ]


def _of(series: SeriesDetail) -> list[Candidate]:
    phases = series.facts.phases
    label = series.facts.description or "–"
    if series.number is not None:
        label = f"{series.number} · {label}"
    if len(phases) < 2:
        name = PhaseName(series.series_id)
        if any(phase.flaw for phase in phases):
            return []
        return [Candidate(name, label, series.image_count)]
    return [
        Candidate(
            name=PhaseName(series.series_id, selector_of(phase.keyword, phase.value)),
            label=f"{label} · {_part(phase, place, len(phases))}",
            slices=phase.image_count,
        )
        for place, phase in enumerate(phases)
        if phase.flaw is None
    ]


def _part(phase: PhaseFacts, place: int, of: int) -> str:
    text = _("phase %(number)d of %(count)d") % {"number": place + 1, "count": of}
    time = clock(phase.acquired_at_s)
    return f"{text} · {time}" if time else text


def clock(seconds: float | None) -> str:
    """A time of day as HH:MM:SS from seconds since a midnight; empty for None."""
    if seconds is None:
        return ""
    whole = int(seconds) % 86_400
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
