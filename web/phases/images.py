"""The images of a series: its instances, or the frames of a multi-frame one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from messages.phases.frames import numbers, point, text_of
from messages.phases.parts import Unclear
from messages.phases.positions import Position
from messages.phases.values import integer
from web.orthanc.archive import Orthanc
from web.orthanc.tags import Tags

#: Images of one series: a dynamic study has some hundreds. What has more is shown as it is stored.
#: In how many objects they lie does not matter: Siemens writes one for each time point.
MAX_IMAGES = 10_000

#: What Orthanc 1.10 keeps of an instance in its database, of what may tell phases apart.
KEPT_VALUES = ("TemporalPositionIdentifier", "AcquisitionNumber")


@dataclass(frozen=True)
class Image:
    """One image of a series. Positions as DICOM has them: millimetres, patient axes."""

    instance_id: str
    sop_instance_uid: str
    #: InstanceNumber, or None.
    number: int | None
    #: ImagePositionPatient: three numbers, or None.
    position: Position | None
    #: ImageOrientationPatient: six numbers, or None.
    orientation: tuple[float, ...] | None
    #: Place in a multi-frame object, from 0; None for an object that is one image.
    frame: int | None = None
    #: PixelSpacing of a frame; of an object that is one image Orthanc does not keep it.
    spacing: tuple[float, ...] | None = None
    #: Of the keywords that may tell phases apart, those that are known without reading a file.
    values: tuple[tuple[str, str], ...] = ()
    #: What a frame shows, by the keywords of classic objects (`messages.phases.frames`).
    kind: tuple[tuple[str, str], ...] = ()
    #: Why what it says of itself was not looked into; None where it was.
    unread: Unclear | None = None

    @property
    def address(self) -> str:
        """The part of Orthanc's address of an instance that names the frame."""
        return "" if self.frame is None else f"/frames/{self.frame}"


def images_of(
    orthanc: Orthanc, series_id: str, *, multi_frame: bool, tags: Tags | None = None
) -> tuple[Image, ...]:
    """Return the images of a series in InstanceNumber order, the frames of one file in its order.

    One call, and with `multi_frame` (for MR alone: a segmentation has frames, too, and long tags)
    one more for each multi-frame object that this process has not read yet. Where bytes or time of
    a series are used up, the rest is `unread`, an image for each object; with more than
    `MAX_IMAGES` all of it. Raises `SeriesNotFound` or `ArchiveUnavailable`.
    """
    items = sorted(orthanc.json("series", series_id, "/instances"), key=_order)
    several = any(_frame_count(item) is not None for item in items)
    if not multi_frame or not several:
        return tuple(_image(item) for item in items)
    if sum(_frame_count(item) or 1 for item in items) > MAX_IMAGES:
        return tuple(replace(_image(item), unread=Unclear.TOO_MANY_IMAGES) for item in items)
    known = tags or Tags(orthanc)
    found: list[Image] = []
    for item in items:
        found += [_image(item)] if _frame_count(item) is None else _frames(known, item)
    return tuple(found)


def _image(item: Mapping[str, Any]) -> Image:
    tags = item["MainDicomTags"]
    return Image(
        instance_id=item["ID"],
        sop_instance_uid=tags["SOPInstanceUID"],
        number=integer(text_of(tags, "InstanceNumber")),
        position=point(text_of(tags, "ImagePositionPatient")),
        orientation=numbers(text_of(tags, "ImageOrientationPatient"), 6),
        values=tuple((name, text) for name in KEPT_VALUES if (text := text_of(tags, name))),
    )


def _frames(tags: Tags, item: Mapping[str, Any]) -> Sequence[Image]:
    whole = _image(item)
    found = tags.frames(whole.instance_id, item.get("FileUuid", ""), _frame_count(item) or 1)
    if isinstance(found, Unclear):
        return [replace(whole, unread=found)]
    return [
        Image(
            instance_id=whole.instance_id,
            sop_instance_uid=whole.sop_instance_uid,
            number=whole.number,
            position=frame.position,
            orientation=frame.orientation,
            frame=place,
            spacing=frame.spacing,
            values=frame.values,
            kind=frame.kind,
        )
        for place, frame in enumerate(found)
    ]


def _frame_count(item: Mapping[str, Any]) -> int | None:
    """Frames of a multi-frame object, of which there may be one; None for a classic one."""
    tags = item["MainDicomTags"]
    count = integer(text_of(tags, "NumberOfFrames"))
    if count is None or count < 1:
        return None
    # A classic object may say that it has one frame.
    return None if count == 1 and text_of(tags, "ImagePositionPatient") else count


def _order(item: Mapping[str, Any]) -> tuple[bool, int, str]:
    tags = item["MainDicomTags"]
    number = integer(text_of(tags, "InstanceNumber"))
    return (number is None, number or 0, tags["SOPInstanceUID"])
