"""Compares a stored segmentation with the phantom's truth, by way of highdicom's own reader."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from highdicom.seg import segread


def dice(segmentation: bytes, truth_file: Path) -> float:
    """Dice overlap of a stored SEG with the truth, voxel for voxel; 1.0 when both are empty.

    2 |A and B| / (|A| + |B|), Dice 1945. The truth file holds ``truth`` (slices, rows, columns)
    and the SOP Instance UIDs of the first phase in the same slice order.
    """
    with np.load(truth_file) as file:
        truth = file["truth"].astype(bool)
        uids = [str(uid) for uid in file["sop_instance_uids"]]
    frames = segread(BytesIO(segmentation)).get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    found = frames.astype(bool)
    total = int(found.sum() + truth.sum())
    return 1.0 if total == 0 else 2.0 * int((found & truth).sum()) / total
