"""Which connected lesion is which segment: in a mask that comes, and in a SEG that is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects

from consumer.result.lesions import MAX_LESIONS, split

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from consumer.result.segmentation import StoredMask


@dataclass(frozen=True)
class Segments:
    """Lesions as numbered voxels, largest first."""

    #: uint16 (slices, rows, columns): 0 is none, k is lesion k.
    labels: NDArray[np.uint16]
    #: Of lesion k at place k - 1: the value of the mask, or the segment of the SEG, that it has.
    kinds: tuple[int, ...]
    #: Marks that are no lesion: below the smallest size, or beyond `MAX_LESIONS`.
    left_out: int


def segments_of(
    mask: NDArray[np.uint8], spacing: tuple[float, float, float], min_mm3: float
) -> Segments:
    """Lesions of a mask (slices, rows, columns) with `spacing` in mm in the same order.

    Voxels of different values are different things and never one lesion. Nothing below `min_mm3`
    is one, and no more than `MAX_LESIONS` are.
    """
    labels = np.zeros(mask.shape, np.uint16)
    found: list[tuple[int, int, NDArray[np.uint16], NDArray[np.bool_]]] = []
    left_out = 0
    # Each value in the smallest box that holds it: most of a breast is nothing.
    for kind, box in enumerate(find_objects(mask), 1):
        if box is None:
            continue
        parts = split(mask[box] == kind, spacing, min_mm3)
        left_out += parts.left_out
        for number, part in enumerate(find_objects(parts.labels), 1):
            voxels = parts.labels[part] == number
            found.append((int(np.count_nonzero(voxels)), kind, labels[box][part], voxels))
    # Stable: what is equally large stays in the order of its values.
    found.sort(key=lambda item: -item[0])
    for number, (_, _, place, voxels) in enumerate(found[:MAX_LESIONS], 1):
        place[voxels] = number
    kinds = tuple(kind for _, kind, _, _ in found[:MAX_LESIONS])
    return Segments(labels, kinds, left_out + len(found) - len(kinds))


def stored_segments(stored: StoredMask) -> Segments:
    """Lesions of a stored SEG, each with the number of its segment.

    A SEG of now has one segment for each; those written before had one for all of a label.
    """
    return segments_of(stored.segments, stored.spacing, 0.0)
