"""Attributes that are needed of an image: there, or named with what is wrong with them.

What is raised here names attributes and never their values: those may be patient data.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from consumer.errors import LabError

if TYPE_CHECKING:
    from pydicom import Dataset

#: In words, as a count of numbers stands in a sentence.
_COUNTED = {1: "a finite number", 2: "two finite numbers"}


class BrokenFile(ValueError):
    """An instance that cannot be used. `said` is the rest of a sentence that begins with it."""

    said: ClassVar[str] = "cannot be parsed"


class Absent(BrokenFile):
    """An attribute is not there, or is there without a value."""

    def __init__(self, keyword: str, *, empty: bool = False) -> None:
        super().__init__(keyword)
        self.keyword = keyword
        self.empty = empty


class Malformed(BrokenFile):
    """An attribute is not what it must be; `wanted` says what that is."""

    def __init__(self, keyword: str, wanted: str) -> None:
        super().__init__(keyword)
        self.keyword = keyword
        self.wanted = wanted


def needed(ds: Dataset, keyword: str) -> Any:
    """The value of an attribute. Raises Absent, and Malformed where pydicom cannot read it."""
    if keyword not in ds:
        raise Absent(keyword)
    value = _value(ds, keyword)
    if value is None or (hasattr(value, "__len__") and not len(value)):
        raise Absent(keyword, empty=True)
    return value


def text(ds: Dataset, keyword: str) -> str:
    """A value as text without spaces around it. Raises Absent and Malformed."""
    found = str(needed(ds, keyword)).strip(" \0")
    if not found:
        raise Absent(keyword, empty=True)
    return found


def count(ds: Dataset, keyword: str) -> int:
    """A whole number above 0. Raises Absent and Malformed."""
    return _whole(needed(ds, keyword), keyword, least=1)


def whole(ds: Dataset, keyword: str) -> int:
    """A whole number. Raises Absent and Malformed."""
    return _whole(needed(ds, keyword), keyword, least=None)


def frames_in(ds: Dataset) -> int:
    """NumberOfFrames, and 1 where it is absent or empty. Raises Malformed."""
    value = _value(ds, "NumberOfFrames") if "NumberOfFrames" in ds else None
    return 1 if value is None or value == "" else _whole(value, "NumberOfFrames", least=1)


def numbers(ds: Dataset, keyword: str, many: int) -> list[float]:
    """`many` finite numbers. Raises Absent and Malformed."""
    return _finite(needed(ds, keyword), keyword, many)


def number_in(ds: Dataset, keyword: str) -> float | None:
    """One finite number, or None where it is absent or empty. Raises Malformed."""
    value = _value(ds, keyword) if keyword in ds else None
    return None if value is None or value == "" else _finite([value], keyword, 1)[0]


def _value(ds: Dataset, keyword: str) -> Any:
    try:
        return ds[keyword].value
    except (LabError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad values
        raise Malformed(keyword, "a value that can be read") from None


def _whole(value: Any, keyword: str, *, least: int | None) -> int:
    try:
        found = int(value)
    except (TypeError, ValueError, OverflowError):
        raise Malformed(keyword, "a whole number") from None
    if least is not None and found < least:
        raise Malformed(keyword, "a whole number above 0")
    return found


def _finite(value: Any, keyword: str, many: int) -> list[float]:
    try:
        found = [float(item) for item in value]
    except (TypeError, ValueError, OverflowError):
        found = []
    if len(found) != many or not all(map(math.isfinite, found)):
        raise Malformed(keyword, _COUNTED.get(many, f"{many} finite numbers"))
    return found
