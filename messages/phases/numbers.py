"""How the series of one run are numbered by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: A number in a description. Longer ones are dates or names, and count nothing.
_NUMBER = re.compile(r"(?<!\d)\d{1,4}(?!\d)")

#: A time after the injection: "1min", "90 s".
_AFTER = re.compile(
    r"(?<!\d)(\d{1,4}) ?(?:m|min|mins|minutes?|s|sec|secs|seconds?|분|초)(?![^\W_])"
)


def stem(name: str) -> str:
    """The `plain` name without its numbers: equal for the series of one numbered run."""
    return " ".join(_NUMBER.sub(" ", name).split())


def numbers_of_run(names: Sequence[str]) -> list[int]:
    """The number of each, where the `plain` names are the same but for one number; else empty."""
    if len(names) < 2 or len({_NUMBER.sub("#", name) for name in names}) > 1:
        return []
    numbers = [[int(text) for text in _NUMBER.findall(name)] for name in names]
    varying = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    return list(varying[0]) if len(varying) == 1 else []


def seconds_after(names: Sequence[str]) -> list[int]:
    """What each `plain` name says as its time after the injection; empty where one says none."""
    found = [_AFTER.findall(name) for name in names]
    return [int(times[-1]) for times in found] if all(found) else []
