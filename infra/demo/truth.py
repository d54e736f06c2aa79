"""Compares a stored segmentation with the phantom's truth, by way of highdicom's own reader."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from highdicom.seg import segread


def dice(segmentation: bytes, truth_file: Path) -> float:
    """Dice overlap of a stored SEG with the truth, voxel for voxel; 1.0 when both are empty.

    2 |A and B| / (|A| + |B|), Dice 1945. The truth file holds ``truth`` (slices, rows, columns)
    and, in the same slice order, the SOP Instance UIDs of each phase (phases, slices), or of the
    first one alone where it was written before. Raises ValueError for a SEG of other images.
    """
    with np.load(truth_file) as file:
        truth = file["truth"].astype(bool)
        phases = [[str(uid) for uid in row] for row in np.atleast_2d(file["sop_instance_uids"])]
    seg = segread(BytesIO(segmentation))
    named = {str(uid) for _study, _series, uid in seg.get_source_image_uids()}
    uids = next((phase for phase in phases if named & set(phase)), None)
    if uids is None:
        raise ValueError("the segmentation refers to no image of the phantom")
    frames = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    found = frames.astype(bool)
    total = int(found.sum() + truth.sum())
    return 1.0 if total == 0 else 2.0 * int((found & truth).sum()) / total
