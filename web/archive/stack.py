"""The slices of a series in the order in which a reader scrolls through them."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from web.archive.errors import SeriesChanged, SeriesNotFound, SliceNotFound, UnreadableResult
from web.archive.orthanc import Orthanc, archive, checked_id

#: Seconds for which a process keeps the order of a series. Scrolling asks for it with every slice;
#: a series that is still arriving is seen complete this much later.
KEPT_SECONDS = 30

#: Series whose order a process keeps.
_KEPT_SERIES = 64

_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")


@dataclass(frozen=True)
class Slice:
    """One instance of a series. Positions as DICOM has them: millimetres, patient axes."""

    instance_id: str
    sop_instance_uid: str
    #: InstanceNumber, or None.
    number: int | None
    #: ImagePositionPatient: three numbers, or None.
    position: tuple[float, ...] | None
    #: ImageOrientationPatient: six numbers, or None.
    orientation: tuple[float, ...] | None


@dataclass(frozen=True)
class Stack:
    """A series in InstanceNumber order."""

    study_id: str
    series_id: str
    slices: tuple[Slice, ...]

    def at(self, index: int) -> Slice:
        """The slice at `index`, from 0; raises `SliceNotFound`."""
        if not 0 <= index < len(self.slices):
            raise SliceNotFound(f"the series has {len(self.slices)} slices")
        return self.slices[index]

    def along_normal(self) -> NDArray[np.float64] | None:
        """Distance of each slice from the origin along the normal, in mm; None where unknown."""
        orientation = self.slices[0].orientation if self.slices else None
        positions = [s.position for s in self.slices if s.position is not None]
        if orientation is None or len(positions) != len(self.slices):
            return None
        normal = np.cross(orientation[:3], orientation[3:])
        return np.asarray(positions, dtype=np.float64) @ normal


def stack_of(
    study_id: str, series_id: str, slices: int | None = None, *, orthanc: Orthanc | None = None
) -> Stack:
    """Return the slices of a series of that study, from `orthanc` itself or as they are kept.

    With `slices`, the number that the page knows of: an instance that arrives late moves the
    indices of those behind it. Raises `SeriesChanged` then, and `NotAnOrthancId`,
    `SeriesNotFound` (also for a series of another study) or `ArchiveUnavailable`.
    """
    checked_id(study_id)
    checked_id(series_id)
    if orthanc is not None:
        stack = read_stack(orthanc, series_id)
    else:
        period = int(time.monotonic() // KEPT_SECONDS)
        stack = _kept(archive(), series_id, period)
        if slices is not None and len(stack.slices) != slices:
            # The page may know of more than what is kept: read again, once for that number.
            stack = _kept(archive(), series_id, period, slices)
    if stack.study_id != study_id:
        raise SeriesNotFound("the series belongs to another study")
    if slices is not None and len(stack.slices) != slices:
        raise SeriesChanged(f"the series has {len(stack.slices)} slices, the page knows {slices}")
    return stack


def read_stack(orthanc: Orthanc, series_id: str) -> Stack:
    """Read the order of a series from the archive: two calls."""
    study_id = orthanc.json("series", series_id)["ParentStudy"]
    items = orthanc.json("series", series_id, "/instances")
    return Stack(study_id, series_id, tuple(_slice(item) for item in sorted(items, key=_order)))


def corresponding(first: Stack, other: Stack) -> tuple[int, ...]:
    """For each slice of `first`, the index of the slice of `other` at the same place.

    Phases usually count their instances in the same direction, but nothing obliges them to.
    Where positions are missing the order is taken as it is. Raises `UnreadableResult` when a
    slice has no counterpart.
    """
    here, there = first.along_normal(), other.along_normal()
    if here is None or there is None:
        if len(first.slices) != len(other.slices):
            raise UnreadableResult("the series have different numbers of slices and no positions")
        return tuple(range(len(first.slices)))
    return tuple(int(i) for i in nearest(here, there))


def nearest(wanted: NDArray[np.float64], offered: NDArray[np.float64]) -> NDArray[np.intp]:
    """Index into `offered` of the value nearest to each of `wanted`, within half a slice gap."""
    gaps = np.diff(np.unique(np.round(offered, 3)))
    tolerance = float(np.median(gaps)) / 2 if gaps.size else 0.5
    distance = np.abs(wanted[:, np.newaxis] - offered[np.newaxis, :])
    if np.any(distance.min(axis=1) > tolerance):
        raise UnreadableResult("a slice has no counterpart at the same place")
    found: NDArray[np.intp] = distance.argmin(axis=1)
    return found


@lru_cache(maxsize=_KEPT_SERIES)
def _kept(orthanc: Orthanc, series_id: str, _period: int, _slices: int | None = None) -> Stack:
    return read_stack(orthanc, series_id)


def _slice(item: dict[str, Any]) -> Slice:
    tags = item["MainDicomTags"]
    return Slice(
        instance_id=item["ID"],
        sop_instance_uid=tags["SOPInstanceUID"],
        number=_number(tags.get("InstanceNumber", "")),
        position=_numbers(tags.get("ImagePositionPatient", ""), 3),
        orientation=_numbers(tags.get("ImageOrientationPatient", ""), 6),
    )


def _order(item: dict[str, Any]) -> tuple[bool, int, str]:
    number = _number(item["MainDicomTags"].get("InstanceNumber", ""))
    return (number is None, number or 0, item["MainDicomTags"]["SOPInstanceUID"])


def _number(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text.strip()) else None


def _numbers(text: str, count: int) -> tuple[float, ...] | None:
    try:
        values = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return None
    return values if len(values) == count else None
