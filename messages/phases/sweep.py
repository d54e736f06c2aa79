"""When the slices of a phase were acquired, and whether all of them belong to one acquisition.

A scanner gives all slices of a volume one time, or each its own, or one to each package: the slices
of two packages interleave, or lie in two blocks. The phases of one request are repetitions of one
scan, so that the others show what its pattern is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from messages.phases.times import past_midnight, seconds_from
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

#: Seconds between two blocks that may be packages of a model of one phase: each is scanned in a
#: breath-hold of 15 to 25 s, with as long to breathe between them. Dynamic phases that wait for the
#: contrast medium follow in 60 s and more.
_BLOCKS_S = 45.0

#: Share of the time that a phase takes by which its slices may stray from the pattern of another,
#: once both are stretched to one length: a scan may be repeated with a longer TR.
_STRAY = 0.15

#: Times by which a repetition of a scan may take longer. Slices of a phase that was acquired later
#: stretch it more.
_LONGER = 3.0

#: The same of one of two phases that are swept from opposite ends.
_LIKE_SPAN = 1.5

#: Slices after which packages come again: more than a scanner makes of one volume. Where each slice
#: of a package is of another shot, as in simultaneous multi-slice, there may be any number.
_MOST_PACKAGES = 16


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
    dates = {date for one in slices if (date := one.get("AcquisitionDate", ""))}
    # A slice without a date is of the day of the others.
    usual = next(iter(dates)) if len(dates) == 1 else ""
    found = [
        seconds_from(base, one.get("AcquisitionDate") or usual, one.get("AcquisitionTime", ""))
        for one in slices
    ]
    return past_midnight(found, dates)


def _triggered(slices: Sequence[Values], _first: Values) -> list[float | None]:
    numbers = [number_of(one.get("TriggerTime", "")) for one in slices]
    return [None if number is None else number / 1000 for number in numbers]


#: ContentTime is none of them: it may be that of the reconstruction, in any order
#: (`messages.phases.agreement`).
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
        whole = regular(_sides(sweep, late)) or _two_blocks(sweep, late)
        return frozenset() if whole else _fewer(sweep, late)
    twins = [one for one in others if _same_pattern(sweep, one)]
    if apart(sweep, others):
        # One of the phases may be swept the other way.
        twins += [one for one in others if one not in twins and _turned(sweep, one)]
    late = _parted(sweep, sweep.one_time_s)
    if twins and len(twins) + 1 > sum(one.steady for one in others):
        # Each of them may hold the end of the next one: its slices then have the very same times.
        shared = _shared(sweep, twins) if late else frozenset()
        return shared if len(shared) < len(sweep.places) else _fewer(sweep, late)
    foreign = _at_another_time(sweep, others)
    if late:
        # The phase before contrast may be another series, in one piece.
        unlike = [one for one in others if one not in twins]
        first = len(unlike) == 1 and unlike[0].steady
        packages = first and regular(_sides(sweep, late))
        return frozenset() if packages and not foreign else _fewer(sweep, late)
    if foreign:
        return foreign
    usual = [
        one for one in others if not one.steady and sum(_same_pattern(one, o) for o in others) > 1
    ]
    return _astray(sweep, usual[0]) if usual and not twins else frozenset()


def apart(sweep: Sweep, others: Sequence[Sweep]) -> bool:
    """Whether no slice was acquired within the time of another phase."""
    return not any(one.start <= at <= one.end for one in others for at in sweep.times)


def follow(sweep: Sweep) -> bool:
    """Whether slices have several times, without a gap between parts that do not interleave."""
    late = _parted(sweep, _PAUSE_S)
    return not sweep.steady and regular(_sides(sweep, late))


def regular(labels: Sequence[object]) -> bool:
    """Whether labels of slices come again after every so many: packages that interleave.

    None is the label of a slice of which it is not known.
    """
    kinds = set(labels) - {None}
    if len(kinds) < 2:
        return True
    most = (len(labels) + 1) // 2
    few = range(2, min(_MOST_PACKAGES, most) + 1)
    # More packages than that are shots, of which each has its own label.
    shots = range(max(_MOST_PACKAGES + 1, len(kinds)), min(len(kinds), most) + 1)
    return any(_comes_again(labels, period) for period in (*few, *shots))


def _comes_again(labels: Sequence[object], period: int) -> bool:
    return all(len(set(labels[at::period]) - {None}) < 2 for at in range(period))


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


def _sides(sweep: Sweep, late: frozenset[int]) -> list[bool | None]:
    """Of each slice whether it is late; None for one without a time."""
    known = frozenset(sweep.places)
    return [place in late if place in known else None for place in range(sweep.places[-1] + 1)]


def _two_blocks(sweep: Sweep, late: frozenset[int]) -> bool:
    """Whether slices behind a gap may be a package: a block of about as many as the others."""
    sides = [place in late for place in sweep.places]
    early = frozenset(sweep.places) - late
    one_block = sum(a is not b for a, b in pairwise(sides)) == 1
    at = dict(zip(sweep.places, sweep.times, strict=True))
    gap = min(at[place] for place in late) - max(at[place] for place in early)
    few, many = sorted((len(early), len(late)))
    return one_block and gap <= _BLOCKS_S and many <= 2 * few + 1


def _fewer(sweep: Sweep, late: frozenset[int]) -> frozenset[int]:
    """The smaller of the two sides; of equal ones that without the first slice."""
    early = frozenset(sweep.places) - late
    if len(early) != len(late):
        return min(early, late, key=len)
    return early if sweep.places[0] in late else late


def _same_pattern(one: Sweep, other: Sweep) -> bool:
    """Whether the slices of two phases follow each other alike from the start of each."""
    if one.steady is not other.steady:
        return False
    one, other = _common(one, other)
    if len(one.times) < 2:
        return False
    allowed = max(one.one_time_s, min(one.span, other.span) / 2)
    pairs = list(zip(_since_start(one), _since_start(other), strict=True))
    if all(abs(a - b) <= allowed for a, b in pairs):
        return True
    shorter, longer = sorted((one.span, other.span))
    if one.steady or other.steady or longer > _LONGER * shorter:
        return False
    return all(abs(a / one.span - b / other.span) <= _STRAY for a, b in pairs)


def _common(one: Sweep, other: Sweep) -> tuple[Sweep, Sweep]:
    """Both with the slices alone of which both know the time."""
    if one.places == other.places:
        return one, other
    places = frozenset(one.places) & frozenset(other.places)
    return _only(one, places), _only(other, places)


def _only(sweep: Sweep, places: frozenset[int]) -> Sweep:
    known = [
        (place, at) for place, at in zip(sweep.places, sweep.times, strict=True) if place in places
    ]
    return replace(
        sweep, places=tuple(place for place, _ in known), times=tuple(at for _, at in known)
    )


def _turned(one: Sweep, other: Sweep) -> bool:
    """Whether the slices of one phase follow each other as those of the other from its far end."""
    last = max(one.places[-1], other.places[-1])
    turned = replace(
        other,
        places=tuple(last - place for place in reversed(other.places)),
        times=tuple(reversed(other.times)),
    )
    # A half from another phase is in such an order, too, but takes longer.
    shorter, longer = sorted((one.span, other.span))
    return longer <= _LIKE_SPAN * shorter and _same_pattern(one, turned)


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
    sweep, usual = _common(sweep, usual)
    if not sweep.times:
        return frozenset()
    allowed = max(sweep.one_time_s, usual.span / 2)
    return frozenset(
        place
        for place, at, expected in zip(
            sweep.places, _since_start(sweep), _since_start(usual), strict=True
        )
        if abs(at - expected) > allowed
    )
