"""Finding items in the content tree of a structured report (PS3.3 section C.17.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from web.orthanc.errors import UnreadableReport

#: A concept: code value and coding scheme.
Code = tuple[str, str]


def code_of(item: Any) -> Code:
    """What a code sequence's item says."""
    return (str(item.CodeValue), str(item.CodingSchemeDesignator))


def children(item: Any, concept: Code | None = None) -> Iterator[Any]:
    """The items right below one, or those of a concept, in their order."""
    for child in item.get("ContentSequence", ()):
        named = child.get("ConceptNameCodeSequence")
        if concept is None or (named and code_of(named[0]) == concept):
            yield child


def texts(item: Any, concept: Code) -> list[str]:
    """What the texts of this concept below an item say."""
    return [str(child.TextValue) for child in children(item, concept)]


def number_in(item: Any) -> float:
    """The value of a numeric item; raises `UnreadableReport` where it is no number."""
    value = float(item.MeasuredValueSequence[0].NumericValue)
    if not math.isfinite(value):
        raise UnreadableReport("the report states a figure that is no number")
    return value


def number(item: Any, concept: Code) -> float | None:
    """The one figure of this concept below an item; None without.

    Raises `UnreadableReport` where there are several that differ.
    """
    found = {number_in(child) for child in children(item, concept)}
    if len(found) > 1:
        raise UnreadableReport(f"the report states several figures {concept[0]}")
    return found.pop() if found else None


def coded(item: Any, concept: Code) -> Code | None:
    """The value of the first coded item of this concept below an item; None without."""
    for child in children(item, concept):
        return code_of(child.ConceptCodeSequence[0])
    return None
