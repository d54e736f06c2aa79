"""Whether a phase that was left out seems to be of the run: then the others fill wrong roles."""

from __future__ import annotations

from collections.abc import Sequence

from messages.phases import words
from messages.phases.candidates import Candidate
from messages.phases.facts import PhaseFacts
from messages.phases.kind import is_derived
from messages.phases.numbers import stem

#: Words that say nothing of which run a series is of.
_COMMON = frozenset(
    {"ax", "axial", "tra", "transverse", "sag", "sagittal", "cor", "coronal", "3d", "2d", "t1"}
    | {"fs", "fatsat", "sat", "fat", "breast", "breasts", "bilateral", "mr", "mri", "and", "scan"}
)

#: Difference between direction cosines from which two phases are of different planes.
_OTHER_PLANE = 0.1

#: Seconds within which something derived has the time of what it was derived from.
_SAME_TIME_S = 1.0


def seems_missing(run: Sequence[Candidate], left_out: Sequence[Candidate]) -> bool:
    """Whether one of the `left_out` belongs into the `run`, which is in time order.

    A phase that is a slice short, lies beside the others or was stored as derived still was
    acquired: without it the one after it would fill its role. It is known by the name of the run,
    but for numbers and for pre and post; or by saying pre, or by its time within the run, where
    one telling word is shared.
    """
    return any(_of_the_run(one, run) for one in left_out)


def _of_the_run(one: Candidate, run: Sequence[Candidate]) -> bool:
    if _other_plane(one.phase, run[0].phase):
        return False
    names = [words.plain(c.series.description) for c in run]
    name = words.plain(one.series.description)
    if is_derived(one.series.image_type):
        return _family(name) in map(_family, names) and _has_a_time_of_its_own(one, run)
    if not name:
        return False
    if _family(name) in map(_family, names):
        return True
    if not _telling(name) & set().union(*map(_telling, names)):
        return False
    says_pre = bool(words.PRE.search(name)) and not words.PRE.search(names[0])
    return says_pre or _within(one, run)


def _family(name: str) -> str:
    """The name without its numbers, and without the words for before and after the contrast."""
    return stem(words.POST.sub(" ", words.PRE.sub(" ", name)))


def _telling(name: str) -> set[str]:
    return {word for word in _family(name).split() if len(word) > 1} - _COMMON


def _within(one: Candidate, run: Sequence[Candidate]) -> bool:
    first, last, time = (c.phase.acquired_at_s for c in (run[0], run[-1], one))
    return first is not None and last is not None and time is not None and first < time < last


def _has_a_time_of_its_own(one: Candidate, run: Sequence[Candidate]) -> bool:
    """Whether it was not computed from a phase of the run, nor after it."""
    time = one.phase.acquired_at_s
    times = [c.phase.acquired_at_s for c in run if c.phase.acquired_at_s is not None]
    if time is None or not times or time > max(times):
        return False
    return min(abs(time - other) for other in times) > _SAME_TIME_S


def _other_plane(a: PhaseFacts, b: PhaseFacts) -> bool:
    if a.grid is None or b.grid is None:
        return False
    pairs = zip(a.grid.orientation, b.grid.orientation, strict=True)
    return any(abs(one - other) > _OTHER_PLANE for one, other in pairs)
