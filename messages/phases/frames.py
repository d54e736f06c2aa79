"""The frames of a multi-frame MR object: where each says what a classic object says of itself.

Enhanced MR (PS3.3 A.36) and what converters make of classic objects (A.71) say for each frame, or
once for all, what differs between images: functional groups (C.7.6.16), each a sequence of one
item. A frame's own item goes before the shared one, and that before the object itself.

The tables are for all who read frames, so that a phase is the same frames everywhere: `frames_of`
reads them from tags as Orthanc tells them, for the site and for a run by hand, and the lab from
files (`consumer.dicom.enhanced`). Whatever a tag holds, nothing here raises: a value that cannot
be read is absent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from messages.phases.parts import PHASE_KEYWORDS
from messages.phases.positions import REACH_MM, Position
from messages.phases.times import timed

#: Where the functional groups are: those of all frames, and one item for each frame.
SHARED_GROUPS = "SharedFunctionalGroupsSequence"
OWN_GROUPS = "PerFrameFunctionalGroupsSequence"

#: Classic keyword, functional group, keyword there.
Place = tuple[str, str, str]

#: Where a frame lies: PS3.3 C.7.6.16.2.1, .3 and .4.
GEOMETRY: tuple[Place, ...] = (
    ("ImagePositionPatient", "PlanePositionSequence", "ImagePositionPatient"),
    ("ImageOrientationPatient", "PlaneOrientationSequence", "ImageOrientationPatient"),
    ("PixelSpacing", "PixelMeasuresSequence", "PixelSpacing"),
)

#: What its phase is: C.7.6.16.2.2 and .7 (ms). The frames of one object count their phases by
#: TemporalPositionIndex, which no classic object has.
PHASES: tuple[Place, ...] = (
    ("TemporalPositionIndex", "FrameContentSequence", "TemporalPositionIndex"),
    ("AcquisitionNumber", "FrameContentSequence", "FrameAcquisitionNumber"),
    ("TriggerTime", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
)

#: When it was acquired, as a DateTime: C.7.6.16.2.2, and of the object itself.
FRAME_TIME = ("FrameContentSequence", "FrameAcquisitionDateTime")
OBJECT_TIME = "AcquisitionDateTime"

#: What it shows; FrameType has the values of ImageType (C.8.13.3.1.1), and ComplexImageComponent
#: says whether it is a magnitude or a phase (C.8.13.3.1.2).
KINDS: tuple[Place, ...] = (
    ("ImageType", "MRImageFrameTypeSequence", "FrameType"),
    ("ComplexImageComponent", "MRImageFrameTypeSequence", "ComplexImageComponent"),
    ("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
    ("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue"),
)

#: Where a converter puts, by its classic keyword, what it knows no functional group for:
#: C.7.6.16.2.25.2 and .3. The latter goes before the former, and a functional group before both.
UNASSIGNED = (
    "UnassignedSharedConvertedAttributesSequence",
    "UnassignedPerFrameConvertedAttributesSequence",
)

#: What is taken from there and from the object itself: what tells phases apart, and the day.
CLASSIC: tuple[str, ...] = (*PHASE_KEYWORDS, "AcquisitionDate")

#: What the object says is not handed on to a frame without it where another frame has its own: that
#: is then what differs, and the object says what holds for some (its start, ``MIXED``). The day is
#: not among them: a frame may have a time alone.
OF_EACH_FRAME: frozenset[str] = frozenset(
    {*PHASE_KEYWORDS, *(name for name, _, _ in (*PHASES, *KINDS))}
)


@dataclass(frozen=True)
class Frame:
    """One frame. Positions as DICOM has them: millimetres, patient axes."""

    #: ImagePositionPatient: three numbers, or None.
    position: Position | None
    #: ImageOrientationPatient: six numbers, or None.
    orientation: tuple[float, ...] | None
    #: PixelSpacing: mm between rows and between columns, or None.
    spacing: tuple[float, ...] | None
    #: What may tell phases apart, and ``AcquisitionDate``, as text.
    values: tuple[tuple[str, str], ...]
    #: What the image shows, by the keywords of classic objects: those of `KINDS`, as far as the
    #: frame says them, or its object where no frame does.
    kind: tuple[tuple[str, str], ...] = ()


def frames_of(tags: Mapping[str, Any], count: int) -> tuple[Frame, ...]:
    """Return the `count` frames that `tags` describe, in the order of the file.

    Frames of which nothing is told have no position and no values.
    """
    shared = _first(tags.get(SHARED_GROUPS))
    listed = tags.get(OWN_GROUPS)
    groups = listed if isinstance(listed, list) else []
    own = [group if isinstance(group, dict) else {} for group in groups[:count]]
    own += [{}] * (count - len(own))
    of_all = _texts(tags) | _date_and_time(text_of(tags, OBJECT_TIME))
    kind = {name: text for name, _, _ in KINDS if (text := text_of(tags, name))}
    frames = [_frame(group, shared) for group in own]
    said = OF_EACH_FRAME & {name for one in frames for name, _ in (*one.values, *one.kind)}
    for name in said:
        of_all.pop(name, None)
        kind.pop(name, None)
    return tuple(
        replace(
            frame,
            values=tuple((of_all | dict(frame.values)).items()),
            kind=tuple((kind | dict(frame.kind)).items()),
        )
        for frame in frames
    )


def of_whole(head: Mapping[str, str]) -> dict[str, str]:
    """What the head of a multi-frame object says beside what `frames_of` tells of each frame."""
    return {k: text for k, text in head.items() if k not in OF_EACH_FRAME and k != OBJECT_TIME}


def _frame(group: Mapping[str, Any], shared: Mapping[str, Any]) -> Frame:
    def item(sequence: str) -> Mapping[str, Any]:
        return _first(group.get(sequence)) or _first(shared.get(sequence))

    def value(sequence: str, keyword: str) -> str:
        return text_of(item(sequence), keyword)

    found: dict[str, str] = {}
    for sequence in UNASSIGNED:
        found |= _texts(item(sequence))
    for name, sequence, keyword in PHASES:
        found[name] = value(sequence, keyword) or found.get(name, "")
    found |= _date_and_time(value(*FRAME_TIME))
    position, orientation, spacing = (value(sequence, keyword) for _, sequence, keyword in GEOMETRY)
    return Frame(
        position=point(position),
        orientation=numbers(orientation, 6),
        spacing=numbers(spacing, 2),
        values=tuple((name, text) for name, text in found.items() if text),
        kind=tuple(
            (name, text) for name, sequence, keyword in KINDS if (text := value(sequence, keyword))
        ),
    )


def _texts(tags: Mapping[str, Any]) -> dict[str, str]:
    return {name: text for name in CLASSIC if (text := text_of(tags, name))}


def _date_and_time(text: str) -> dict[str, str]:
    """Date and time of a DICOM DT by their classic keywords; nothing of what is none."""
    found = timed({OBJECT_TIME: text})
    return {name: found[name] for name in ("AcquisitionDate", "AcquisitionTime") if name in found}


def text_of(tags: Mapping[str, Any], keyword: str) -> str:
    """The value of a tag without spaces around it; empty where it is absent or a sequence."""
    value = tags.get(keyword)
    return value.strip(" \0") if isinstance(value, str) else ""


def numbers(text: str, count: int) -> tuple[float, ...] | None:
    """`count` numbers that a scanner can mean between backslashes, or None."""
    try:
        values = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return None
    # What is not a number is not below it either.
    return values if len(values) == count and all(abs(v) <= REACH_MM for v in values) else None


def point(text: str) -> Position | None:
    """ImagePositionPatient, or None for what is none."""
    values = numbers(text, 3)
    return None if values is None else (values[0], values[1], values[2])


def _first(sequence: Any) -> Mapping[str, Any]:
    """The one item of a functional group; without any, nothing."""
    if isinstance(sequence, Sequence) and sequence and isinstance(sequence[0], dict):
        item: dict[str, Any] = sequence[0]
        return item
    return {}
