"""The border of a mask as an SVG path along pixel edges: what is marked, no more and no less."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

#: A corner between pixels: column and row, from the upper left corner of the image.
Corner = tuple[int, int]


def outline_path(mask: NDArray[np.bool_]) -> str:
    """Return the path around the set pixels of `mask` (rows, columns), one loop for each border.

    Coordinates are pixels with the origin in the upper left corner; a pixel at row r and column c
    covers c..c+1 and r..r+1. Holes are loops of their own, for ``fill-rule: evenodd``. An empty
    mask gives an empty text.
    """
    loops = _loops(_edges(mask))
    return "".join(f"M{_points(loop)}Z" for loop in loops)


def edge_count(mask: NDArray[np.bool_]) -> int:
    """How many sides of pixels the path around the set pixels runs along."""
    padded = np.pad(mask.astype(bool), 1)
    across = np.count_nonzero(padded[:, 1:] != padded[:, :-1])
    return int(across + np.count_nonzero(padded[1:] != padded[:-1]))


def _edges(mask: NDArray[np.bool_]) -> dict[Corner, list[Corner]]:
    """Border edges by their start, directed so that the marked pixel lies on the right."""
    padded = np.pad(mask.astype(bool), 1)
    inside = padded[1:-1, 1:-1]
    edges: dict[Corner, list[Corner]] = defaultdict(list)
    # Neighbour that must be unset, then start and end of the edge relative to (column, row).
    sides = (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    )
    for neighbour, start, end in sides:
        for row, column in np.argwhere(inside & ~neighbour):
            c, r = int(column), int(row)
            edges[(c + start[0], r + start[1])].append((c + end[0], r + end[1]))
    return edges


def _loops(edges: dict[Corner, list[Corner]]) -> list[list[Corner]]:
    """Chain the edges. As many lead to a corner as away from it, so every chain closes."""
    loops = []
    for start in sorted(edges):
        while edges[start]:
            loop = [start]
            here = edges[start].pop()
            while here != start:
                loop.append(here)
                here = edges[here].pop()
            loops.append(_without_straight_corners(loop))
    return loops


def _without_straight_corners(loop: list[Corner]) -> list[Corner]:
    neighbours = zip(loop[-1:] + loop[:-1], loop, loop[1:] + loop[:1], strict=True)
    return [
        here
        for before, here, after in neighbours
        if (before[0] == here[0]) != (here[0] == after[0])
    ]


def _points(loop: list[Corner]) -> str:
    return "L".join(f"{column} {row}" for column, row in loop)
