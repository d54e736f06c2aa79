"""Which series plays which role, and why. Over plain values, for the web and for the lab.

The reasons are codes with numbers, not sentences: each side says them in its own language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

#: Roles of the four-phase models, in time order.
DCE_ROLES: tuple[str, ...] = ("pre", "post1", "post2", "last")


class LeftOut(StrEnum):
    """Why a series takes no part."""

    #: Modality is not MR: an earlier result, a report, a capture.
    NOT_MR = "not_mr"
    #: Another number of instances than the dynamic series have: a localizer, a T2, a projection.
    OTHER_SLICE_COUNT = "other_slice_count"
    #: The description or image type says localizer, subtraction, projection, T2 or diffusion.
    NOT_DYNAMIC = "not_dynamic"
    #: Carries no acquisition time, so its place in time is unknown.
    NO_TIME = "no_time"
    #: Between the second and the last phase; the model takes four.
    BETWEEN = "between"


class Problem(StrEnum):
    """Why no complete proposal can be made."""

    #: Fewer dynamic series than the model has roles.
    TOO_FEW = "too_few"
    #: Two candidates carry the same acquisition time.
    SAME_TIME = "same_time"
    #: The candidates lie too far apart for one contrast agent: times of another day, or wrong ones.
    IMPLAUSIBLE_TIME = "implausible_time"


@dataclass(frozen=True)
class SeriesFacts:
    """What the archive says of a series, without patient data."""

    series_id: str
    modality: str
    description: str
    #: Seconds from the midnight before the study to the acquisition, or None: an examination may
    #: go on past the next midnight.
    acquired_at_s: float | None
    instance_count: int
    image_type: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """One role filled: the series, its place in time order (from 1) and seconds after the first."""

    role: str
    series_id: str
    place: int
    of: int
    seconds_after_first: float


@dataclass(frozen=True)
class Proposal:
    """Choices in role order (fewer than roles when something is wrong) and what was left out."""

    choices: tuple[Choice, ...] = ()
    left_out: dict[str, LeftOut] = field(default_factory=dict)
    problem: Problem | None = None


#: Seconds that a dynamic study can take; they take about ten minutes. Without dates, phases on
#: both sides of midnight are a day apart and in the wrong order: that is said, not proposed.
_LONGEST_S = 2 * 3600.0

#: Words in a description or image type that mark a series as no dynamic phase.
_NOT_DYNAMIC = ("local", "scout", "survey", "sub", "mip", "t2", "stir", "dwi", "adc", "diff")


def _words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def _reason_to_leave_out(series: SeriesFacts) -> LeftOut | None:
    if series.modality != "MR":
        return LeftOut.NOT_MR
    words = _words(series.description) + [w.lower() for w in series.image_type]
    if any(word.startswith(_NOT_DYNAMIC) for word in words):
        return LeftOut.NOT_DYNAMIC
    if series.acquired_at_s is None:
        return LeftOut.NO_TIME
    return None


def _usual_count(series: Sequence[SeriesFacts]) -> int:
    """The instance count that most series share; of two equally frequent ones, the larger."""
    counts = [s.instance_count for s in series]
    return max(set(counts), key=lambda count: (counts.count(count), count))


def propose(series: Sequence[SeriesFacts], roles: Sequence[str] = DCE_ROLES) -> Proposal:
    """Fill the roles in order of acquisition time.

    With more candidates than roles the first ones fill all roles but the last, and the latest
    series fills the last: pre, first, second, last. Ambiguity is said as a `Problem`, not guessed.
    """
    left_out = {s.series_id: reason for s in series if (reason := _reason_to_leave_out(s))}
    dynamic = [s for s in series if s.series_id not in left_out]
    if dynamic:
        usual = _usual_count(dynamic)
        left_out |= {
            s.series_id: LeftOut.OTHER_SLICE_COUNT for s in dynamic if s.instance_count != usual
        }
    candidates = sorted(
        (
            (s.acquired_at_s, s)
            for s in dynamic
            if s.series_id not in left_out and s.acquired_at_s is not None
        ),
        key=lambda pair: pair[0],
    )
    times = [time for time, _ in candidates]
    if len(candidates) < len(roles):
        return Proposal(left_out=left_out, problem=Problem.TOO_FEW)
    if len(set(times)) != len(times):
        return Proposal(left_out=left_out, problem=Problem.SAME_TIME)
    if times and times[-1] - times[0] > _LONGEST_S:
        return Proposal(left_out=left_out, problem=Problem.IMPLAUSIBLE_TIME)
    places = [*range(len(roles) - 1), len(candidates) - 1]
    left_out |= {
        s.series_id: LeftOut.BETWEEN for i, (_, s) in enumerate(candidates) if i not in places
    }
    choices = tuple(
        Choice(
            role=role,
            series_id=candidates[place][1].series_id,
            place=place + 1,
            of=len(candidates),
            seconds_after_first=times[place] - times[0],
        )
        for role, place in zip(roles, places, strict=True)
    )
    return Proposal(choices=choices, left_out=left_out)
