"""Which images lie at the same place."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import floor

Position = tuple[float, float, float]

#: mm within which two images lie at the same place: positions are decimal text, and the phases of
#: one scan repeat it to the last digits. Slices lie at least ten times as far apart.
SAME_PLACE_MM = 0.02

#: mm from the origin of the patient's axes beyond which a number is no position of a slice. No
#: scanner reaches a thousandth of it.
REACH_MM = 1e6

_NEIGHBOURS = tuple(product((-1, 0, 1), repeat=3))


def in_reach(position: Sequence[float]) -> bool:
    """Whether the numbers can be a position (mm): finite, and not absurd."""
    return all(abs(value) <= REACH_MM for value in position)


def places_of(positions: Sequence[Position]) -> list[int]:
    """The place of each position (LPS, mm) as a number; equal numbers are the same place.

    What is not `in_reach` lies at a place of its own.
    """
    places: dict[Position, int] = {}
    cells: dict[tuple[int, ...], list[tuple[Position, int]]] = {}
    found = []
    for position in positions:
        if position not in places:
            places[position] = _place(position, cells, len(places))
        found.append(places[position])
    return found


def _place(
    position: Position, cells: dict[tuple[int, ...], list[tuple[Position, int]]], new: int
) -> int:
    if not in_reach(position):
        return new  # An infinite quotient has no floor.
    # Cells as wide as the tolerance: whatever lies within it is in this cell or in one beside it.
    cell = tuple(floor(value / SAME_PLACE_MM) for value in position)
    for step in _NEIGHBOURS:
        near = tuple(a + b for a, b in zip(cell, step, strict=True))
        for other, number in cells.get(near, ()):
            if max(abs(a - b) for a, b in zip(position, other, strict=True)) <= SAME_PLACE_MM:
                return number
    cells.setdefault(cell, []).append((position, new))
    return new
