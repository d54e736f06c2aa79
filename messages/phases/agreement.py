"""Whether the slices of a phase are of one acquisition and of one kind of image.

docs/decisions/0029-a-phase-is-one-acquisition.md says what is refused, and what is not and why.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from messages.phases.sweep import CLOCKS, Sweep, regular, strange_in, sweep_of
from messages.phases.values import number_of, same_value

#: What one slice says of itself, by classic keywords, as text; what it does not say is missing.
Values = Mapping[str, str]

#: Attributes that all slices of a phase share, those that tell most first.
_SHARED: tuple[str, ...] = ("ImageType", "EchoTime", "EchoNumbers", "DiffusionBValue")

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
)

#: Share by which the echo times of the slices of one echo may differ: the ends of what is rounded.
_SAME_ECHO = 0.01


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
    found = [_first_shared(place, slices) for place, slices in enumerate(phases)]
    counted = [_counts_of(phases, keyword) for keyword in _COUNTS]
    for place, slices in enumerate(phases):
        if found[place] is not None:
            continue
        for keyword, counts in zip(_COUNTS, counted, strict=True):
            differing = _strange_counts(counts, place, slices, keyword)
            if differing:
                found[place] = Difference(place, keyword, min(differing) + 1)
                break
    for clock in CLOCKS:
        first = next((one for slices in phases for one in slices), {})
        sweeps = [sweep_of(slices, clock, first) for slices in phases]
        for place, sweep in enumerate(sweeps):
            if found[place] is None and sweep is not None:
                strange = strange_in(sweep, _others(sweeps, place))
                if strange:
                    found[place] = Difference(place, clock.keyword, min(strange) + 1)
    return tuple(one for one in found if one is not None)


def _others(sweeps: Sequence[Sweep | None], place: int) -> list[Sweep]:
    return [one for at, one in enumerate(sweeps) if one is not None and at != place]


def _first_shared(phase: int, slices: Sequence[Values]) -> Difference | None:
    for keyword in _SHARED:
        strange = _minority(_labels([_text(one, keyword) for one in slices], keyword))
        if strange:
            return Difference(phase, keyword, min(strange) + 1)
    return None


def _text(one: Values, keyword: str) -> str:
    text = one.get(keyword, "").strip(" \0")
    if keyword != "ImageType" or not text:
        return text
    values = [value.strip() for value in text.upper().split("\\")]
    # The first value says whether the pixels were computed from other images, and from the third on
    # vendors say what they show (PS3.3 C.7.6.1.1.2, C.8.3.1.1.1). The second one, PRIMARY or
    # SECONDARY, is changed by archives.
    shown = "\\".join([values[0], *values[2:]])
    return shown.rstrip("\\")


def _labels(texts: Sequence[str], keyword: str) -> list[int | None]:
    """Equal values as equal numbers; None where there is none."""
    kinds: list[str] = []
    known: dict[str, int] = {}
    for text in texts:
        if text and text not in known:
            alike = next((n for n, kind in enumerate(kinds) if _same(text, kind, keyword)), None)
            if alike is None:
                alike = len(kinds)
                kinds.append(text)
            known[text] = alike
    return [known.get(text) for text in texts]


def _same(one: str, other: str, keyword: str) -> bool:
    if same_value(one, other):
        return True
    if keyword != "EchoTime":
        return False
    first, second = number_of(one), number_of(other)
    return (
        first is not None and second is not None and math.isclose(first, second, rel_tol=_SAME_ECHO)
    )


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
        return len(self.values) == len(self.labels)

    @property
    def packages(self) -> tuple[int | None, ...]:
        """The same, numbered as they first occur."""
        order: dict[int, int] = {}
        return tuple(
            None if label is None else order.setdefault(label, len(order)) for label in self.labels
        )

    def apart(self, other: _Counts) -> bool:
        """Whether no acquisition is counted in both, or both count theirs anew."""
        return self.values.isdisjoint(other.values) or self.values == other.values


def _counts_of(phases: Sequence[Sequence[Values]], keyword: str) -> list[_Counts]:
    texts = [[_text(one, keyword) for one in slices] for slices in phases]
    labels = iter(_labels([text for phase in texts for text in phase], keyword))
    return [_Counts(tuple(next(labels) for _ in phase)) for phase in texts]


def _strange_counts(
    counts: Sequence[_Counts], place: int, slices: Sequence[Values], keyword: str
) -> list[int]:
    own = counts[place]
    if own.shared or own.of_each:
        return []
    if keyword not in _TEMPORAL:
        others = [one for at, one in enumerate(counts) if at != place]
        twins = [one for one in others if one.packages == own.packages]
        repeated = twins and len(twins) + 1 > sum(one.shared for one in others)
        if repeated and all(map(own.apart, twins)):
            return []
        if not others and (regular(own.labels) or _follow(slices)):
            return []
    return _minority(own.labels)


def _follow(slices: Sequence[Values]) -> bool:
    """Whether the slices of a phase have times of their own, without a gap between two parts."""
    sweep = sweep_of(slices, CLOCKS[0], slices[0])
    return sweep is not None and not sweep.steady and not strange_in(sweep, ())
