"""What every slice of a phase says of itself: one call reads all files of a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from messages.phases.agreement import AGREEMENT_KEYWORDS
from messages.phases.check import SlicesFacts
from messages.phases.facts import PhaseFacts
from messages.phases.frames import numbers, point, text_of
from messages.phases.numbering import numbered, place_of
from messages.phases.parts import FRAME_PHASE_KEYWORDS, NUMBER_KEYWORD
from messages.phases.positions import Position
from messages.phases.scale import (
    SCALE_BLOCKS,
    SCALE_CREATOR,
    SCALE_ELEMENT,
    SCALE_GROUP,
    Stored,
)
from messages.phases.times import timed
from messages.phases.values import number_of, same_value
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveUnavailable, NotInArchive, UnusableAnswer
from web.orthanc.tags import MAX_TEXT, Tags
from web.phases.images import Image, images_of

#: Instances of one series of which the files are read: Orthanc takes a millisecond and 2 to 10 kB
#: for each, and more where its disk is slow. Dynamic runs have some hundreds, a few thousands.
MAX_INSTANCES = 4000

#: Seconds for the files of all series of a choice, or of a page. What takes longer is said not to
#: have been looked at.
SLICES_SECONDS = 12.0

#: Series whose slices a process keeps, each with some hundred bytes for a slice.
_KEPT_SERIES = 64

#: Numbers of the attributes by keyword: Orthanc's short form has no names, and so no private
#: element can pass for one of them.
_NUMBERS = {
    "ImageType": "0008,0008",
    "AcquisitionDate": "0008,0022",
    "AcquisitionDateTime": "0008,002a",
    "AcquisitionTime": "0008,0032",
    "ContentTime": "0008,0033",
    "Manufacturer": "0008,0070",
    "ComplexImageComponent": "0008,9208",
    "ScanOptions": "0018,0022",
    "SequenceName": "0018,0024",
    "EchoTime": "0018,0081",
    "EchoNumbers": "0018,0086",
    "TriggerTime": "0018,1060",
    "FlipAngle": "0018,1314",
    "DiffusionBValue": "0018,9087",
    "AcquisitionNumber": "0020,0012",
    "ImagePositionPatient": "0020,0032",
    "ImageOrientationPatient": "0020,0037",
    "TemporalPositionIdentifier": "0020,0100",
    "TemporalPositionIndex": "0020,9128",
    "RescaleIntercept": "0028,1052",
    "RescaleSlope": "0028,1053",
}

#: What is kept of a slice: whether slices agree, and which phase each is of.
_KEPT = (*AGREEMENT_KEYWORDS, *FRAME_PHASE_KEYWORDS)


@dataclass(frozen=True)
class _Slice:
    position: Position | None
    orientation: tuple[float, ...] | None
    values: Mapping[str, str]
    stored: Stored
    #: InstanceNumber, or None.
    number: int | None = None


def slices_of(
    orthanc: Orthanc, series_id: str, state: str, phase: PhaseFacts
) -> SlicesFacts | None:
    """What the slices of a phase say, in their order along the normal.

    `state` is that of the series: what was read is kept until it changes. None where that is more
    than a page can read, or took too long, or where a slice does not say where it lies.
    """
    try:
        slices = _all_slices(orthanc, series_id, state)
    except (ArchiveUnavailable, NotInArchive, UnusableAnswer):
        # Whether the archive is away altogether, the next call will say.
        return None
    if slices is None:
        return None
    order = _in_order(_of_phase(slices, phase))
    if order is None or len(order) != phase.image_count:
        return None
    return SlicesFacts(tuple(one.values for one in order), tuple(one.stored for one in order))


def _of_phase(slices: Sequence[_Slice], phase: PhaseFacts) -> Sequence[_Slice]:
    if not phase.keyword:
        return slices
    if phase.keyword != NUMBER_KEYWORD:
        return [one for one in slices if same_value(one.values.get(phase.keyword, ""), phase.value)]
    groups = numbered([one.position for one in slices], [one.number for one in slices])
    place = place_of(phase.value)
    if place is None or place[1] != len(groups):
        return ()
    return [slices[index] for index in groups[place[0] - 1]]


def _in_order(slices: Sequence[_Slice]) -> list[_Slice] | None:
    """Along the normal of the first, as the lab has them."""
    turned = slices[0].orientation if slices else None
    if turned is None:
        return None
    a, b = turned[:3], turned[3:]
    normal = (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )
    placed = [(_along(one.position, normal), one) for one in slices if one.position is not None]
    if len(placed) < len(slices):
        return None
    return [one for _height, one in sorted(placed, key=lambda pair: pair[0])]


def _along(position: Position, normal: tuple[float, ...]) -> float:
    return sum(x * n for x, n in zip(position, normal, strict=True))


@lru_cache(maxsize=_KEPT_SERIES)
def _all_slices(orthanc: Orthanc, series_id: str, state: str) -> tuple[_Slice, ...] | None:  # noqa: ARG001 - the state is what is kept by
    images = images_of(orthanc, series_id, multi_frame=True, tags=Tags(orthanc))
    classic = [image for image in images if image.frame is None]
    read: Mapping[str, Any] = {}
    if classic:
        if len(classic) > MAX_INSTANCES:
            return None
        try:
            read = orthanc.series_tags(series_id, short=True)
        except UnusableAnswer:
            return None
    # Most slices say the same: each text is kept once.
    texts: dict[str, str] = {}
    found = []
    for image in images:
        tags = read.get(image.instance_id)
        if image.unread is not None or (image.frame is None and not isinstance(tags, dict)):
            return None
        one = _frame(image) if image.frame is not None else _slice(tags or {}, texts)
        found.append(replace(one, number=image.number))
    return tuple(found)


def _frame(image: Image) -> _Slice:
    values = {**dict(image.values), **dict(image.kind)}
    kept = {name: values[name] for name in _KEPT if name in values}
    return _Slice(image.position, image.orientation, kept, Stored())


def _slice(tags: Mapping[str, Any], texts: dict[str, str]) -> _Slice:
    said = {name: text_of(tags, number) for name, number in _NUMBERS.items()}
    said = timed({name: text for name, text in said.items() if 0 < len(text) <= MAX_TEXT})
    kept = {name: texts.setdefault(said[name], said[name]) for name in _KEPT if said.get(name)}
    return _Slice(
        position=point(said.get("ImagePositionPatient", "")),
        orientation=numbers(said.get("ImageOrientationPatient", ""), 6),
        values=kept,
        stored=Stored(
            slope=number_of(said.get("RescaleSlope", "")),
            intercept=number_of(said.get("RescaleIntercept", "")),
            scale_slope=_scale_slope(tags),
            manufacturer=said.get("Manufacturer", ""),
        ),
    )


def _scale_slope(tags: Mapping[str, Any]) -> float | None:
    for block in SCALE_BLOCKS:
        if text_of(tags, f"{SCALE_GROUP:04x},{block:04x}") == SCALE_CREATOR:
            element = f"{SCALE_GROUP:04x},{block:02x}{SCALE_ELEMENT:02x}"
            number = number_of(text_of(tags, element))
            return number if number is not None and number > 0 else None
    return None
