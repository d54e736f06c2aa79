"""A stored DICOM SEG as one mask for each slice of the series that it refers to."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom.multival import MultiValue

from web.orthanc.errors import UnreadableResult
from web.orthanc.stored_file import StoredFile
from web.phases.stack import Stack, nearest
from web.results.masks import Masks

T = TypeVar("T")

#: An image that a frame names: its UID, and its frame from 0 in a multi-frame object.
Source = tuple[str, int | None]

#: Two directions are the same when the cosine of their angle is at least this: 2.5 degrees.
_SAME_DIRECTION = 0.999


@dataclass(frozen=True)
class Marks:
    """What a SEG marks in a series."""

    #: By slice, in the order of the stack; all segments united.
    masks: Masks
    #: By segment number, the slice in which most of its pixels are marked; of several the middle
    #: one, in which a reader wants to see a lesion.
    largest: dict[int, int]


@dataclass(frozen=True)
class _Contents:
    """Of a SEG, by frame."""

    #: Functional groups.
    groups: list[Any]
    #: Segment numbers.
    segments: list[int | None]
    #: Of all frames.
    orientation: tuple[float, ...] | None


def marked_in(seg: StoredFile, stack: Stack, size: tuple[int, int] | None = None) -> Marks:
    """Return what the segments of a SEG mark in the slices of `stack`.

    Empty frames are usually left out of a SEG, and its frames may run the other way: each frame
    goes to the slice that it names, or else to the slice at its position. With a `size` (rows,
    columns) that of the images is known, and no pixel is looked at of a SEG of another one. Raises
    `UnreadableResult`.
    """
    known = _guarded(partial(_contents, seg.head))
    if not known.groups or len(known.groups) != _guarded(lambda: int(seg.head.NumberOfFrames)):
        raise UnreadableResult("the segmentation has another number of frames than it says")
    turn = _Turn.between(known.orientation, stack.at(0).orientation)
    turned = turn.size_of(seg.size())
    if size is not None and turned != size:
        raise UnreadableResult("the segmentation has another size than the images")
    indices = _guarded(partial(_slice_indices, known.groups, stack))
    masks, areas = Masks(turned), []
    for frame, index in zip(seg.frames(), indices, strict=True):
        marked = turn.of(frame)
        areas.append(int(np.count_nonzero(marked)))
        masks.add(index, marked)
    return Marks(masks, _largest(known.segments, indices, areas))


def place_referred(seg: StoredFile, stacks: Sequence[Stack]) -> int:
    """Which of several phases a SEG refers to: the one whose images it names most, from 0.

    Results of earlier versions refer to the first phase, and so does one that names no image.
    Raises `UnreadableResult`.
    """
    named = _guarded(partial(_named, seg.head))
    counts = [len(named & {(one.sop_instance_uid, one.frame) for one in s.slices}) for s in stacks]
    return counts.index(max(counts))


def _named(seg: Any) -> set[Source]:
    """The images that a SEG names in its frames, or at least in its list of them."""
    found = {one for g in seg.get("PerFrameFunctionalGroupsSequence", ()) for one in sources(g)}
    return found or {
        (str(instance.ReferencedSOPInstanceUID), None)
        for series in seg.get("ReferencedSeriesSequence", ())
        for instance in series.get("ReferencedInstanceSequence", ())
    }


def _largest(segments: list[int | None], indices: list[int], areas: list[int]) -> dict[int, int]:
    """By segment, the slice of its largest frame; the middle one of several."""
    found: dict[int, dict[int, int]] = {}
    for segment, index, area in zip(segments, indices, areas, strict=True):
        if segment is not None and area:
            found.setdefault(segment, {})[index] = area
    return {segment: _middle(of) for segment, of in sorted(found.items())}


def _middle(areas: dict[int, int]) -> int:
    """Of the slices with the largest area the one in the middle, of an even number the earlier."""
    largest = sorted(index for index, area in areas.items() if area == max(areas.values()))
    return largest[(len(largest) - 1) // 2]


def _segment(*groups: Any) -> int | None:
    """Which segment a frame is of; of one segment the groups that all frames share say it."""
    for group in groups:
        said = None if group is None else _first(group.get("SegmentIdentificationSequence"))
        if said is not None:
            return int(said.ReferencedSegmentNumber)
    return None


def _guarded(read: Callable[[], T]) -> T:
    """Run `read`; whatever pydicom raises on a foreign object becomes `UnreadableResult`."""
    try:
        return read()
    except UnreadableResult:
        raise
    except Exception as exc:  # noqa: BLE001 - anybody's object may break the parser in any way
        # Its text may quote what it read.
        raise UnreadableResult(f"the segmentation cannot be read: {type(exc).__name__}") from None


def _contents(seg: Any) -> _Contents:
    groups = list(seg.PerFrameFunctionalGroupsSequence)
    shared = _first(seg.get("SharedFunctionalGroupsSequence"))
    return _Contents(
        groups,
        [_segment(group, shared) for group in groups],
        _orientation(shared, *groups[:1]),
    )


def _slice_indices(groups: list[Any], stack: Stack) -> list[int]:
    """The slice of each frame: by the image it names, else by its position."""
    by_source = {(s.sop_instance_uid, s.frame): index for index, s in enumerate(stack.slices)}
    sources_named = [_source(group) for group in groups]
    found = [by_source.get(source) if source else None for source in sources_named]
    named = [index for index in found if index is not None]
    if len(named) == len(groups):
        return named
    offered = stack.along_normal()
    positions = [_position(group) for group in groups]
    if offered is None or any(position is None for position in positions):
        raise UnreadableResult("a frame names no slice of the series and has no position")
    orientation = stack.slices[0].orientation or ()
    normal = np.cross(orientation[:3], orientation[3:])
    return [int(i) for i in nearest(np.asarray(positions, dtype=np.float64) @ normal, offered)]


@dataclass(frozen=True)
class _Turn:
    """How frames are turned whose rows and columns run otherwise than those of the images."""

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    @classmethod
    def between(cls, here: tuple[float, ...] | None, wanted: tuple[float, ...] | None) -> _Turn:
        """From the orientation of the frames to that of the images."""
        if here is None or wanted is None:
            return cls()
        across, down = np.asarray(here[:3]), np.asarray(here[3:])
        image_across, image_down = np.asarray(wanted[:3]), np.asarray(wanted[3:])
        transposed = bool(abs(across @ image_down) >= _SAME_DIRECTION)
        if transposed:
            across, down = down, across
        if min(abs(across @ image_across), abs(down @ image_down)) < _SAME_DIRECTION:
            raise UnreadableResult("the segmentation lies on another plane than the images")
        return cls(transposed, bool(down @ image_down < 0), bool(across @ image_across < 0))

    def size_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of a frame once it is turned."""
        return (size[1], size[0]) if self.transposed else size

    def of(self, frame: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A frame turned."""
        frame = frame.T if self.transposed else frame
        frame = frame[::-1] if self.upside_down else frame
        return frame[:, ::-1] if self.mirrored else frame


def sources(group: Any) -> list[Source]:
    """The images that a frame names."""
    return [
        (str(source.get("ReferencedSOPInstanceUID", "")), frame)
        for derivation in group.get("DerivationImageSequence", ())
        for source in derivation.get("SourceImageSequence", ())
        for frame in _frames_named(source)
    ]


def _frames_named(source: Any) -> list[int | None]:
    """ReferencedFrameNumber counts from 1; absent for a classic object (PS3.3 C.7.6.16.2.6)."""
    value = source.get("ReferencedFrameNumber")
    if value is None or value == "":
        return [None]
    listed = value if isinstance(value, MultiValue) else [value]
    return [int(number) - 1 for number in listed]


def _source(group: Any) -> Source | None:
    """The image that a frame names; none where it names several: some makers name them all."""
    named = set(sources(group))
    return named.pop() if len(named) == 1 else None


def _position(group: Any) -> tuple[float, ...] | None:
    plane = _first(group.get("PlanePositionSequence"))
    value = None if plane is None else plane.get("ImagePositionPatient")
    return None if value is None else _numbers(value, 3)


def _orientation(*groups: Any) -> tuple[float, ...] | None:
    for group in groups:
        plane = None if group is None else _first(group.get("PlaneOrientationSequence"))
        value = None if plane is None else plane.get("ImageOrientationPatient")
        if value is not None:
            return _numbers(value, 6)
    return None


def _numbers(value: Any, count: int) -> tuple[float, ...]:
    numbers = tuple(float(v) for v in value)
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise UnreadableResult("the segmentation states a place that is none")
    return numbers


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None
