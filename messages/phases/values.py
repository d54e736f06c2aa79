"""The values of DICOM attributes from their texts, and when two are the same, on both sides."""

from __future__ import annotations

import math
import re

#: How far two numbers of one phase may differ: they are decimal text, and times are told to 1e-6 s.
RELATIVE_TOLERANCE = 1e-9
ABSOLUTE_TOLERANCE = 1e-6

_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")


def same_value(one: str, other: str) -> bool:
    """Whether two texts are the same value: as texts, or as numbers, so that ``1`` is ``1.0``.

    A text that is empty is no value.
    """
    if one == other:
        return bool(one)
    try:
        return same_number(float(one), float(other))
    except ValueError:
        return False


def same_number(one: float, other: float) -> bool:
    """Whether two numbers are the same value of an attribute."""
    return math.isclose(one, other, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)


def number_of(text: str) -> float | None:
    """The finite number that a text says, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def integer(text: str) -> int | None:
    """A DICOM IS, or None for what is none."""
    return int(text) if _INTEGER.fullmatch(text.strip()) else None
