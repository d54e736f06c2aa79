"""Whether two readings are the same image: the same voxels at the same places in the patient.

How a reader counts rows, columns and slices, and from which corner, does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from tests.datasets.readers import Volume

#: mm between two readings of one voxel's centre: a lab allows a slice 0.175 mm off its place.
POSITION_MM = 0.25

#: Of the range of values: readers compute rescaled values in other types than ours.
VALUE_SHARE = 1e-4


def differs(ours: Volume, theirs: Sequence[Volume]) -> str:
    """How the closest of a reader's volumes differs from ours; empty where one is the same.

    Begins with ``distance`` where only the slices lie closer or farther in theirs: then the files
    decide, which say of each slice where it lies.
    """
    answers = [_differs(ours, one) for one in theirs]
    answers += [
        _other_distance(ours, one)
        for one, answer in zip(theirs, answers, strict=True)
        if answer.startswith("place") and one.affine is not None
    ]
    return min((one for one in answers if one != "no"), key=_closeness, default="nothing was read")


def frames_differ(ours: Volume, theirs: Sequence[Volume]) -> str:
    """The same where a reader knows no grid of frames: each of our slices must be one of them."""
    frames = [frame for one in theirs for frame in one.voxels]
    if not frames:
        return "nothing was read"
    if {frame.shape for frame in frames} != {ours.voxels.shape[1:]}:
        return f"frames of {_shape(frames[0])}, not {_shape(ours.voxels[0])}"
    means = np.array([float(np.mean(frame)) for frame in frames])
    for number, ours_slice in enumerate(ours.voxels, 1):
        near = np.argsort(np.abs(means - float(np.mean(ours_slice))))
        if not any(_same_values(ours_slice, frames[place]) for place in near[:50]):
            return f"no frame has the values of slice {number}"
    return ""


def _closeness(answer: str) -> int:
    return ["", "distance", "scale", "values", "place", "shape"].index(answer.partition(":")[0])


def _other_distance(ours: Volume, theirs: Volume) -> str:
    """Compare once more with our distance of slices, from their first or their last slice on."""
    assert ours.affine is not None
    assert theirs.affine is not None
    step, own = theirs.affine[:3, 0], ours.affine[:3, 0]
    wanted = own if float(step @ own) > 0 else -own
    slices = theirs.voxels.shape[0]
    for kept in (0, slices - 1):
        changed = theirs.affine.copy()
        changed[:3, 0] = wanted
        changed[:3, 3] += kept * (step - wanted)
        if slices > 1 and not _differs(ours, Volume(theirs.voxels, changed)):
            found, expected = (float(np.linalg.norm(one)) for one in (step, own))
            return f"distance: {found:.4f} mm between slices, not {expected:.4f}"
    return "no"


def _differs(ours: Volume, theirs: Volume) -> str:
    if sorted(ours.voxels.shape) != sorted(theirs.voxels.shape):
        return f"shape: {_shape(theirs.voxels)}, not {_shape(ours.voxels)}"
    if theirs.affine is None or ours.affine is None:
        return "place: none is told"
    turned = _onto(ours, theirs)
    if isinstance(turned, str):
        return turned
    if _same_values(ours.voxels, turned):
        return ""
    factor = _factor(ours.voxels, turned)
    if factor is not None:
        return f"scale: {factor:.6g} times ours"
    apart = ~np.isclose(ours.voxels, turned, rtol=0, atol=_tolerance(turned))
    return f"values: {int(apart.sum())} of {apart.size} voxels"


def _onto(ours: Volume, theirs: Volume) -> np.ndarray | str:
    """Their voxels in our order, or how their places differ from ours."""
    single = ours.voxels.shape[0] == 1
    mine, other = (_with_normal(one.affine) if single else one.affine for one in (ours, theirs))
    try:
        onto = np.linalg.inv(other) @ mine
    except np.linalg.LinAlgError:
        return "place: none is told"
    turn = np.rint(onto[:3, :3]).astype(int)
    ones = np.ones(3, int)
    if not (np.abs(turn) @ ones == ones).all() or not (ones @ np.abs(turn) == ones).all():
        return "place: other directions or distances"
    shift = np.rint(onto[:3, 3])
    far = 0.0
    for corner in product(*((0, size - 1) for size in ours.voxels.shape)):
        ideal = turn @ np.array(corner) + shift
        found = other @ np.append(ideal, 1.0)
        far = max(far, float(np.linalg.norm((found - mine @ np.append(corner, 1.0))[:3])))
    if far > POSITION_MM:
        return f"place: {far:.2f} mm away"
    turned = _turned(theirs.voxels, turn, shift, ours.voxels.shape)
    return "place: whole voxels away" if turned is None else turned


def _factor(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """By which one number all of their values are ours; None where it is none."""
    brightest = np.unravel_index(int(np.argmax(np.abs(ours))), ours.shape)
    if not ours[brightest] or not theirs[brightest]:
        return None
    factor = float(theirs[brightest]) / float(ours[brightest])
    return factor if _same_values(ours.astype(np.float64) * factor, theirs) else None


def _with_normal(affine: np.ndarray) -> np.ndarray:
    """One slice has no distance to the next: 1 mm along its normal for all readers."""
    changed = affine.copy()
    normal = np.cross(affine[:3, 2], affine[:3, 1])
    changed[:3, 0] = normal / (np.linalg.norm(normal) or 1.0)
    return changed


def _turned(
    voxels: np.ndarray, turn: np.ndarray, shift: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray | None:
    """The other's voxels in our order; None where their corners are not ours."""
    axes = [int(np.argmax(np.abs(turn[:, ours]))) for ours in range(3)]
    moved = np.transpose(voxels, axes)
    if moved.shape != shape:
        return None
    for ours, theirs in enumerate(axes):
        backwards = turn[theirs, ours] < 0
        if shift[theirs] != (moved.shape[ours] - 1 if backwards else 0):
            return None
        if backwards:
            moved = np.flip(moved, ours)
    return moved


def _tolerance(values: np.ndarray) -> float:
    return VALUE_SHARE * float(np.ptp(values.astype(np.float64))) + 1e-3


def _same_values(ours: np.ndarray, theirs: np.ndarray) -> bool:
    if ours.shape != theirs.shape:
        return False
    return bool(np.allclose(ours, theirs, rtol=0, atol=_tolerance(theirs)))


def _shape(voxels: np.ndarray) -> str:
    return "×".join(map(str, voxels.shape))
