"""The figures of a result: what they mean, and how they are computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects, generate_binary_structure, label
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist

from consumer.handover import Figures

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Voxels that touch by face, edge or corner belong to one lesion.
_NEIGHBOURS = generate_binary_structure(3, 3)


def figures(mask: NDArray[np.bool_], spacing: tuple[float, float, float], slices: int) -> Figures:
    """Figures of a mask (slices, rows, columns), whose `spacing` is in mm in the same order.

    Volume is the number of marked voxels times the voxel's volume. `slices` is the number of
    slices of the series, which may be more than the mask has.
    """
    voxels = int(np.count_nonzero(mask))
    return Figures(
        tumor_detected=voxels > 0,
        volume_voxels=voxels,
        # 1 ml = 1000 mm^3
        volume_ml=voxels * float(np.prod(spacing)) / 1000.0,
        longest_diameter_mm=longest_diameter_mm(mask, spacing),
        slices=slices,
        slices_with_tumor=int(np.count_nonzero(mask.any(axis=(1, 2)))),
    )


def longest_diameter_mm(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    """Longest diameter in 3D, in mm, of the lesion in which it is longest; 0 for an empty mask.

    The greatest distance between two vertices of the lesion's surface mesh: the "maximum 3D
    diameter" L0JK of the Image Biomarker Standardisation Initiative. Of a binary mask, the mesh
    at level 0.5 has its vertices halfway between a marked voxel's centre and its unmarked
    neighbour's; a single voxel is as long as its longest edge. A lesion is a set of voxels
    connected by faces, edges or corners: two foci far apart are not one long tumour.
    """
    lesions, count = label(mask, structure=_NEIGHBOURS)
    longest = 0.0
    boxes = [(number, box) for number, box in enumerate(find_objects(lesions), 1) if box]
    # Largest box first: a lesion is never longer than its box, and so most specks are skipped.
    boxes.sort(key=lambda item: -_diagonal(item[1], spacing))
    for number, box in boxes[:count]:
        if _diagonal(box, spacing) <= longest:
            break
        longest = max(longest, _diameter(lesions[box] == number, spacing))
    return longest


def _diagonal(box: tuple[slice, ...], spacing: tuple[float, float, float]) -> float:
    return float(
        np.linalg.norm([(s.stop - s.start) * d for s, d in zip(box, spacing, strict=True)])
    )


def _diameter(lesion: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    vertices = np.concatenate([_ends(lesion, axis) for axis in range(3)]) * np.array(spacing)
    # The two farthest points of a set are corners of its convex hull. There is always a hull:
    # even one voxel has six vertices in three dimensions.
    return float(pdist(vertices[ConvexHull(vertices).vertices]).max())


def _ends(lesion: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """Mesh vertices before the first and after the last voxel of every line along `axis`.

    Vertices between these two lie inside the hull. In voxels, (n, 3).
    """
    across = np.nonzero(lesion.any(axis=axis))
    first = lesion.argmax(axis=axis)[across] - 0.5
    last = lesion.shape[axis] - np.flip(lesion, axis).argmax(axis=axis)[across] - 0.5
    return np.concatenate(
        [np.insert(np.stack(across, 1).astype(float), axis, e, 1) for e in (first, last)]
    )
