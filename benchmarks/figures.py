"""Median, percentile and range of measured values, as rows of a Markdown table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median


def p95(values: Sequence[float]) -> float:
    """Smallest value that at least 95 % of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[-(-95 * len(ordered) // 100) - 1]


def row(name: str, values: Sequence[float], *, digits: int, tail: bool = False) -> tuple[str, ...]:
    """Name, median, 95th percentile when `tail`, min, max, n."""
    figures = [median(values), *([p95(values)] if tail else []), min(values), max(values)]
    return (name, *(f"{figure:.{digits}f}" for figure in figures), str(len(values)))


def head(first: str, unit: str, *, tail: bool = False) -> tuple[str, ...]:
    """Heads of the columns that `row` fills."""
    return (first, f"median ({unit})", *(["p95"] if tail else []), "min", "max", "n")


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay a table out in Markdown."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
