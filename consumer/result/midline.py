"""The middle between two breasts, from the images: the sternum between two hills of tissue.

Patient coordinates (LPS): x grows to the patient's left and y to the back, however the slices run
and however the patient lies in the scanner. x = 0 is the middle of the scanner or of the planned
field, not of the patient. So the midline is looked for: seen from the head, the front of the body
has two hills, the breasts, and a valley between them. Where these are not seen it is not known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: mm of the blocks of voxels that are looked at, and the width of a column of them along x: finer
#: than the margin within which no side is stated, and a few voxels of noise are nothing.
_STEP_MM, _COLUMN_MM = 4.0, 6.0

#: Of the voxels along the body, at one x and y, the share that must be tissue where the body is. A
#: breast is half of the usual field along z; noise and a nipple are less than this.
_TISSUE_SHARE = 0.25

#: mm by which both breasts must rise above the valley between them. Breasts that touch each other
#: in the middle, or one that is missing, leave less: then no midline is found.
_RISE_MM = 15.0

#: mm from the midline to the foremost part of each breast, at least and at most, and how unlike
#: both may be. A fold within one breast is nearer, an arm is farther away.
_APART_MM = (40.0, 170.0)
_UNLIKE = 1.5

#: mm of tissue beside the midline, on both sides at least: the field of a single breast, 150 to
#: 200 mm wide, has not as much on both sides of any place in it.
_REACH_MM = 100.0

#: mm along the body that are in view, at least: in a slab through the end of a breast the valley
#: lies elsewhere.
_ALONG_MM = 80.0

#: Part of the rise up to which the valley is measured whose middle the midline is.
_VALLEY = 0.5

#: Columns of which a hill must have.
_HILL_COLUMNS = 6

#: Bins of the histogram by which tissue is told from air, and the percentiles that bound it.
_BINS, _WINDOW = 128, (0.5, 99.0)


def midline_x(voxels: NDArray[np.float32], affine_lps: Sequence[Sequence[float]]) -> float | None:
    """X in mm (LPS) of the middle between two breasts; None where both are not seen.

    `voxels` are (slices, rows, columns) of a phase, best one before contrast; `affine_lps` leads
    from (slice, row, column, 1) to mm.
    """
    affine = np.asarray(affine_lps, np.float64)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    blocks = [
        min(max(1, int(_STEP_MM / step)), n) for step, n in zip(steps, voxels.shape, strict=True)
    ]
    small = _means(voxels, blocks)
    level = _air_below(small)
    if level is None:
        return None
    # From the number of a block to the middle of its voxels.
    into = np.diag([*map(float, blocks), 1.0])
    into[:3, 3] = (np.array(blocks) - 1) / 2
    return _between(small > level, affine @ into)


def _means(voxels: NDArray[np.float32], blocks: Sequence[int]) -> NDArray[np.float32]:
    """The mean of each whole block of so many slices, rows and columns: noise goes, bodies stay."""
    found = voxels
    for axis, size in enumerate(blocks):
        count = found.shape[axis] // size
        whole = found[(slice(None),) * axis + (slice(0, count * size),)]
        parts = whole.reshape(*found.shape[:axis], count, size, *found.shape[axis + 1 :])
        found = parts.mean(axis=axis + 1, dtype=np.float32)
    return found


def _air_below(voxels: NDArray[np.float32]) -> float | None:
    """The value that tells tissue from air: halfway from air to Otsu's, of the square roots.

    Of the values themselves his would part bright fat from all else, and where a coil is far even
    suppressed fat lies below it. None where all are alike.
    """
    low, high = np.percentile(voxels, _WINDOW)
    if not high > low:
        return None
    roots = np.sqrt(np.clip((voxels - low) / (high - low), 0.0, 1.0))
    counts, edges = np.histogram(roots, _BINS, (0.0, 1.0))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(np.float64)
    above = counts.sum() - below
    sums = np.cumsum(counts * middles)
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
        between = np.nan_to_num(below * above * apart**2)
    otsu = float(edges[1 + int(between.argmax())])
    root = (float(np.median(roots[roots <= otsu])) + otsu) / 2
    return float(low + root**2 * (high - low))


def _between(tissue: NDArray[np.bool_], affine: NDArray[np.float64]) -> float | None:
    """X of the valley between two hills of the front of the body; None where there are none."""
    along = np.abs(affine[2, :3]) @ np.array(tissue.shape)
    if along < _ALONG_MM:
        return None
    # x and y of every voxel, whichever way the slices run.
    axes = np.ogrid[tuple(slice(0, count) for count in tissue.shape)]
    x, y = (
        np.broadcast_to(
            sum(affine[row, axis] * axes[axis] for axis in range(3)) + affine[row, 3], tissue.shape
        ).ravel()
        for row in (0, 1)
    )
    width = max(_COLUMN_MM, *(1.01 * np.abs(affine[:2, :3]).max(axis=1)))
    columns = ((x - x.min()) / width).astype(np.intp)
    lines = ((y - y.min()) / width).astype(np.intp)
    shape = (int(columns.max()) + 1, int(lines.max()) + 1)
    at = columns * shape[1] + lines
    size = shape[0] * shape[1]
    seen = np.bincount(at, minlength=size).reshape(shape)
    marked = np.bincount(at, tissue.ravel(), minlength=size).reshape(shape)
    body = marked > _TISSUE_SHARE * seen
    if not body.any():
        return None
    # How far forward the body reaches in each column, in mm; to the front y falls.
    front = np.where(body.any(axis=1), (shape[1] - body.argmax(axis=1)) * width, 0.0)
    place = _valley(front, width)
    return None if place is None else float(x.min() + (place + 0.5) * width)


def _valley(front: NDArray[np.float64], width: float) -> float | None:
    """Place of the valley between the hills, in columns; None where both are not breasts."""
    rise = (
        np.minimum(np.maximum.accumulate(front), np.maximum.accumulate(front[::-1])[::-1]) - front
    )
    # Tissue all along: a gap without any is the field's end, or somebody's arm beside the body.
    rise[front <= 0.0] = 0.0
    deepest = int(rise.argmax())
    if rise[deepest] < _RISE_MM:
        return None
    low = front[deepest]
    level = low + _VALLEY * rise[deepest]
    left = deepest - int((front[deepest::-1] > level).argmax())
    right = deepest + int((front[deepest:] > level).argmax())
    middle = (left + right) / 2
    apart = []
    for hill, start in ((front[: left + 1], 0), (front[right:], right)):
        top = np.flatnonzero(hill >= hill.max() - width)
        apart.append(abs(start + float(top.mean()) - middle) * width)
        if np.count_nonzero(hill > level) < _HILL_COLUMNS:
            return None
    reach = [
        width * np.count_nonzero(front[: round(middle)] > 0.0),
        width * np.count_nonzero(front[round(middle) + 1 :] > 0.0),
    ]
    near, far = min(apart), max(apart)
    fits = _APART_MM[0] <= near and far <= _APART_MM[1] and far <= _UNLIKE * near
    return middle if fits and min(reach) >= _REACH_MM else None
