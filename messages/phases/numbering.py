"""Phases that nothing but the numbering of the images tells apart: the last resort.

GE writes runs of which every image has one time and one acquisition number, no trigger time and no
temporal position; the series says how many there are (NumberOfTemporalPositions), and the images
are numbered through: phase after phase, or all phases of a slice and then the next slice. At each
place the images in the order of their InstanceNumber are then the phases, in both numberings.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from itertools import pairwise

from messages.phases.parts import (
    COUNTING_KEYWORDS,
    NUMBER_KEYWORD,
    ImageFacts,
    Part,
    Parts,
    Unclear,
)
from messages.phases.positions import Position, in_reach, places_of
from messages.phases.values import integer, number_of

#: Says how many phases there are, where nothing else of the numbering can be checked.
COUNT_KEYWORD = "NumberOfTemporalPositions"

#: ``3:10``: at each place the third of ten images. One text for one phase, so no zeros in front.
_VALUE = re.compile(r"([1-9][0-9]{0,4}):([1-9][0-9]{0,4})")


def number_value(place: int, of: int) -> str:
    """The value of a phase told apart by its number; `place` from 1."""
    return f"{place}:{of}"


def place_of(value: str) -> tuple[int, int] | None:
    """Which phase of how many a value of `number_value` names; None for any other text."""
    found = _VALUE.fullmatch(value)
    if found is None:
        return None
    place, of = int(found[1]), int(found[2])
    return (place, of) if place <= of else None


def count_of(keyword: str, value: str) -> float | None:
    """What a value counts in the order of the phases; None where the keyword counts none."""
    if keyword == NUMBER_KEYWORD:
        found = place_of(value)
        return None if found is None else float(found[0])
    return number_of(value) if keyword in COUNTING_KEYWORDS else None


def numbered(
    positions: Sequence[Position | None], numbers: Sequence[int | None]
) -> tuple[tuple[int, ...], ...]:
    """Indices of the images of each phase by their numbers, or nothing where these tell none apart.

    `numbers` are those of the instances; the frames of one share its number. Each place must have
    equally many images, no number may be absent, missing between others or given twice, and
    either all of a phase lie before the next phase, or all of a place before the next place. Of
    another numbering it is not known what it counts.
    """
    at = [position for position in positions if position is not None and in_reach(position)]
    known = [number for number in numbers if number is not None]
    if not known or len(at) < len(positions) or len(known) < len(numbers):
        return ()
    stacks: dict[int, list[int]] = {}
    for index, place in enumerate(places_of(at)):
        stacks.setdefault(place, []).append(index)
    counts = {len(stack) for stack in stacks.values()}
    said = Counter(known)
    whole = max(known) - min(known) + 1 == len(said) and len(set(said.values())) == 1
    if len(counts) > 1 or not whole:
        return ()
    ordered = [sorted(stack, key=known.__getitem__) for stack in stacks.values()]
    if any(known[a] == known[b] for stack in ordered for a, b in pairwise(stack)):
        return ()
    phases = [sorted(phase) for phase in zip(*ordered, strict=True)]
    if not (_one_after_the_other(phases, known) or _one_after_the_other(ordered, known)):
        return ()
    return tuple(tuple(phase) for phase in phases)


def or_numbered(
    parts: Parts,
    images: Sequence[ImageFacts],
    numbers: Sequence[int | None],
    said: Collection[str],
) -> Parts:
    """The parts; where nothing tells the phases of the images apart, those of their numbering.

    `said` are values of `COUNT_KEYWORD`. Where none speaks of several phases, images at one place
    may be anything, and the series stays as unclear as it was.
    """
    counts = {integer(text) for text in said if text.strip()}
    count = counts.pop() if len(counts) == 1 else None
    if parts.unclear is not Unclear.NOT_SEPARABLE or count is None or count < 2:
        return parts
    positions = [image.position for image in images]
    groups = numbered(positions, numbers)
    if groups and len(groups) != count:
        return Parts((), Unclear.OTHER_COUNT)
    if not groups:
        return _lacking(positions, count) or parts
    return Parts(
        tuple(
            Part(NUMBER_KEYWORD, number_value(place, count), group)
            for place, group in enumerate(groups, 1)
        )
    )


def _one_after_the_other(groups: Sequence[Sequence[int]], numbers: Sequence[int]) -> bool:
    """Whether the numbers of each group lie before all of the next one."""
    ranges = sorted((min(own), max(own)) for own in ([numbers[i] for i in g] for g in groups))
    return all(a[1] < b[0] for a, b in pairwise(ranges))


def _lacking(positions: Sequence[Position | None], count: int) -> Parts | None:
    """That phases lack slices, where some places have as many images as there are phases."""
    at = [position for position in positions if position is not None]
    counts = set(Counter(places_of(at)).values())
    return Parts((), Unclear.INCOMPLETE_PHASE) if max(counts) == count > min(counts) else None
