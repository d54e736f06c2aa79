"""Whether the slices of a phase are of one acquisition and of one kind of image.

docs/decisions/0029-a-phase-is-one-acquisition.md says what is refused, and what is not and why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from messages.phases.sweep import (
    CLOCKS,
    Clock,
    Sweep,
    apart,
    follow,
    regular,
    strange_in,
    sweep_of,
)
from messages.phases.times import seconds_from
from messages.phases.values import number_of

#: What one slice says of itself, by classic keywords, as text; what it does not say is missing.
Values = Mapping[str, str]

#: Attributes that all slices of a phase share, those that tell most first.
_SHARED: tuple[str, ...] = (
    "ImageType",
    "ComplexImageComponent",
    "EchoTime",
    "EchoNumbers",
    "DiffusionBValue",
    "FlipAngle",
    "SequenceName",
    "ScanOptions",
)

#: Attributes that count acquisitions: shared by all slices, or another one for each.
_COUNTS: tuple[str, ...] = (
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "AcquisitionNumber",
)

#: A volume is at one temporal position, whatever packages it was acquired in.
_TEMPORAL = frozenset({"TemporalPositionIdentifier", "TemporalPositionIndex"})

#: All that is looked at of each slice.
AGREEMENT_KEYWORDS: tuple[str, ...] = (
    *_SHARED,
    *_COUNTS,
    "AcquisitionDate",
    "AcquisitionTime",
    "TriggerTime",
    "ContentTime",
)

#: Share by which the echo times, and the flip angles, of the slices of one scan may differ: the
#: ends of what is rounded.
_ROUNDED = 0.01
_ROUNDED_KEYWORDS = frozenset({"EchoTime", "FlipAngle"})

#: Digits in which numbers are one: they are decimal text (`messages.phases.values.same_number`).
_DECIMALS = 6
_DIGITS = 10

#: Seconds by which two values of ContentTime differ at least that are not one moment, rounded.
_OTHER_CONTENT_S = 1.0


@dataclass(frozen=True)
class Difference:
    """A slice that does not belong to its phase."""

    #: Which of the phases, from 0.
    phase: int
    #: The attribute in which it differs from the others: one of `AGREEMENT_KEYWORDS`.
    keyword: str
    #: The first slice that does, in the order along the normal, from 1.
    slice: int


def differences(phases: Sequence[Sequence[Values]]) -> tuple[Difference, ...]:
    """The first difference of each phase of a request whose slices do not agree.

    Of each phase the slices come in their order along the normal. What a slice does not state
    counts as equal.
    """
    found: dict[int, Difference] = {}
    for keyword, place, strange in _strange(phases):
        if strange and place not in found:
            found[place] = Difference(place, keyword, min(strange) + 1)
    return tuple(found[place] for place in sorted(found))


def _strange(
    phases: Sequence[Sequence[Values]],
) -> Iterator[tuple[str, int, Collection[int]]]:
    """By attribute and phase the slices that differ, those attributes that tell most first."""
    for keyword in _SHARED:
        for place, slices in enumerate(phases):
            yield keyword, place, _differing(slices, keyword)
    for keyword in _COUNTS:
        counts = _counts_of(phases, keyword)
        for place in range(len(phases)):
            yield keyword, place, _strange_counts(phases, counts, place, keyword)
    for clock in CLOCKS:
        sweeps = _sweeps(phases, clock)
        for place, sweep in enumerate(sweeps):
            if sweep is not None:
                yield clock.keyword, place, strange_in(sweep, _others(sweeps, place))
    for place, strange in enumerate(_of_other_content(phases)):
        yield "ContentTime", place, strange


def _sweeps(phases: Sequence[Sequence[Values]], clock: Clock) -> list[Sweep | None]:
    first = next((one for slices in phases for one in slices), {})
    return [sweep_of(slices, clock, first) for slices in phases]


def _others(sweeps: Sequence[Sweep | None], place: int) -> list[Sweep]:
    return [one for at, one in enumerate(sweeps) if one is not None and at != place]


def _differing(slices: Sequence[Values], keyword: str) -> set[int]:
    differing: set[int] = set()
    for said in zip(*(_said(one, keyword) for one in slices), strict=True):
        differing.update(_minority(_labels(said, keyword)))
    return differing


def _said(one: Values, keyword: str) -> tuple[str, ...]:
    """The texts of an attribute that are each compared with those of the other slices."""
    text = _text(one, keyword).upper()
    if keyword == "ImageType":
        # The first value says whether the pixels were computed from other images, and from the
        # third on vendors say what they show (PS3.3 C.7.6.1.1.2, C.8.3.1.1.1), where they say it.
        # The second one, PRIMARY or SECONDARY, is changed by archives.
        origin, *values = (value.strip() for value in text.split("\\"))
        return origin, "\\".join(values[1:]).rstrip("\\")
    if keyword == "ScanOptions":
        return ("\\".join(sorted(value.strip() for value in text.split("\\"))),)
    if keyword == "ComplexImageComponent" and text == "MIXED":
        # What an object says that holds several.
        return ("",)
    return (text,)


def _text(one: Values, keyword: str) -> str:
    return one.get(keyword, "").strip(" \0")


def _labels(texts: Sequence[str], keyword: str) -> list[int | None]:
    """Equal values as equal numbers; None where there is none."""
    keys = {text: _key(text) for text in set(texts) if text}
    groups: dict[float | str, float | str] = {}
    if keyword in _ROUNDED_KEYWORDS:
        first: float | None = None
        for number in sorted({key for key in keys.values() if isinstance(key, float)}):
            if first is None or not math.isclose(first, number, rel_tol=_ROUNDED):
                first = number
            groups[number] = first
    order: dict[float | str, int] = {}
    found: list[int | None] = []
    for text in texts:
        key = keys.get(text)
        group = None if key is None else groups.get(key, key)
        found.append(None if group is None else order.setdefault(group, len(order)))
    return found


def _key(text: str) -> float | str:
    """A number as it is rounded, so that ``1`` is ``1.0``, or else the text."""
    number = number_of(text)
    return text if number is None else float(f"{round(number, _DECIMALS):.{_DIGITS}g}")


def _minority(labels: Sequence[int | None]) -> list[int]:
    """The slices that have not the most frequent value; of equally frequent ones the first is."""
    known = Counter(label for label in labels if label is not None)
    if len(known) < 2:
        return []
    usual = known.most_common(1)[0][0]
    return [place for place, label in enumerate(labels) if label not in {None, usual}]


@dataclass(frozen=True)
class _Counts:
    """What counts the acquisitions of a phase, by slice; equal numbers are equal values."""

    labels: tuple[int | None, ...]

    @property
    def values(self) -> frozenset[int]:
        return frozenset(label for label in self.labels if label is not None)

    @property
    def shared(self) -> bool:
        """Whether all slices have one."""
        return len(self.values) < 2

    @property
    def of_each(self) -> bool:
        """Whether each slice has its own."""
        return len(self.values) == sum(label is not None for label in self.labels)

    @property
    def turned(self) -> _Counts:
        """The same from the other end."""
        return _Counts(self.labels[::-1])

    def alike(self, other: _Counts) -> bool:
        """Whether both count the same packages, in the slices of which both are counted."""
        if len(self.labels) != len(other.labels) or other.shared:
            return False
        pairs = {pair for pair in zip(self.labels, other.labels, strict=True) if None not in pair}
        ones, twos = zip(*pairs, strict=True) if pairs else ((), ())
        return len(pairs) > 1 and len(set(ones)) == len(pairs) == len(set(twos))

    def apart(self, other: _Counts) -> bool:
        """Whether no acquisition is counted in both, or both count theirs anew."""
        return self.values.isdisjoint(other.values) or self.values == other.values


def _counts_of(phases: Sequence[Sequence[Values]], keyword: str) -> list[_Counts]:
    texts = [[_text(one, keyword) for one in slices] for slices in phases]
    labels = iter(_labels([text for phase in texts for text in phase], keyword))
    return [_Counts(tuple(next(labels) for _ in phase)) for phase in texts]


def _strange_counts(
    phases: Sequence[Sequence[Values]], counts: Sequence[_Counts], place: int, keyword: str
) -> list[int]:
    own, slices = counts[place], phases[place]
    if own.shared or own.of_each:
        return []
    if keyword not in _TEMPORAL:
        others = [one for at, one in enumerate(counts) if at != place]
        # One of the phases may be swept the other way, with another number of slices at its end.
        twins = [one for one in others if own.alike(one) or own.alike(one.turned)]
        steady = sum(one.shared for one in others)
        if twins and len(twins) + 1 > steady and all(map(own.apart, twins)):
            return []
        if not others and (regular(own.labels) or _follow(slices)):
            return []
        # The phase before contrast may be another series, in one piece.
        unlike = len(others) - len(twins)
        if unlike == 1 and steady == 1 and regular(own.labels):
            alone = all(own.values.isdisjoint(one.values) for one in others)
            if alone or _timed_apart(phases, place):
                return []
    return _minority(own.labels)


def _follow(slices: Sequence[Values]) -> bool:
    """Whether the slices of a phase have times of their own, without a gap between two parts."""
    sweep = sweep_of(slices, CLOCKS[0], slices[0])
    return sweep is not None and follow(sweep)


def _timed_apart(phases: Sequence[Sequence[Values]], place: int) -> bool:
    """Whether every slice of a phase says a time, and none lies within that of another phase."""
    sweeps = _sweeps(phases, CLOCKS[0])
    own, others = sweeps[place], _others(sweeps, place)
    whole = own is not None and len(own.places) == len(phases[place])
    if own is None or not whole or len(others) + 1 < len(phases):
        return False
    return apart(own, others)


def _of_other_content(phases: Sequence[Sequence[Values]]) -> list[frozenset[int]]:
    """Of each phase the slices with the one ContentTime of another phase.

    It may be that of the reconstruction, in any order. So it says something only where a phase has
    two of them, and one is exactly that of all slices of another phase.
    """
    texts = [[_text(one, "ContentTime") for one in slices] for slices in phases]
    kinds = [{text for text in said if text} for said in texts]
    single = {text for known in kinds if len(known) == 1 for text in known}
    found = []
    for said, known in zip(texts, kinds, strict=True):
        shared = known & single if len(known) == 2 and _moments_apart(*known) else set()
        found.append(frozenset(place for place, text in enumerate(said) if text in shared))
    return found


def _moments_apart(one: str, other: str) -> bool:
    first, second = seconds_from("", "", one), seconds_from("", "", other)
    return first is not None and second is not None and abs(first - second) > _OTHER_CONTENT_S
