"""The order of phases in time: whether the scanner contradicts the roles."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from consumer.errors import PhasesOutOfOrder
from messages.phases.check import SAME_TIME_S
from messages.phases.numbering import count_of
from messages.phases.parts import ImageFacts, Part
from messages.phases.times import dated_at, past_midnight

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydicom import Dataset

    from consumer.payloads import PhaseFiles

#: The day from which times are counted, as DA: only their differences are looked at, and the clock
#: of a scanner has no time zone.
_ORIGIN = datetime(1970, 1, 1, tzinfo=UTC)
_ORIGIN_DA = "19700101"


def began_at(heads: Iterable[Dataset]) -> datetime | None:
    """When the acquisition of a phase began: of its first slice; None where no slice says it."""
    acquired = [(seconds, day) for ds in heads for seconds, day in _acquired(ds)]
    times = past_midnight([seconds for seconds, _ in acquired], {day for _, day in acquired})
    first = min((at for at in times if at is not None), default=None)
    return None if first is None else _ORIGIN + timedelta(seconds=first)


def _acquired(ds: Dataset) -> list[tuple[float, str]]:
    """Seconds at which the acquisition of a slice began, and its day; none if either is unread.

    What is a date and a time the site says, ACR-NEMA's ``10:15:00`` included: both must know the
    same phases as timed.
    """
    try:
        said = {key: str(ds.get(key) or "") for key in ("AcquisitionDate", "AcquisitionTime")}
        (seconds,) = dated_at([ImageFacts(None, said)], [Part("", "", (0,))], _ORIGIN_DA)
        if seconds is None:
            return []
        # A day that no date can hold is none, either.
        _ = _ORIGIN + timedelta(seconds=seconds)
        return [(seconds, said["AcquisitionDate"])]
    except Exception:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad values
        return []


def seconds_after_first(began: Sequence[datetime | None]) -> tuple[float | None, ...]:
    """Seconds from the beginning of the first phase to that of each; None where one is unknown.

    A time that several phases share is that of their run: of none of them it is known.
    """
    said = Counter(began)
    own = [at if said[at] == 1 else None for at in began]
    first = own[0]
    return tuple(
        None if first is None or at is None else (at - first).total_seconds() for at in own
    )


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
        numbers = _numbers(one, other)
        if numbers is not None and numbers[1] < numbers[0]:
            raise PhasesOutOfOrder(f"{other.role} is numbered before {one.role} in their series")


def _seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


def _numbers(one: PhaseFiles, other: PhaseFiles) -> tuple[float, float] | None:
    """Which phases of their series the two are; None where no one keyword counts both."""
    keyword, first = one.selector or ("", "")
    other_keyword, second = other.selector or ("", "")
    if one.series_uid != other.series_uid or keyword != other_keyword:
        return None
    numbers = count_of(keyword, first), count_of(keyword, second)
    if numbers[0] is None or numbers[1] is None:
        return None
    return numbers[0], numbers[1]
