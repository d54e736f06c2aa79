"""The checks of a choice of phases before it is queued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from messages.phases.agreement import differences
from messages.phases.doubts import SHORTEST_S
from messages.phases.facts import PhaseFacts
from messages.phases.grid import GridFault, grid_fault
from messages.phases.numbering import count_of
from messages.phases.parts import NUMBER_KEYWORD
from messages.phases.proposal import LONGEST_S
from messages.phases.scale import Scale, Stored, scale_of


class Fault(StrEnum):
    """What is wrong with a choice."""

    #: Another number of phases than the model has roles. No roles are named.
    COUNT = "count"
    #: The later role was acquired before the earlier one: both have a date, or their series counts
    #: them so.
    OUT_OF_ORDER = "out_of_order"
    #: The same by times of which one has no date, or is concluded from something else. A warning:
    #: without their dates phases on both sides of midnight look so.
    DOUBTFUL_ORDER = "doubtful_order"
    #: Two roles carry the same acquisition time and nothing else orders them. A warning: a scanner
    #: may write one time for a whole run.
    SAME_TIME = "same_time"
    #: The roles lie further apart than one contrast agent lasts. A warning: clocks and dates may be
    #: wrong, and late phases are taken.
    TOO_FAR_APART = "too_far_apart"
    #: The roles have different numbers of images.
    SLICE_COUNT = "slice_count"
    #: The roles have different rows or columns.
    MATRIX = "matrix"
    #: The roles have different orientations.
    ORIENTATION = "orientation"
    #: The roles have different pixel spacings.
    SPACING = "spacing"
    #: The outermost slices of the roles lie at different places.
    POSITION = "position"
    #: The roles have different frames of reference.
    FRAME_OF_REFERENCE = "frame_of_reference"
    #: The roles follow each other within seconds: the contrast may not have arrived. A warning.
    TOO_CLOSE = "too_close"
    #: A role has no acquisition time: the order cannot be checked here. A warning.
    NO_TIME = "no_time"
    #: A role's grid is not known: the lab will check it. A warning.
    NO_GRID = "no_grid"
    #: The slices of a role are of several acquisitions or kinds of image: `keyword` differs first,
    #: in slice `found`.
    MIXED = "mixed"
    #: What the single slices of a role say was not read: the lab will look at them. A warning.
    SLICES_NOT_READ = "slices_not_read"
    #: The phases are stored on different scales, and not all state by how much. A warning: marks
    #: are made, and no curves are stated.
    DIFFERENT_SCALES = "different_scales"
    #: Only the numbering of the images tells the phases of a role's series apart, so neither their
    #: order nor their times can be checked. A warning.
    ONLY_NUMBERED = "only_numbered"


#: What is said and does not keep a request from being queued: the reader of the images, who put
#: the phases in their order, knows better, or the lab looks closer. All other faults refuse it.
WARNINGS = frozenset(
    {
        Fault.DOUBTFUL_ORDER,
        Fault.SAME_TIME,
        Fault.TOO_FAR_APART,
        Fault.TOO_CLOSE,
        Fault.NO_TIME,
        Fault.NO_GRID,
        Fault.SLICES_NOT_READ,
        Fault.DIFFERENT_SCALES,
        Fault.ONLY_NUMBERED,
    }
)

#: Seconds within which two acquisition times are one. Here a phase is timed by one of its slices,
#: in the lab by the earliest of all.
SAME_TIME_S = 1.0


@dataclass(frozen=True)
class Concern:
    """One fault of a choice, as a code with numbers."""

    fault: Fault
    #: The one role, or the two, that it is about; empty for all of them.
    roles: tuple[str, ...] = ()
    #: What was found and what was expected: counts, seconds or mm; None where it is no number.
    found: float | None = None
    expected: float | None = None
    #: The attribute that differs, by its keyword; empty where it is none.
    keyword: str = ""

    @property
    def refuses(self) -> bool:
        """Whether the request must not be queued."""
        return self.fault not in WARNINGS


@dataclass(frozen=True)
class SlicesFacts:
    """What all slices of one phase say, in their order along the normal."""

    #: See `messages.phases.agreement`.
    values: tuple[Mapping[str, str], ...]
    stored: tuple[Stored, ...]


#: How grids differ, as a fault of the choice.
_GRID_FAULTS = {
    GridFault.SLICE_COUNT: Fault.SLICE_COUNT,
    GridFault.MATRIX: Fault.MATRIX,
    GridFault.FRAME_OF_REFERENCE: Fault.FRAME_OF_REFERENCE,
    GridFault.ORIENTATION: Fault.ORIENTATION,
    GridFault.SPACING: Fault.SPACING,
    GridFault.POSITION: Fault.POSITION,
}


def check_choice(
    chosen: Sequence[PhaseFacts], roles: Sequence[str], series_ids: Sequence[str] = ()
) -> list[Concern]:
    """What speaks against analysing these phases, one for each role and in the roles' order.

    `series_ids` says of each which series holds it: within one series a count orders the phases.
    Each later phase is compared with the first for its grid and with the one before for its
    time. No concern means: the lab will find the same, but it looks at every slice.
    """
    if len(chosen) != len(roles):
        return [Concern(Fault.COUNT, (), len(chosen), len(roles))]
    # Nothing is known to be in one series unless it is said.
    homes = series_ids or range(len(chosen))
    concerns = [
        concern
        for (a, b), (home, other), pair in zip(
            pairwise(chosen), pairwise(homes), pairwise(roles), strict=True
        )
        for concern in _in_time(a, b, pair, counted=home == other)
    ]
    known = [phase.acquired_at_s for phase in chosen if phase.acquired_at_s is not None]
    if known and max(known) - min(known) > LONGEST_S:
        concerns.append(Concern(Fault.TOO_FAR_APART, (), max(known) - min(known), LONGEST_S))
    concerns += [
        concern
        for phase, role in zip(chosen[1:], roles[1:], strict=True)
        for concern in _on_grid(chosen[0], phase, (roles[0], role))
    ]
    concerns += [
        Concern(fault, (role,))
        for phase, role in zip(chosen, roles, strict=True)
        for fault, value, counts in (
            # The one phase of a model has no order.
            (Fault.NO_TIME, phase.acquired_at_s, len(chosen) > 1),
            # Three planes of a scout, slices that are missing: no volume, and a lab refuses it.
            (Fault.NO_GRID, phase.grid, True),
        )
        if counts and value is None
    ]
    concerns += [
        Concern(Fault.ONLY_NUMBERED, (role,))
        for phase, role in zip(chosen, roles, strict=True)
        if phase.keyword == NUMBER_KEYWORD
    ]
    return concerns


def check_slices(phases: Sequence[SlicesFacts | None], roles: Sequence[str]) -> list[Concern]:
    """What the single slices of these phases, one for each role, say against analysing them.

    None for a phase of which that is not known: whether the others agree is then left to the lab,
    for what a pattern of times means depends on all of them.
    """
    known = [phase for phase in phases if phase is not None]
    if len(known) < len(phases):
        return [
            Concern(Fault.SLICES_NOT_READ, (role,))
            for phase, role in zip(phases, roles, strict=True)
            if phase is None
        ]
    concerns = [
        Concern(Fault.MIXED, (roles[one.phase],), one.slice, keyword=one.keyword)
        for one in differences([phase.values for phase in known])
    ]
    if scale_of([phase.stored for phase in known]) is Scale.DIFFERENT:
        concerns.append(Concern(Fault.DIFFERENT_SCALES))
    return concerns


def _in_time(
    a: PhaseFacts, b: PhaseFacts, roles: tuple[str, str], *, counted: bool
) -> list[Concern]:
    """What speaks against `b` after `a`; `counted`: one series holds both, and may order them."""
    dated = _between(a.dated_at_s, b.dated_at_s)
    # The lab compares the dated times, and counts where they do not differ.
    sure = dated if dated is not None and abs(dated) > SAME_TIME_S else None
    order = sure if sure is not None else _order(a, b) if counted else 0.0
    if order < 0:
        return [Concern(Fault.OUT_OF_ORDER, roles, sure)]
    seconds = _between(a.acquired_at_s, b.acquired_at_s)
    if seconds is None or seconds >= SHORTEST_S or (order > 0 and seconds <= SAME_TIME_S):
        return []
    fault = Fault.TOO_CLOSE if seconds > SAME_TIME_S else Fault.SAME_TIME
    if seconds < -SAME_TIME_S:
        fault = Fault.DOUBTFUL_ORDER
    return [Concern(fault, roles, seconds, SHORTEST_S)]


def _between(earlier: float | None, later: float | None) -> float | None:
    return None if earlier is None or later is None else later - earlier


def _order(a: PhaseFacts, b: PhaseFacts) -> float:
    """More than 0 if `b` comes after `a` by what counts the phases of their series, 0 if unknown.

    A series may say one acquisition time for all its phases.
    """
    if a.keyword != b.keyword:
        return 0.0
    earlier, later = count_of(a.keyword, a.value), count_of(b.keyword, b.value)
    return 0.0 if earlier is None or later is None else later - earlier


def _on_grid(first: PhaseFacts, other: PhaseFacts, roles: tuple[str, str]) -> list[Concern]:
    if first.grid is None or other.grid is None:
        if first.image_count == other.image_count:
            return []
        return [Concern(Fault.SLICE_COUNT, roles, other.image_count, first.image_count)]
    found = grid_fault(first.grid, other.grid)
    if found is None:
        return []
    fault, got, wanted = found
    return [Concern(_GRID_FAULTS[fault], roles, got, wanted)]
