"""What speaks against taking the first, second, third and last of some phases for their roles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from messages.phases import words
from messages.phases.candidates import Candidate
from messages.phases.facts import SeriesFacts
from messages.phases.numbers import numbers_of_run, seconds_after, stem
from messages.phases.parts import COUNTING_KEYWORDS, NUMBER_KEYWORD
from messages.phases.values import number_of

#: Seconds below which phases are those of an ultrafast scan (TWIST, DISCO, 4D-TRAK: 3 to 15),
#: whose first ones all lie before the contrast; the phases that the models know take 40 to 120.
SHORTEST_S = 35.0

#: Phases of a series without times above which it may be ultrafast: ten minutes of dynamic phases
#: are five to eight.
_MANY_PHASES = 8

#: The same where only the numbering tells the phases apart. Such series never say times, slow ones
#: neither (GE: ten phases), and what is proposed of them carries that doubt. Twice the usual number
#: is no slow scan any more.
_MANY_NUMBERED = 16

#: Keywords whose values count the phases of a scan from 1 on.
_FROM_ONE = frozenset({"TemporalPositionIndex", "TemporalPositionIdentifier"})

#: Numbers from here on are those of series ("601") and no longer count phases or seconds.
_NO_COUNT = 100


def repeated_run(ordered: Sequence[Candidate]) -> bool:
    """Whether a run was begun again: an earlier description comes back after another one.

    Two series of several phases with one description, or which both count from 1, are two runs as
    well, unless their names say pre and post; and so is what says that it repeats another. Phases
    that are series of their own often share a description; those are one run.
    """
    if _says_repeat(ordered) or _counted_twice(ordered):
        return True
    seen: list[str] = []
    previous = ""
    for label in (_label(c.series) for c in ordered):
        if label != previous and label in seen:
            return True
        seen.append(label)
        previous = label
    several = {c.series.series_id: _label(c.series) for c in ordered if len(c.series.phases) > 1}
    return len(set(several.values())) < len(several)


def _says_repeat(ordered: Sequence[Candidate]) -> bool:
    """Whether some names say that they repeat a run, and others do not."""
    return len({bool(words.REPEAT.search(name)) for name in _names(ordered)}) > 1


def _counted_twice(ordered: Sequence[Candidate]) -> bool:
    """Whether two series of several phases count them from 1, and no name says pre or post."""
    counted = {}
    for c in ordered:
        if c.phase.keyword in _FROM_ONE and len(c.series.phases) > 1:
            values = [number_of(phase.value) for phase in c.series.phases]
            if 1.0 in values:
                counted[c.series.series_id] = words.plain(c.series.description)
    return len(counted) > 1 and not any(
        words.PRE.search(name) or words.POST.search(name) for name in counted.values()
    )


def count_disagrees(ordered: Sequence[Candidate]) -> bool:
    """Whether a series counts its phases in another order than it times them."""
    counted = {
        c.series.series_id: c.series for c in ordered if c.phase.keyword in COUNTING_KEYWORDS
    }
    return any(
        later < earlier
        for series in counted.values()
        for earlier, later in pairwise(
            phase.acquired_at_s for phase in series.phases if phase.acquired_at_s is not None
        )
    )


def unclear_start(ordered: Sequence[Candidate], needed: int) -> bool:
    """Whether it is open if the first series is the phase before the contrast.

    It is where a run follows that goes by another name, no name says pre or post, and the run may
    have such a phase itself: it has at least `needed` phases and is not numbered from 2 on, or it
    is numbered from 0 on.
    """
    first = ordered[0].series
    others = [c for c in ordered if c.series.series_id != first.series_id]
    stems = {stem(_label(c.series)) for c in others}
    if len(first.phases) > 1 or len(stems) != 1 or stems == {stem(_label(first))}:
        return False
    if words.PRE.search(words.plain(first.description)) or any(
        words.POST.search(words.plain(c.series.description)) for c in others
    ):
        return False
    numbers = numbers_of_run(_names(others))
    if not numbers:
        return len(others) >= needed
    return min(numbers) == 0 or (min(numbers) == 1 and len(others) >= needed)


def unclear_end(ordered: Sequence[Candidate], needed: int) -> bool:
    """Whether it is open if the last series is the latest phase of the run.

    It is where it holds one phase, goes by another name that does not say post or late, and a run
    of one name before it has `needed` phases without it.
    """
    last = ordered[-1].series
    name = stem(_label(last))
    if len(last.phases) > 1 or words.POST.search(words.plain(last.description)):
        return False
    stems = Counter(stem(_label(c.series)) for c in ordered[:-1])
    return name not in stems and max(stems.values()) >= needed


def no_pre(ordered: Sequence[Candidate]) -> bool:
    """Whether the phase before the contrast is missing, by how the phases are counted or named.

    Series that differ in one number alone and begin at 2 or later; a single series whose temporal
    positions do; or series of which each says how long after the injection it was.
    """
    names = _names(ordered)
    if len(names) == 1:
        values = [number_of(c.phase.value) for c in ordered if c.phase.keyword in _FROM_ONE]
        return bool(values) and min(value or 0.0 for value in values) > 1
    numbers = numbers_of_run(names)
    if numbers and 2 <= min(numbers) < _NO_COUNT:
        return True
    seconds = seconds_after(names)
    return (
        len(set(seconds)) > 1
        and min(seconds) > 0
        and not any(words.PRE.search(name) for name in names)
    )


def names_disagree(chosen: Sequence[Candidate]) -> bool:
    """Whether a name contradicts the place in time: a "post" first, or a "pre" later."""
    first, *others = chosen
    return _says(first, post=True) or any(
        _says(other, post=False) for other in others if other.series != first.series
    )


def too_close(chosen: Sequence[Candidate], times: Sequence[float | None]) -> bool:
    """Whether phases follow each other so fast that the first may all be before the contrast.

    `times` are those of the chosen, in seconds. Where they are not known the series tells by its
    TemporalResolution, or by having more phases than a slow scan has.
    """
    return any(
        _may_be_fast(a.series) or _may_be_fast(b.series)
        if earlier is None or later is None
        else later - earlier < SHORTEST_S
        for (a, earlier), (b, later) in pairwise(zip(chosen, times, strict=True))
    )


def _may_be_fast(series: SeriesFacts) -> bool:
    if len(series.phases) < 2:
        return False
    # PS3.3 C.8.3.1: the time between two dynamics, in ms.
    resolution_ms = number_of(series.scan.get("TemporalResolution", "")) or 0.0
    if resolution_ms > 0:
        return resolution_ms < 1000 * SHORTEST_S
    said = number_of(series.scan.get("NumberOfTemporalPositions", "")) or 0.0
    alone = series.phases[0].keyword == NUMBER_KEYWORD
    return max(said, len(series.phases)) > (_MANY_NUMBERED if alone else _MANY_PHASES)


def _says(candidate: Candidate, *, post: bool) -> bool:
    """Whether the description says only post, or only pre."""
    text = words.plain(candidate.series.description)
    found = (bool(words.PRE.search(text)), bool(words.POST.search(text)))
    return found == ((False, True) if post else (True, False))


def _names(candidates: Sequence[Candidate]) -> list[str]:
    """The `plain` description of each series, once for each, in the order of the candidates."""
    return list({c.series.series_id: _label(c.series) for c in candidates}.values())


def _label(series: SeriesFacts) -> str:
    return words.plain(series.description) or series.series_id
