"""Whether what was read is what pydicom's own decoder sees in the same files."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
from pydicom import Dataset, dcmread

from consumer.memory import MemoryFile
from consumer.payloads import VolumeHeader
from tests.bad_inputs.study import Phase, Study


def wrong_values(study: Study, header: VolumeHeader, volumes: MemoryFile) -> str:
    """What is wrong with the volume of a study; empty where nothing is."""
    volume = volumes.open_array(header.shape, np.float32)
    if not np.isfinite(volume).all():
        return "a voxel is no number"
    for channel, phase in enumerate(study.phases):
        seen = _by_instance(phase)
        for place, (_, sop_instance_uid) in enumerate(header.instances[channel]):
            expected = seen.get(sop_instance_uid)
            if expected is None:
                continue
            if expected.shape != volume.shape[2:]:
                return f"a slice of {expected.shape} was read as {volume.shape[2:]}"
            if not np.allclose(volume[channel, place], expected, rtol=1e-5, atol=1e-3):
                return "a slice was read with other values than pydicom reads"
    return ""


def _by_instance(phase: Phase) -> dict[str, np.ndarray]:
    """Rescaled values of the instances that say plainly what they are, by their UID.

    Left out: what pydicom cannot read, frames, what occurs twice, values beside the lowest bits
    (pydicom leaves them there), padding, and what no header says.
    """
    found: dict[str, np.ndarray] = {}
    twice = set()
    for data in phase.files:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ds = dcmread(BytesIO(data))
                uid = str(ds.SOPInstanceUID)
                values = _values(ds)
            except Exception:  # noqa: BLE001, S112 - pydicom raises anything on a changed file
                continue
        if uid in found:
            twice.add(uid)
        if values is not None:
            found[uid] = values
    return {uid: values for uid, values in found.items() if uid not in twice}


def _values(ds: Dataset) -> np.ndarray | None:
    plain = (
        int(ds.get("NumberOfFrames") or 1) == 1
        and "PerFrameFunctionalGroupsSequence" not in ds
        and "PixelPaddingValue" not in ds
        and ds.HighBit == ds.BitsStored - 1
    )
    if not plain:
        return None
    slope, intercept = ds.get("RescaleSlope"), ds.get("RescaleIntercept")
    values: np.ndarray = ds.pixel_array.astype(np.float64)
    values *= 1.0 if slope is None else float(slope)
    return values + (0.0 if intercept is None else float(intercept))
