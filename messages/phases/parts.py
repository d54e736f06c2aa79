"""One series that holds several phases is told apart, over plain values of its images."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from messages.phases.positions import in_reach, places_of
from messages.phases.values import number_of, same_number

#: DICOM keywords that can tell the phases of one series apart, the most telling first.
PHASE_KEYWORDS: tuple[str, ...] = (
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "TriggerTime",
    "AcquisitionTime",
    "ContentTime",
)

#: The same for frames of Enhanced MR, which count their phases in the Frame Content Sequence.
FRAME_PHASE_KEYWORDS: tuple[str, ...] = ("TemporalPositionIndex", *PHASE_KEYWORDS)

#: Numbers the images of a series. It tells phases apart in a way of its own, and only where none
#: of the above does (`messages.phases.numbering`).
NUMBER_KEYWORD = "InstanceNumber"

#: Keywords whose values count or time the phases from the start of their series;
#: `messages.phases.numbering.count_of` reads them.
COUNTING_KEYWORDS = frozenset(
    {
        "TemporalPositionIndex",
        "TemporalPositionIdentifier",
        "AcquisitionNumber",
        "TriggerTime",
        NUMBER_KEYWORD,
    }
)

#: Keywords whose values are times of day (TM): past midnight they start anew.
TIME_OF_DAY_KEYWORDS = frozenset({"AcquisitionTime", "ContentTime"})

#: What `messages.request.PhaseSelector` can carry as a value.
_CARRIED = re.compile(r"[0-9.:+-]{1,32}")


@dataclass(frozen=True)
class ImageFacts:
    """One image: an instance, or one frame of a multi-frame instance."""

    #: ImagePositionPatient (LPS, mm), or None where there is none.
    position: tuple[float, float, float] | None
    #: Those of `FRAME_PHASE_KEYWORDS`, AcquisitionDate and ContentDate that are there, as text; of
    #: a frame of Enhanced MR also its frame type and echo time, as ImageType and EchoTime.
    values: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """One phase inside a series."""

    #: What tells it apart; empty when the series is one phase as a whole.
    keyword: str
    value: str
    #: Indices into the sequence that was given, ascending.
    images: tuple[int, ...]


class Unclear(StrEnum):
    """Why the phases of a series cannot be told apart."""

    #: An image does not say where it lies, or says what no position can be.
    NO_POSITION = "no_position"
    #: Positions occur several times, and no keyword tells the images there apart.
    NOT_SEPARABLE = "not_separable"
    #: A keyword tells phases apart, and at least one of them lacks slices: a run that was stopped.
    INCOMPLETE_PHASE = "incomplete_phase"
    #: A keyword tells phases apart by values that a request cannot carry.
    VALUE_NOT_CARRIED = "value_not_carried"
    #: What a keyword tells apart are images of several kinds and not phases of one: water and fat,
    #: magnitude and phase, a run and its subtractions. See `messages.phases.heads`.
    SEVERAL_KINDS = "several_kinds"
    #: The numbering of the images makes another number of phases than the series says that it
    #: holds: a whole phase may be missing.
    OTHER_COUNT = "other_count"
    #: It has more images than are looked into: nothing is known of its phases.
    TOO_MANY_IMAGES = "too_many_images"
    #: More images lie at one place than files are read of, and the index does not tell them apart.
    TOO_MANY_AT_ONE_PLACE = "too_many_at_one_place"
    #: Its images say more of themselves than is read of one series.
    TOO_LONG = "too_long"
    #: The archive took longer than a page waits for one series. What was read is kept.
    TOO_SLOW = "too_slow"


#: Of these it is not known whether they hold several phases, or which: nothing was looked for.
NOT_LOOKED_INTO = frozenset(
    {
        Unclear.TOO_MANY_IMAGES,
        Unclear.TOO_MANY_AT_ONE_PLACE,
        Unclear.TOO_LONG,
        Unclear.TOO_SLOW,
    }
)

#: Of these it is not known whether they are one phase as a whole: the lab looks closer.
PERHAPS_ONE_PHASE = (NOT_LOOKED_INTO | {Unclear.NO_POSITION}) - {Unclear.TOO_MANY_AT_ONE_PLACE}


@dataclass(frozen=True)
class Parts:
    """The phases of a series in the order of their values; none when it is `unclear`."""

    parts: tuple[Part, ...]
    unclear: Unclear | None = None


def parts_of(images: Sequence[ImageFacts]) -> Parts:
    """Tell the phases of one series apart.

    It is one phase when every position occurs once. Otherwise the first keyword counts whose
    values divide the images into groups of equal size, each with every position once. A keyword
    that an image lacks, or that differs from slice to slice, does not qualify.
    """
    positions = [image.position for image in images]
    if len(images) < 2:
        return Parts(_whole(images))
    known = [at for at in positions if at is not None and in_reach(at)]
    if len(known) < len(images):
        return Parts((), Unclear.NO_POSITION)
    places = places_of(known)
    count = len(set(places))
    if count == len(images):
        return Parts(_whole(images))
    incomplete = False
    for keyword in FRAME_PHASE_KEYWORDS:
        groups = _groups(images, keyword)
        if any(len({places[i] for i in group}) < len(group) for group in groups):
            continue  # A group holds a position twice: this keyword does not tell those apart.
        sizes = {len(group) for group in groups}
        if sizes == {count}:
            return _as_parts(images, keyword, groups)
        # A value for each slice leaves no group whole; a run that was stopped leaves most so.
        incomplete = incomplete or count in sizes
    return Parts((), Unclear.INCOMPLETE_PHASE if incomplete else Unclear.NOT_SEPARABLE)


def _whole(images: Sequence[ImageFacts]) -> tuple[Part, ...]:
    return (Part("", "", tuple(range(len(images)))),) if images else ()


def _groups(images: Sequence[ImageFacts], keyword: str) -> list[list[int]]:
    """Indices of the images by the keyword's value, in its order; none where an image lacks it."""
    texts = [image.values.get(keyword, "").strip() for image in images]
    if not all(texts):
        return []
    numbers = [number_of(text) for text in texts]
    # Past midnight the same clock times belong to another day.
    days = [_day(image) if keyword in TIME_OF_DAY_KEYWORDS else "" for image in images]
    if any(number is None for number in numbers):
        keys = list(zip(days, texts, strict=True))
        order = sorted(range(len(images)), key=keys.__getitem__)
        starts = [at for at, (a, b) in enumerate(pairwise(order), 1) if keys[a] != keys[b]]
    else:
        sure = [number for number in numbers if number is not None]
        order = sorted(range(len(images)), key=lambda i: (days[i], sure[i]))
        starts = [
            at
            for at, (a, b) in enumerate(pairwise(order), 1)
            if days[a] != days[b] or not same_number(sure[a], sure[b])
        ]
    edges = [0, *starts, len(order)]
    return [sorted(order[a:b]) for a, b in pairwise(edges)]


def _as_parts(images: Sequence[ImageFacts], keyword: str, groups: Sequence[list[int]]) -> Parts:
    values = [_carried(images[group[0]].values[keyword].strip()) for group in groups]
    carried = [value for value in values if value is not None]
    # The same clock time on two days cannot be asked for: a request names no day.
    if len(set(carried)) < len(groups):
        return Parts((), Unclear.VALUE_NOT_CARRIED)
    return Parts(
        tuple(
            Part(keyword, value, tuple(group)) for value, group in zip(carried, groups, strict=True)
        )
    )


def _carried(text: str) -> str | None:
    """The value as a request can carry it, or None. A DS may be written as 1.5e3."""
    if _CARRIED.fullmatch(text):
        return text
    number = number_of(text)
    plain = "" if number is None else f"{number:.6f}".rstrip("0").rstrip(".")
    return plain if _CARRIED.fullmatch(plain) else None


def _day(image: ImageFacts) -> str:
    return image.values.get("AcquisitionDate", "").strip()
