"""The order of phases in time: whether the scanner contradicts the roles."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from pydicom.valuerep import DA, TM

from consumer.errors import PhasesOutOfOrder
from messages.phases.check import SAME_TIME_S
from messages.phases.parts import COUNTING_KEYWORDS
from messages.phases.values import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydicom import Dataset

    from consumer.handover import PhaseFiles


def began_at(heads: Iterable[Dataset]) -> datetime | None:
    """When the acquisition of a phase began: of its first slice; None where no slice says it."""
    return min(filter(None, map(_acquired, heads)), default=None)


def _acquired(ds: Dataset) -> datetime | None:
    """When the acquisition of a slice began; None where date or time cannot be read."""
    try:
        return datetime.combine(DA(ds.AcquisitionDate), TM(ds.AcquisitionTime))
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad values
        return None


def check_order(phases: Sequence[PhaseFiles], began: Sequence[datetime | None]) -> None:
    """Raise PhasesOutOfOrder where a phase began before the one whose role comes first.

    Two phases of one series often have one time, or none: where the series counts them, that is
    their order. Times within `SAME_TIME_S` are one. `messages.phases.check` refuses the same before
    a request is queued.
    """
    known = [(phase.role, at) for phase, at in zip(phases, began, strict=True) if at is not None]
    for (earlier, first), (later, second) in pairwise(known):
        if _seconds(second, first) > SAME_TIME_S:
            raise PhasesOutOfOrder(f"{later} was acquired before {earlier}")
    for (one, first_at), (other, second_at) in pairwise(zip(phases, began, strict=True)):
        if first_at and second_at and abs(_seconds(first_at, second_at)) > SAME_TIME_S:
            continue
        first_number, second_number = _phase_number(one), _phase_number(other)
        if one.series_uid != other.series_uid or first_number is None or second_number is None:
            continue
        if second_number < first_number:
            raise PhasesOutOfOrder(f"{other.role} is numbered before {one.role} in their series")


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def _phase_number(phase: PhaseFiles) -> float | None:
    """Which phase of its series it is by number; None where it was chosen in another way."""
    keyword, value = phase.selector or ("", "")
    return number_of(value) if keyword in COUNTING_KEYWORDS else None
