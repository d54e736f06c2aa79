"""How the signal of a lesion changes over the phases: its time-intensity curve.

docs/measures.md says what these figures are and are not, with the sources.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from consumer.result.lesions import boxes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Percent of the early signal from which on a later one is another: Kuhl et al., Radiology 1999;
#: 211:101-110, and the delayed phase of ACR BI-RADS. A signal that no contrast raised by as much
#: has no pattern.
CHANGE_PERCENT = 10.0

#: Seconds of the initial phase, from the injection (ACR BI-RADS).
INITIAL_SECONDS = 120.0

#: Share of a lesion's voxels, in one phase and more than one of them, above which it counts as cut
#: off when they have the greatest value of all that is looked at: elsewhere hardly two voxels do.
SATURATED_SHARE = 0.05


#: Why a report states no curves of phases that make one, as its parameter and its value.
CURVES_WITHHELD, DIFFERENT_SCALES = "curves_withheld", "different_scales"


class WashOut(StrEnum):
    """How the delayed phase goes on from the initial one (ACR BI-RADS)."""

    #: Rises by more than `CHANGE_PERCENT` (type 1).
    PERSISTENT = "persistent"
    #: Stays within it (type 2).
    PLATEAU = "plateau"
    #: Falls by more (type 3).
    WASHOUT = "washout"


@dataclass(frozen=True)
class Curve:
    """Mean signal of a lesion in each phase, and what is read from it."""

    #: In channel order, as all that follows.
    roles: tuple[str, ...]
    #: After the beginning of the first phase; None where it is not known.
    seconds: tuple[float | None, ...]
    #: Mean over the lesion's voxels, in the unit of the images.
    means: tuple[float, ...]
    #: Enhancement in the first phase after contrast, in percent of the signal before it; None when
    #: that is not positive, or the signal is cut off.
    wash_in_percent: float | None
    #: None when the enhancement is unknown or too small, or the times are missing or too short.
    type: WashOut | None


@dataclass(frozen=True)
class _Phases:
    """The last channel before contrast, and those after it in their order."""

    before: int
    after: tuple[int, ...]


def is_dynamic(roles: Sequence[str]) -> bool:
    """Whether these phases make a curve: at least one ``pre…``, then two ``post…`` or ``last``."""
    return _phases(roles) is not None


def reading_place(roles: Sequence[str], named: str = "") -> int:
    """The place of the phase on which a result is read: the one that the bundle names.

    By default the first after contrast, where a tumour shines; where no role says so, the first.
    """
    if named in roles:
        return roles.index(named)
    return next((at for at, role in enumerate(roles) if _is_after(role)), 0)


def curves(
    volumes: NDArray[np.float32],
    labels: NDArray[np.uint16],
    roles: Sequence[str],
    seconds: Sequence[float | None],
    *,
    own_scales: bool = False,
) -> tuple[Curve, ...]:
    """The curve of each lesion of `labels` (slices, rows, columns), numbered from 1 without a gap.

    `volumes` is (phases, slices, rows, columns) on the same voxels; `roles` and `seconds` (after
    the beginning of the first phase, None where not known) are those of its phases. With
    `own_scales` each phase was stored on a scale of its own, and so has a greatest value of its
    own. Raises ValueError when `is_dynamic` says no.
    """
    phases = _phases(roles)
    if phases is None:
        raise ValueError(f"the phases {', '.join(roles)} make no curve")
    if volumes.shape != (len(roles), *labels.shape):
        raise ValueError(f"volumes {volumes.shape} and lesions {labels.shape} do not match")
    made, top = [], None
    for number, box in enumerate(boxes(labels), 1):
        voxels = volumes[(slice(None), *box)][:, labels[box] == number]
        if own_scales:
            cut_off = any(
                _flat_at_greatest(of_phase[None]) and of_phase.max() == whole.max()
                for of_phase, whole in zip(voxels, volumes, strict=True)
            )
        elif cut_off := _flat_at_greatest(voxels):
            top = float(volumes.max()) if top is None else top
            cut_off = float(voxels.max()) == top
        means = tuple(voxels.mean(axis=1, dtype=np.float64).tolist())
        wash_in = None if cut_off else _percent(means[phases.after[0]], means[phases.before])
        kind = None if wash_in is None else _type(phases, means, seconds)
        made.append(Curve(tuple(roles), tuple(seconds), means, wash_in, kind))
    return tuple(made)


def _is_after(role: str) -> bool:
    """Whether the model calls a phase one after contrast."""
    return role.startswith("post") or role == "last"


def _phases(roles: Sequence[str]) -> _Phases | None:
    before = [at for at, role in enumerate(roles) if role.startswith("pre")]
    after = [at for at, role in enumerate(roles) if _is_after(role)]
    if not before or len(after) < 2 or [*before, *after] != list(range(len(roles))):
        return None
    return _Phases(before[-1], tuple(after))


def _type(
    phases: _Phases, means: Sequence[float], seconds: Sequence[float | None]
) -> WashOut | None:
    """The last phase against the greatest signal of the initial ones.

    Nothing states when contrast was injected, but it was after the phase before it had begun. So
    what began within `INITIAL_SECONDS` of that is initial for certain; the first phase after
    contrast is taken as such in any case, and the last must not be.
    """
    elapsed = [_elapsed(seconds[phases.before], seconds[at]) for at in phases.after]
    if None in elapsed:
        return None
    first, last = phases.after[0], phases.after[-1]
    initial = {first} | {
        at
        for at, after in zip(phases.after, elapsed, strict=True)
        if after is not None and after <= INITIAL_SECONDS
    }
    if last in initial:
        return None
    early = max(means[at] for at in initial)
    rises = [_percent(value, means[phases.before]) for value in (early, means[last])]
    change = _percent(means[last], early)
    if change is None or all(rise is None or rise <= CHANGE_PERCENT for rise in rises):
        return None
    if abs(change) <= CHANGE_PERCENT:
        return WashOut.PLATEAU
    return WashOut.PERSISTENT if change > 0 else WashOut.WASHOUT


def _elapsed(began: float | None, at: float | None) -> float | None:
    return None if began is None or at is None else at - began


def _percent(value: float, of: float) -> float | None:
    """By how much `value` is above `of`; None where there is nothing to compare with."""
    return 100.0 * (value - of) / of if of > 0 else None


def _flat_at_greatest(voxels: NDArray[np.float32]) -> bool:
    """Whether, in one of the phases of (phases, n), many voxels have the greatest value of all."""
    tied = int(np.count_nonzero(voxels == voxels.max(), axis=1).max())
    return tied > max(1, SATURATED_SHARE * int(voxels.shape[1]))
