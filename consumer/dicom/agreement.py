"""Whether the slices of each phase are of one acquisition, and on which scale they are stored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from consumer.dicom.philips import scale_slope
from consumer.errors import MixedPhase
from messages.phases.agreement import AGREEMENT_KEYWORDS, differences
from messages.phases.scale import Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydicom import Dataset

#: Characters of one value that are looked at; none of a scanner is as long.
_LONGEST = 1024


def stated(heads: Iterable[Dataset]) -> list[dict[str, str]]:
    """What `messages.phases.agreement` looks at, of slices in their order, as text."""
    return [
        {keyword: text for keyword in AGREEMENT_KEYWORDS if (text := _text(head, keyword))}
        for head in heads
    ]


def check_agreement(roles: Sequence[str], phases: Sequence[Sequence[dict[str, str]]]) -> None:
    """Raise MixedPhase for the first phase that holds slices of another acquisition or kind.

    `phases` is what `stated` returns of each. `messages.phases.check` refuses the same before a
    request is queued.
    """
    for found in differences(phases):
        raise MixedPhase(
            f"slice {found.slice} of {roles[found.phase]} has another {found.keyword} than the "
            "others"
        )


def stored_as(heads: Iterable[Dataset]) -> list[Stored]:
    """What slices state of their scale."""
    return [
        Stored(
            slope=_number(head, "RescaleSlope"),
            intercept=_number(head, "RescaleIntercept"),
            scale_slope=scale_slope(head),
            manufacturer=_text(head, "Manufacturer"),
        )
        for head in heads
    ]


def _text(head: Dataset, keyword: str) -> str:
    """The value as Orthanc gives it, several with a backslash between; empty where unreadable."""
    try:
        value = head.get(keyword)
        if value is None:
            return ""
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            return str(value)[:_LONGEST]
        return "\\".join(map(str, value))[:_LONGEST]
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad values
        return ""


def _number(head: Dataset, keyword: str) -> float | None:
    try:
        number = float(head[keyword].value)
    except Exception:  # noqa: BLE001 - as above
        return None
    return number if math.isfinite(number) else None
