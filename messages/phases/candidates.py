"""The phases that may play a role: grouped by grid and contrast, put in order of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from messages.phases.facts import PhaseFacts, SeriesFacts
from messages.phases.grid import GridFault, grid_fault
from messages.phases.kind import is_derived, same_contrast


@dataclass(frozen=True)
class Candidate:
    """One phase, the series that holds it, and its place among the phases of that series."""

    series: SeriesFacts
    phase: PhaseFacts
    place: int


def candidates_of(series: Sequence[SeriesFacts]) -> list[Candidate]:
    """Every phase of the series."""
    return [
        Candidate(item, phase, place)
        for item in series
        if item.unclear is None
        for place, phase in enumerate(item.phases)
    ]


def by_scan(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Group the candidates of one grid and contrast; the largest group first, then the finer one.

    Where a grid is not known, the number of images stands for it.
    """
    groups: list[list[Candidate]] = []
    for candidate in candidates:
        for group in groups:
            head = group[0]
            if grid_difference(head.phase, candidate.phase) is None and same_contrast(
                head.series.scan, candidate.series.scan
            ):
                # A member with a grid stands for the group: it tells more than a count.
                at = 0 if head.phase.grid is None else len(group)
                group.insert(at, candidate)
                break
        else:
            groups.append([candidate])
    groups.sort(key=lambda group: (len(group), group[0].phase.image_count), reverse=True)
    return groups


def computed(group: Sequence[Candidate]) -> set[str]:
    """Ids of the series that were derived, where others of the group are original.

    A map or a difference whose name and type say nothing else has the grid of the phases that it
    was made from. The phases of one scan are all of one origin.
    """
    derived = {c.series.series_id for c in group if is_derived(c.series.image_type)}
    original = any(c.series.image_type and c.series.series_id not in derived for c in group)
    return derived if original else set()


def grid_difference(a: PhaseFacts, b: PhaseFacts) -> GridFault | None:
    """How the grids of two phases differ, as far as is known; None if they do not."""
    if a.grid is None or b.grid is None:
        return None if a.image_count == b.image_count else GridFault.SLICE_COUNT
    found = grid_fault(a.grid, b.grid)
    return found[0] if found else None


def untimed(group: Sequence[Candidate]) -> list[Candidate]:
    """Candidates without a place in time.

    Phases of one series have their order from the keyword that tells them apart, so a group
    that is one series needs no times.
    """
    if len({candidate.series.series_id for candidate in group}) == 1:
        return []
    silent = {c.series.series_id for c in group if c.phase.acquired_at_s is None}
    return [candidate for candidate in group if candidate.series.series_id in silent]


def in_time(group: Sequence[Candidate]) -> list[Candidate]:
    """The candidates by acquisition time, those of one series by the order of its phases.

    A scanner runs one scan after the other, so phases that share the time of their series come
    before what began later.
    """
    times = {id(c): c.phase.acquired_at_s for c in group}
    if None in times.values():
        return sorted(group, key=lambda c: c.place)  # One series: see `untimed`.
    return sorted(group, key=lambda c: (times[id(c)] or 0.0, c.place))


def same_time(ordered: Sequence[Candidate]) -> bool:
    """Whether two series have a phase at the same time, so that their order is not known."""
    return any(
        a.series.series_id != b.series.series_id and a.phase.acquired_at_s == b.phase.acquired_at_s
        for a, b in pairwise(ordered)
    )


def known_times(ordered: Sequence[Candidate]) -> list[float | None]:
    """Acquisition time of each in seconds; None where a series says one time for its phases."""
    times = [c.phase.acquired_at_s for c in ordered]
    said = Counter(times)
    return [time if said[time] == 1 else None for time in times]
