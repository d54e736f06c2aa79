"""Which phase of which series plays which role, and why. Over plain values, for web and lab.

The reasons are codes with numbers, not sentences: each side says them in its own language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from messages.phases.candidates import (
    Candidate,
    by_scan,
    candidates_of,
    computed,
    grid_difference,
    in_time,
    known_times,
    same_time,
    untimed,
)
from messages.phases.doubts import (
    count_disagrees,
    names_disagree,
    no_pre,
    repeated_run,
    too_close,
    unclear_end,
    unclear_start,
)
from messages.phases.facts import SeriesFacts
from messages.phases.flaws import FlawKind
from messages.phases.grid import GridFault
from messages.phases.kind import LeftOut, dixon_parts, kind_of
from messages.phases.missing import seems_missing
from messages.phases.parts import NOT_LOOKED_INTO

#: Roles of the four-phase models, in time order.
DCE_ROLES: tuple[str, ...] = ("pre", "post1", "post2", "last")


class Problem(StrEnum):
    """Why no complete proposal can be made."""

    #: Fewer dynamic phases than the model has roles.
    TOO_FEW = "too_few"
    #: Enough dynamic phases, but too few of them on one grid.
    UNEQUAL_GRIDS = "unequal_grids"
    #: Several groups of dynamic phases on different grids or with different contrast: left and
    #: right breast, a fast and a fine scan.
    SEVERAL_GRIDS = "several_grids"
    #: A series that may be dynamic holds several phases which cannot be told apart.
    UNCLEAR_PARTS = "unclear_parts"
    #: A series that may be dynamic was not looked into: it is not known which phases it holds.
    NOT_LOOKED_INTO = "not_looked_into"
    #: A dynamic run seems to have been started again: which one counts is not known.
    REPEATED_RUN = "repeated_run"
    #: A series of its own lies before a run that would be complete without it, and nothing says
    #: whether it is the phase before the contrast.
    UNCLEAR_START = "unclear_start"
    #: A series of its own with another name lies after a run that is complete without it.
    UNCLEAR_END = "unclear_end"
    #: A phase that was left out seems to belong to the run: the others would move up.
    PHASE_LEFT_OUT = "phase_left_out"
    #: The phases are numbered or named from the first one after the contrast on: the one before
    #: it is missing.
    NO_PRE = "no_pre"
    #: The phases of one series are counted in another order than they were acquired in.
    COUNT_DISAGREES = "count_disagrees"
    #: Two candidates carry the same acquisition time.
    SAME_TIME = "same_time"
    #: The phases follow each other so fast that the first ones may all be before the contrast.
    TOO_CLOSE = "too_close"
    #: The candidates lie too far apart for one contrast agent: times of another day, or wrong ones.
    IMPLAUSIBLE_TIME = "implausible_time"
    #: A description says "pre" or "post" where the acquisition times say otherwise.
    NAMES_DISAGREE = "names_disagree"


#: Why a series takes no part whose images are no volume.
_FLAWS = {
    FlawKind.TILED: LeftOut.TILED,
    FlawKind.TURNED: LeftOut.TURNED,
    FlawKind.LOSSY: LeftOut.LOSSY,
    FlawKind.MISSING: LeftOut.MISSING_ATTRIBUTE,
    FlawKind.MALFORMED: LeftOut.MALFORMED,
    FlawKind.IMPLAUSIBLE: LeftOut.IMPLAUSIBLE,
}

#: What is told first of all that keeps a series away, and the flaws of what may be a phase of the
#: run all the same: no mosaic and no echo planar image is.
_NO_PHASE = frozenset({LeftOut.TILED, LeftOut.TURNED})
_FLAWED = frozenset(_FLAWS.values()) - _NO_PHASE


@dataclass(frozen=True)
class Choice:
    """One role filled: the phase, its place in time order (from 1) and seconds after the first."""

    role: str
    series_id: str
    place: int
    of: int
    #: None where the order is known and the times are not.
    seconds_after_first: float | None
    #: Which phase of the series, as a `PhaseSelector` has it; both empty for the whole series.
    keyword: str = ""
    value: str = ""


@dataclass(frozen=True)
class Proposal:
    """Choices in role order (fewer than roles when something is wrong) and what was left out."""

    choices: tuple[Choice, ...] = ()
    #: By series id: series of which no phase takes part.
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    problem: Problem | None = None


#: Seconds that a dynamic study can take; they take about ten minutes. Without dates, phases on
#: both sides of midnight are a day apart and in the wrong order: that is said, not proposed.
LONGEST_S = 2 * 3600.0


def propose(series: Sequence[SeriesFacts], roles: Sequence[str] = DCE_ROLES) -> Proposal:
    """Fill the roles in order of acquisition time.

    With more candidates than roles the first ones fill all roles but the last, and the latest
    phase fills the last: pre, first, second, last. Ambiguity is said as a `Problem`, not guessed.
    """
    several = len(roles) > 1
    left_out = {s.series_id: why for s in series if (why := _kind_of(s, dynamic=several))}
    possible = [s for s in series if s.series_id not in left_out]
    left_out |= dict.fromkeys(dixon_parts(possible), LeftOut.DIXON_PART)
    possible = [s for s in possible if s.series_id not in left_out]
    unclear = [s for s in possible if s.unclear or not s.phases]
    left_out |= {s.series_id: LeftOut.UNCLEAR for s in unclear}

    candidates = candidates_of(possible)
    derived = {c for group in by_scan(candidates) for c in computed(group)}
    left_out |= dict.fromkeys(derived, LeftOut.DERIVED)
    groups = by_scan([c for c in candidates if c.series.series_id not in derived])
    fitting = [group for group in groups if len(group) >= len(roles)]
    if len(fitting) > 1 and (several or len(fitting[0]) == len(fitting[1])):
        return Proposal(left_out=left_out, problem=Problem.SEVERAL_GRIDS)
    left_out |= _in_other_groups(groups)
    group = groups[0] if groups else []
    slices = group[0].phase.image_count if group else 0
    flawed = [s for s in series if left_out.get(s.series_id) in _FLAWED]
    untold = [*unclear, *(s for s in flawed if s.unclear)]
    # They hold enough images for one of the phases, perhaps for one that is missing here.
    enough_images = [s for s in untold if max(s.instance_count, s.image_count) >= slices]
    if enough_images:
        unread = all(s.unclear in NOT_LOOKED_INTO for s in enough_images)
        problem = Problem.NOT_LOOKED_INTO if unread else Problem.UNCLEAR_PARTS
        return Proposal(left_out=left_out, problem=problem)
    if not fitting:
        enough = sum(map(len, groups)) >= len(roles)
        problem = Problem.UNEQUAL_GRIDS if enough else Problem.TOO_FEW
        return Proposal(left_out=left_out, problem=problem)
    silent = untimed(group)
    left_out |= {c.series.series_id: LeftOut.NO_TIME for c in silent}
    ordered = in_time([c for c in group if c not in silent])
    proposal = _in_roles(ordered, roles, left_out)
    # Of a phase on this grid and without a time it is not known where it comes.
    derived_too = [s for s in series if left_out.get(s.series_id) is LeftOut.DERIVED]
    others = [c for c in [*candidates, *candidates_of(derived_too + flawed)] if c not in group]
    if several and proposal.choices and (silent or seems_missing(ordered, others)):
        return Proposal(left_out=left_out, problem=Problem.PHASE_LEFT_OUT)
    return proposal


def _kind_of(series: SeriesFacts, *, dynamic: bool) -> LeftOut | None:
    """Why a series takes no part by itself: what nobody can read as slices first."""
    flaw = None if series.flaw is None else _FLAWS[series.flaw.kind]
    if flaw in _NO_PHASE:
        return flaw
    return kind_of(series, dynamic=dynamic) or flaw


def _in_roles(
    ordered: Sequence[Candidate], roles: Sequence[str], left_out: dict[str, LeftOut]
) -> Proposal:
    """Fill the roles with phases of one grid in time order, or say what speaks against it."""
    if len(ordered) < len(roles):
        return Proposal(left_out=left_out, problem=Problem.TOO_FEW)
    places = [*range(len(roles) - 1), len(ordered) - 1]
    chosen = [ordered[place] for place in places]
    times = known_times(ordered)
    problem = _problem(ordered, chosen, [times[place] for place in places])
    if problem:
        return Proposal(left_out=left_out, problem=problem)
    taken = {candidate.series.series_id for candidate in chosen}
    between = {c.series.series_id for c in ordered} - taken
    choices = tuple(
        Choice(
            role=role,
            series_id=candidate.series.series_id,
            place=place + 1,
            of=len(ordered),
            seconds_after_first=_after(times[0], times[place]),
            keyword=candidate.phase.keyword,
            value=candidate.phase.value,
        )
        for role, place, candidate in zip(roles, places, chosen, strict=True)
    )
    return Proposal(choices=choices, left_out=left_out | dict.fromkeys(between, LeftOut.BETWEEN))


def _problem(
    ordered: Sequence[Candidate], chosen: Sequence[Candidate], times: Sequence[float | None]
) -> Problem | None:
    """The first thing that speaks against the choice; `times` are those of the chosen."""
    known = [c.phase.acquired_at_s for c in ordered if c.phase.acquired_at_s is not None]
    too_long = bool(known) and max(known) - min(known) > LONGEST_S
    found = {
        Problem.COUNT_DISAGREES: count_disagrees(ordered),
        Problem.SAME_TIME: same_time(ordered),
        Problem.IMPLAUSIBLE_TIME: too_long,
    }
    if len(chosen) > 1:
        found |= {
            Problem.REPEATED_RUN: repeated_run(ordered),
            Problem.NAMES_DISAGREE: names_disagree(chosen),
            Problem.UNCLEAR_START: unclear_start(ordered, len(chosen)),
            Problem.UNCLEAR_END: unclear_end(ordered, len(chosen)),
            Problem.NO_PRE: no_pre(ordered),
            Problem.TOO_CLOSE: too_close(chosen, times),
        }
    return next((problem for problem, there in found.items() if there), None)


def _in_other_groups(groups: Sequence[Sequence[Candidate]]) -> dict[str, LeftOut]:
    """Why the series that have no phase in the first group take no part."""
    taken = {candidate.series.series_id for group in groups[:1] for candidate in group}
    return {
        candidate.series.series_id: _difference(groups[0][0], candidate)
        for group in groups[1:]
        for candidate in group
        if candidate.series.series_id not in taken
    }


def _difference(taken: Candidate, other: Candidate) -> LeftOut:
    fault = grid_difference(taken.phase, other.phase)
    if fault is None:
        return LeftOut.OTHER_CONTRAST
    return LeftOut.OTHER_SLICE_COUNT if fault is GridFault.SLICE_COUNT else LeftOut.OTHER_GRID


def _after(first: float | None, time: float | None) -> float | None:
    return None if first is None or time is None else time - first
