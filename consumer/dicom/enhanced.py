"""The frames of an Enhanced MR object, each described as a classic instance would be.

Enhanced MR (PS3.3 A.36) and Legacy Converted Enhanced MR (A.71) hold many slices in one
instance. What differs between frames stands in functional groups (C.7.6.16): one item for all
frames, one for each, and the latter wins. Here each frame becomes a small data set with the
classic keywords, so that sorting, checks and results know one kind of slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.tag import Tag
from pydicom.uid import (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
)

from consumer.dicom.attributes import BrokenFile, count
from consumer.dicom.philips import take_scale
from messages.phases.frames import (
    CLASSIC,
    FRAME_TIME,
    GEOMETRY,
    KINDS,
    OBJECT_TIME,
    OF_EACH_FRAME,
    OWN_GROUPS,
    PHASES,
    SHARED_GROUPS,
    UNASSIGNED,
)
from messages.phases.times import timed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydicom import DataElement
    from pydicom.tag import BaseTag

#: MR objects whose frames are slices.
MULTI_FRAME_CLASSES = frozenset({EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})

#: Where the functional groups are.
GROUP_TAGS = (SHARED_GROUPS, OWN_GROUPS)

#: What the pixels of a frame need besides: PS3.3 C.7.6.16.2.1 and .9.
_PIXELS = (
    ("SliceThickness", "PixelMeasuresSequence", "SliceThickness"),
    ("RescaleIntercept", "PixelValueTransformationSequence", "RescaleIntercept"),
    ("RescaleSlope", "PixelValueTransformationSequence", "RescaleSlope"),
)

#: Classic keyword, functional group, keyword there.
_PLACES = (*GEOMETRY, *_PIXELS, *PHASES, *KINDS)

#: All of these sequences. Objects have twice as many, and what is not touched is not parsed. Each
#: has one item (PS3.3 C.7.6.16.2).
MACROS = {
    tag_for_keyword(keyword): keyword
    for keyword in (*(sequence for _, sequence, _ in _PLACES), *UNASSIGNED)
}

#: Of the whole object, and wrong or of no use in one frame.
_NOT_OF_A_FRAME = frozenset(
    Tag(keyword)
    for keyword in (
        *GROUP_TAGS,
        "NumberOfFrames",
        "DimensionIndexSequence",
        "DimensionOrganizationSequence",
        "PixelData",
    )
)

#: What a frame may say among the attributes that a converter found no group for: what tells phases
#: apart and when they were. Its UIDs, sizes and pixels are those of the whole object.
_CONVERTED = frozenset(Tag(keyword) for keyword in (*CLASSIC, "TemporalPositionIndex", OBJECT_TIME))

#: A functional group that a frame lacks.
_NOTHING = Dataset()


class FramesDisagree(BrokenFile):
    """NumberOfFrames is another number than that of the functional groups."""

    said = "has another number of frames than functional groups for them"


class Image(NamedTuple):
    """One slice: an instance, or one frame of a multi-frame instance."""

    #: What it says of itself, in classic keywords. Of a classic instance, the instance.
    head: Dataset
    #: The instance that holds its pixels.
    source: Dataset
    #: Frame number from 1, as DICOM counts; None of a classic instance.
    frame: int | None


def images_of(ds: Dataset) -> list[Image]:
    """Every image of an instance in the order of the file.

    An instance without functional groups is one image: the caller decides whether it may be.
    Raises FramesDisagree, Absent and Malformed, else what pydicom raises.
    """
    groups = ds.get(OWN_GROUPS)
    if ds.get("SOPClassUID") not in MULTI_FRAME_CLASSES or not groups:
        _complete_time(ds)
        return [Image(ds, ds, None)]
    if len(groups) != count(ds, "NumberOfFrames"):
        raise FramesDisagree
    common = _common(ds)
    shared = _items((ds.get(SHARED_GROUPS) or [Dataset()])[0])
    images, described = [], []
    for number, group in enumerate(groups, 1):
        # A data set around a copy of the dictionary: setting an attribute would change the
        # element, and that is one for all frames.
        head = Dataset(dict(common))
        _take_time(head, ds.get(OBJECT_TIME))
        described.append(_describe(head, shared | _items(group)))
        take_scale(head, group)
        images.append(Image(head, ds, number))
    # As `messages.phases.frames` does: where a frame has its own, the object speaks for none.
    differing = OF_EACH_FRAME & frozenset[str]().union(*described)
    for image, said in zip(images, described, strict=True):
        for keyword in differing - said:
            image.head.pop(keyword, None)
    return images


def _common(ds: Dataset) -> dict[BaseTag, DataElement]:
    """What the instance says outside of its groups, as far as it can be read."""
    found = {}
    for tag in ds.keys() - _NOT_OF_A_FRAME:
        try:
            found[tag] = ds[tag]
        except Exception:  # noqa: BLE001, S112 - what is needed will be missed by who needs it
            continue
    return found


def _items(group: Dataset) -> dict[str, Dataset]:
    """The first item of each functional group that is read, by the keyword of its sequence."""
    found = {}
    for tag in group.keys() & MACROS.keys():
        sequence = group[tag].value
        if sequence:
            found[MACROS[tag]] = sequence[0]
    return found


def _describe(head: Dataset, groups: Mapping[str, Dataset]) -> frozenset[str]:
    """Write what a frame says into its head; returns the classic keywords of it."""
    said = set()
    for name in UNASSIGNED:
        item = groups.get(name, _NOTHING)
        for tag in item.keys() & _CONVERTED:
            head[tag] = item[tag]
            if not _empty(item[tag]):
                said.add(keyword_for_tag(tag))
    for classic, name, keyword in _PLACES:
        item = groups.get(name, _NOTHING)
        if classic == keyword:
            if keyword in item:
                head[keyword] = item[keyword]
        elif (value := item.get(keyword)) is not None:
            _say(head, classic, value)
        if keyword in item and not _empty(item[keyword]):
            said.add(classic)
    content, when = FRAME_TIME
    if _take_time(head, groups.get(content, _NOTHING).get(when)):
        said.add("AcquisitionTime")
    return frozenset(said)


def _empty(element: DataElement) -> bool:
    return not str("" if element.value is None else element.value).strip(" \0")


def _complete_time(ds: Dataset) -> None:
    """Give a classic instance date and time from AcquisitionDateTime, where it alone says them."""
    try:
        if not ds.get("AcquisitionTime"):
            _take_time(ds, ds.get(OBJECT_TIME))
    except Exception:  # noqa: BLE001, S110 - no time; who asks for one finds none
        pass


def _take_time(head: Dataset, value: Any) -> bool:
    """Set classic date and time from a DateTime; whether it is one, else nothing is changed."""
    when = timed({OBJECT_TIME: str(value or "").strip(" \0")})
    if "AcquisitionDate" in when:
        _say(head, "AcquisitionDate", when["AcquisitionDate"])
        _say(head, "AcquisitionTime", when["AcquisitionTime"])
    return bool(when.get("AcquisitionTime"))


def _say(head: Dataset, keyword: str, value: Any) -> None:
    head.add_new(keyword, dictionary_VR(keyword), value)
