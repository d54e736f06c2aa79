"""The slices of a phase in the order in which a reader scrolls through them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from messages.request import PhaseSelector
from web.orthanc.archive import Orthanc, archive, checked_id
from web.orthanc.errors import SeriesChanged, SeriesNotFound, SliceNotFound, UnreadableResult
from web.orthanc.keeping import Keeping
from web.orthanc.time_budget import within
from web.phases.images import Image, images_of
from web.phases.members import members

#: Seconds for which a process keeps the order of a series. Scrolling asks for it with every slice;
#: a series that is still arriving is seen complete this much later.
KEPT_SECONDS = 30

#: Images of the phases whose order a process keeps, some hundred bytes each.
KEPT_IMAGES = 100_000


@dataclass(frozen=True)
class Stack:
    """A series, or a phase of it, in InstanceNumber order; frames in the order of their file."""

    study_id: str
    series_id: str
    slices: tuple[Image, ...]

    def at(self, index: int) -> Image:
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
    study_id: str,
    series_id: str,
    slices: int | None = None,
    *,
    phase: PhaseSelector | None = None,
    orthanc: Orthanc | None = None,
) -> Stack:
    """Return the slices of a series of that study, from `orthanc` itself or as they are kept.

    With a `phase` those of that phase alone. With `slices`, the number that the page knows of: an
    instance that arrives late moves the indices of those behind it. Raises `SeriesChanged` then,
    and `NotAnOrthancId`, `SeriesNotFound` (also for a series of another study), `PhaseNotFound` or
    `ArchiveUnavailable`.
    """
    checked_id(study_id)
    checked_id(series_id)
    with within():
        if orthanc is not None:
            stack = read_stack(orthanc, series_id, phase)
        else:
            period = int(time.monotonic() // KEPT_SECONDS)
            asked = _Asked(archive(), series_id, phase, period)
            stack = _kept(asked)
            if slices is not None and len(stack.slices) != slices:
                # The page may know of more than what is kept: read again, once for that number.
                stack = _kept(replace(asked, slices=slices))
    if stack.study_id != study_id:
        raise SeriesNotFound("the series belongs to another study")
    if slices is not None and len(stack.slices) != slices:
        raise SeriesChanged(f"the series has {len(stack.slices)} slices, the page knows {slices}")
    return stack


def read_stack(orthanc: Orthanc, series_id: str, phase: PhaseSelector | None = None) -> Stack:
    """Read the order of a series from the archive: two calls, more for multi-frame objects.

    Which images are of a `phase` may take one more, or one for each. Raises as `stack_of` does.
    """
    series = orthanc.json("series", series_id)
    is_mr = series.get("MainDicomTags", {}).get("Modality") == "MR"
    images = images_of(orthanc, series_id, multi_frame=is_mr)
    if phase is not None:
        images = members(orthanc, series, images, phase)
    return Stack(series["ParentStudy"], series_id, images)


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
    # Not each with each: two series of ten thousand would take 800 MB.
    order = np.argsort(offered, kind="stable")
    ordered = offered[order]
    above = np.clip(np.searchsorted(ordered, wanted), 1, max(len(ordered) - 1, 1))
    above = np.minimum(above, len(ordered) - 1)
    below = np.maximum(above - 1, 0)
    is_below = np.abs(wanted - ordered[below]) <= np.abs(ordered[above] - wanted)
    place = np.where(is_below, below, above)
    if np.any(np.abs(wanted - ordered[place]) > tolerance):
        raise UnreadableResult("a slice has no counterpart at the same place")
    # Of several at the same place the first.
    first = np.searchsorted(ordered, ordered[place])
    found: NDArray[np.intp] = order[first]
    return found


@dataclass(frozen=True)
class _Asked:
    """What a kept stack is kept by."""

    orthanc: Orthanc
    series_id: str
    phase: PhaseSelector | None
    period: int
    slices: int | None = None


_stacks: Keeping[_Asked, Stack] = Keeping(KEPT_IMAGES, lambda one: 1 + len(one.slices))


def _kept(asked: _Asked) -> Stack:
    return _stacks.or_read(asked, lambda: read_stack(asked.orthanc, asked.series_id, asked.phase))
