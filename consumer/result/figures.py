"""The figures of a result: all its lesions together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from consumer.payloads import Figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from consumer.result.lesions import Lesion


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
