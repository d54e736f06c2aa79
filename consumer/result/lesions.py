"""A mask is split into lesions; each lesion is measured, and all of them together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects, generate_binary_structure, label

from consumer.payloads import Figures
from consumer.result.diameters import longest_diameter_mm, longest_in_plane_mm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


#: Voxels that touch by face, edge or corner belong to one lesion.
_NEIGHBOURS = generate_binary_structure(3, 3)

#: Most lesions of one result. A reader looks at a few; hundreds are a model that failed, and a SEG
#: with as many segments is slow to open.
MAX_LESIONS = 64

#: Share of the smallest size by which a lesion may miss it: a product of three decimal spacings
#: is not exact in binary.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Split:
    """Lesions as numbered voxels."""

    #: uint16 (slices, rows, columns): 0 is none, k is lesion k, 1 the largest.
    labels: NDArray[np.uint16]
    #: Connected marks that are no lesion: too small, or beyond `MAX_LESIONS`.
    left_out: int


@dataclass(frozen=True)
class Lesion:
    """What is measured of a lesion. docs/measures.md says what each figure is and is not."""

    #: From 1, the largest first.
    number: int
    voxels: int
    volume_ml: float
    #: In three dimensions.
    longest_diameter_mm: float
    #: Within one slice, in the slice in which it is longest.
    longest_in_plane_mm: float
    #: That slice, from 0 at the first slice of the series.
    in_plane_slice: int
    #: First and last slice, counted alike. Being connected, it is in every slice between.
    slices: tuple[int, int]


def split(mask: NDArray[np.bool_], spacing: tuple[float, float, float], min_mm3: float) -> Split:
    """Connected marks of a mask (slices, rows, columns), largest first, of at least `min_mm3`.

    `spacing` is in mm in the same order. Marks of one size keep the order of their first voxels,
    so that the same mask is always split the same way. 0 keeps every mark.
    """
    labels = np.zeros(mask.shape, np.uint16)
    box = _box(mask)
    if box is None:
        return Split(labels, 0)
    marked = mask[box]
    found = label(marked, structure=_NEIGHBOURS)[0][marked]
    sizes = np.bincount(found)[1:]
    largest_first = np.argsort(-sizes, kind="stable")
    large = sizes[largest_first] * float(np.prod(spacing)) >= min_mm3 * (1.0 - _ROUNDING)
    kept = largest_first[large][:MAX_LESIONS]
    numbers = np.zeros(len(sizes) + 1, np.uint16)
    numbers[kept + 1] = np.arange(1, len(kept) + 1)
    labels[box][marked] = numbers[found]
    return Split(labels, len(sizes) - len(kept))


def measure(
    labels: NDArray[np.uint16], spacing: tuple[float, float, float], first_slice: int
) -> tuple[Lesion, ...]:
    """Measure each lesion of `labels` (slices, rows, columns), numbered from 1 without a gap.

    `spacing` is in mm in the same order; the first slice of `labels` is `first_slice` of the
    series. Volume is the number of voxels times the voxel's volume.
    """
    voxel_ml = float(np.prod(spacing)) / 1000.0  # 1 ml = 1000 mm^3
    lesions = []
    for number, box in enumerate(boxes(labels), 1):
        lesion = labels[box] == number
        voxels = int(np.count_nonzero(lesion))
        in_plane_mm, widest = longest_in_plane_mm(lesion, spacing)
        start = first_slice + box[0].start
        lesions.append(
            Lesion(
                number=number,
                voxels=voxels,
                volume_ml=voxels * voxel_ml,
                longest_diameter_mm=longest_diameter_mm(lesion, spacing),
                longest_in_plane_mm=in_plane_mm,
                in_plane_slice=start + widest,
                slices=(start, first_slice + box[0].stop - 1),
            )
        )
    return tuple(lesions)


def boxes(labels: NDArray[np.uint16]) -> list[tuple[slice, slice, slice]]:
    """The smallest box with lesion 1, 2, … of `labels`. Raises ValueError where one is missing."""
    whole = _box(labels > 0)
    if whole is None:
        return []
    found = []
    for number, box in enumerate(find_objects(labels[whole]), 1):
        if box is None:
            raise ValueError(f"there is no lesion {number}")
        z, y, x = (
            slice(outer.start + inner.start, outer.start + inner.stop)
            for outer, inner in zip(whole, box, strict=True)
        )
        found.append((z, y, x))
    return found


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...] | None:
    """The smallest box with every mark; most of a breast has none."""
    box: list[slice] = []
    part = mask
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        marked = np.flatnonzero(part.any(axis=others))
        if not marked.size:
            return None
        box.append(slice(int(marked[0]), int(marked[-1]) + 1))
        part = part[(slice(None),) * axis + (box[-1],)]
    return tuple(box)


def figures(
    mask: NDArray[np.bool_],
    lesions: Sequence[Lesion],
    spacing: tuple[float, float, float],
    slices: int,
) -> Figures:
    """Figures of a mask (slices, rows, columns), whose `spacing` is in mm in the same order.

    Volume is the number of marked voxels times the voxel's volume. The longest diameter, in 3D, is
    that of the lesion in which it is longest; two foci far apart are not one long tumour. `slices`
    is the number of slices of the series, which may be more than the mask has.
    """
    voxels = int(np.count_nonzero(mask))
    return Figures(
        tumor_detected=voxels > 0,
        volume_voxels=voxels,
        # 1 ml = 1000 mm^3
        volume_ml=voxels * float(np.prod(spacing)) / 1000.0,
        longest_diameter_mm=max((lesion.longest_diameter_mm for lesion in lesions), default=0.0),
        slices=slices,
        slices_with_tumor=int(np.count_nonzero(mask.any(axis=(1, 2)))),
    )
