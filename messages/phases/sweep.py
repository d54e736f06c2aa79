"""When the slices of a phase were acquired, and whether all of them belong to one acquisition.

A scanner gives all slices of a volume one time, or each its own, or one to each package: the slices
of two packages interleave, or lie in two blocks. The phases of one request are repetitions of one
scan, so that the others show what its pattern is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from messages.phases.times import seconds_from
from messages.phases.values import number_of

Values = Mapping[str, str]

#: Seconds within which the slices of a phase have one time.
_ONE_TIME_S = 1.0

#: The same of TriggerTime: slices that wait for the heart differ by less than three beats.
_ONE_TRIGGER_S = 3.0

#: Seconds between two parts of a phase that nothing is concluded from where no other phase shows
#: the pattern: no scan that makes a volume of the breast is repeated faster.
_PAUSE_S = 5.0

#: Seconds within which a slice of one phase has the very time of another phase's.
_SHARED_S = 1e-3

#: Share of the time that a phase takes by which its slices may stray from the pattern of another,
#: once both are stretched to one length: a scan may be repeated with a longer TR.
_STRAY = 0.15

#: Slices after which packages come again: more than a scanner makes of one volume.
_MOST_PACKAGES = 16

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Clock:
    """One way in which slices say when they were acquired."""

    #: What is named where they do not agree.
    keyword: str
    #: Seconds within which two times are one.
    one_time_s: float
    #: The seconds that each slice states; `first` is a slice with the date to count from.
    read: Callable[[Sequence[Values], Values], list[float | None]]


@dataclass(frozen=True)
class Sweep:
    """The times of the slices of one phase, in slice order, by one clock."""

    #: Seconds; a slice that states none is left out.
    times: tuple[float, ...]
    #: The slice of each, from 0.
    places: tuple[int, ...]
    #: Seconds within which two times are one.
    one_time_s: float

    @property
    def start(self) -> float:
        """Seconds at which the first slice was acquired."""
        return min(self.times)

    @property
    def end(self) -> float:
        """Seconds at which the last one was."""
        return max(self.times)

    @property
    def span(self) -> float:
        """Seconds between the two."""
        return self.end - self.start

    @property
    def steady(self) -> bool:
        """Whether all slices have one time."""
        return self.span <= self.one_time_s


def _acquired(slices: Sequence[Values], first: Values) -> list[float | None]:
    base = first.get("AcquisitionDate", "")
    found = [
        seconds_from(base, one.get("AcquisitionDate", ""), one.get("AcquisitionTime", ""))
        for one in slices
    ]
    known = [at for at in found if at is not None]
    dates = {one.get("AcquisitionDate", "") for one in slices}
    if known and len(dates) == 1 and max(known) - min(known) > _DAY_S / 2:
        # Midnight inside a phase whose slices have no date, or that of its beginning.
        found = [at + _DAY_S if at is not None and at < _DAY_S / 2 else at for at in found]
    return found


def _triggered(slices: Sequence[Values], _first: Values) -> list[float | None]:
    numbers = [number_of(one.get("TriggerTime", "")) for one in slices]
    return [None if number is None else number / 1000 for number in numbers]


#: ContentTime is none of them: it may be that of the reconstruction, in any order.
CLOCKS = (
    Clock("AcquisitionTime", _ONE_TIME_S, _acquired),
    Clock("TriggerTime", _ONE_TRIGGER_S, _triggered),
)


def sweep_of(slices: Sequence[Values], clock: Clock, first: Values) -> Sweep | None:
    """The times of a phase by one clock; None where fewer than two slices state one."""
    read = clock.read(slices, first)
    known = [(place, at) for place, at in enumerate(read) if at is not None]
    if len(known) < 2:
        return None
    places, times = zip(*known, strict=True)
    return Sweep(times, places, clock.one_time_s)


def strange_in(sweep: Sweep, others: Sequence[Sweep]) -> frozenset[int]:
    """The slices (from 0) of a phase that were not acquired with its others; none if all were.

    `others` are the other phases of the request, of which a model of one phase has none.
    """
    if sweep.steady or len(sweep.times) == 2:
        return frozenset()
    if not others:
        late = _parted(sweep, _PAUSE_S)
        return frozenset() if regular(_sides(sweep, late)) else _fewer(sweep, late)
    twins = [one for one in others if _same_pattern(sweep, one)]
    late = _parted(sweep, sweep.one_time_s)
    if twins and len(twins) + 1 > sum(one.steady for one in others):
        # Each of them may hold the end of the next one: its slices then have the very same times.
        shared = _shared(sweep, twins) if late else frozenset()
        return shared if len(shared) < len(sweep.places) else _fewer(sweep, late)
    if late:
        return _fewer(sweep, late)
    foreign = _at_another_time(sweep, others)
    if foreign:
        return foreign
    usual = [
        one for one in others if not one.steady and sum(_same_pattern(one, o) for o in others) > 1
    ]
    return _astray(sweep, usual[0]) if usual and not twins else frozenset()


def regular(labels: Sequence[object]) -> bool:
    """Whether labels of slices come again after every so many: packages that interleave."""
    if len(set(labels)) < 2:
        return True
    most = min(_MOST_PACKAGES, (len(labels) + 1) // 2)
    return any(
        all(a == b for a, b in zip(labels, labels[period:], strict=False))
        for period in range(2, most + 1)
    )


def _parted(sweep: Sweep, least_s: float) -> frozenset[int]:
    """Slices behind a gap longer than what is on either side of it takes; none without one."""
    order = sorted(range(len(sweep.times)), key=sweep.times.__getitem__)
    gaps = [sweep.times[b] - sweep.times[a] for a, b in pairwise(order)]
    at = max(range(len(gaps)), key=gaps.__getitem__)
    sides = [[sweep.times[i] for i in side] for side in (order[: at + 1], order[at + 1 :])]
    if gaps[at] <= max(least_s, *map(_duration, sides)):
        return frozenset()
    return frozenset(sweep.places[i] for i in order[at + 1 :])


def _duration(times: Sequence[float]) -> float:
    """Seconds that slices took, of each of which the beginning is known."""
    moments = len(set(times))
    return (max(times) - min(times)) * moments / (moments - 1) if moments > 1 else 0.0


def _sides(sweep: Sweep, late: frozenset[int]) -> list[bool]:
    return [place in late for place in sweep.places]


def _fewer(sweep: Sweep, late: frozenset[int]) -> frozenset[int]:
    """The smaller of the two sides; of equal ones that without the first slice."""
    early = frozenset(sweep.places) - late
    if len(early) != len(late):
        return min(early, late, key=len)
    return early if sweep.places[0] in late else late


def _same_pattern(one: Sweep, other: Sweep) -> bool:
    """Whether the slices of two phases follow each other alike from the start of each."""
    if one.places != other.places or one.steady is not other.steady:
        return False
    allowed = max(one.one_time_s, min(one.span, other.span) / 2)
    pairs = list(zip(_since_start(one), _since_start(other), strict=True))
    if all(abs(a - b) <= allowed for a, b in pairs):
        return True
    if one.steady:
        return False
    return all(abs(a / one.span - b / other.span) <= _STRAY for a, b in pairs)


def _since_start(sweep: Sweep) -> list[float]:
    return [at - sweep.start for at in sweep.times]


def _shared(sweep: Sweep, others: Sequence[Sweep]) -> frozenset[int]:
    """Slices at the very time of slices of a phase that began later or earlier."""
    times = {
        round(at / _SHARED_S)
        for one in others
        if abs(one.start - sweep.start) > sweep.one_time_s
        for at in one.times
    }
    return frozenset(
        place
        for place, at in zip(sweep.places, sweep.times, strict=True)
        if round(at / _SHARED_S) in times
    )


def _at_another_time(sweep: Sweep, others: Sequence[Sweep]) -> frozenset[int]:
    """Slices within the time of another phase, where the two do not share all of it."""
    for other in others:
        starts, ends = other.start - sweep.start, other.end - sweep.end
        if max(abs(starts), abs(ends)) <= sweep.one_time_s:
            continue
        found = frozenset(
            place
            for place, at in zip(sweep.places, sweep.times, strict=True)
            if other.start <= at <= other.end
        )
        if found:
            return found
    return frozenset()


def _astray(sweep: Sweep, usual: Sweep) -> frozenset[int]:
    """Slices that come at another time than the pattern of the other phases says."""
    if sweep.places != usual.places:
        return frozenset()
    allowed = max(sweep.one_time_s, usual.span / 2)
    return frozenset(
        place
        for place, at, expected in zip(
            sweep.places, _since_start(sweep), _since_start(usual), strict=True
        )
        if abs(at - expected) > allowed
    )
