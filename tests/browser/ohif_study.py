"""A study whose tumours are in some slices and not in others, and whose slices differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydicom import Dataset
from pydicom.uid import generate_uid

from infra.local.orthanc import OrthancNode
from messages.phases import DCE_ROLES
from messages.request import InputSeries
from tests.dicom_factory import Series
from tests.integration.lab import StoredStudy, orthanc_post

SLICES, SIDE = 12, 64

#: Slices, counted from 0, in which the larger tumour is, and its middle one.
MARKED = range(5, 8)
MIDDLE = 6

#: Slices with a smaller one, which come before.
SMALLER = range(1, 3)


def phases() -> list[Series]:
    """Four phases; in each but the first two blocks are brighter, of 3 x 10 x 12 and 2 x 5 x 5."""
    noise = np.random.default_rng(3).integers(0, 60, (SLICES, SIDE, SIDE))
    ramp = np.linspace(100, 300, SIDE)[None, None, :]
    study_uid, frame_uid = generate_uid(), generate_uid()
    made = []
    for number in range(len(DCE_ROLES)):
        pixels = (noise + ramp).astype(np.uint16)
        pixels[MARKED.start : MARKED.stop, 20:30, 24:36] += np.uint16(300 * number)
        pixels[SMALLER.start : SMALLER.stop, 40:45, 40:45] += np.uint16(300 * number)
        made.append(
            Series(
                slices=SLICES,
                rows=SIDE,
                columns=SIDE,
                study_uid=study_uid,
                frame_uid=frame_uid,
                time=f"10{15 + number}00",
                pixels=pixels,
            )
        )
    return made


def store(
    archive: OrthancNode, made: Sequence[Series], change: Callable[[Dataset], object] | None = None
) -> StoredStudy:
    """Store the phases, each instance after `change`."""
    inputs = []
    study_id = ""
    for role, series in zip(DCE_ROLES, made, strict=False):
        for dataset in series.datasets if change else ():
            change(dataset)
        for data in series.files():
            answer = orthanc_post(archive, "/instances", data)
        study_id = answer["ParentStudy"]
        inputs.append(
            InputSeries(
                role=role,
                series_id=answer["ParentSeries"],
                series_uid=series.series_uid,
                instance_count=series.slices,
            )
        )
    return StoredStudy(study_id, made[0].study_uid, tuple(inputs))
