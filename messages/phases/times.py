"""When the phases of a series began."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from itertools import pairwise

from messages.phases.parts import COUNTING_KEYWORDS, ImageFacts, Part
from messages.phases.values import number_of

#: Attributes that say when an image was acquired, or from which it can be concluded.
TIME_KEYWORDS: tuple[str, ...] = (
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "ContentDate",
    "ContentTime",
    "TriggerTime",
)

#: Seconds of a day. No run takes as long.
_DAY_S = 86_400.0

_TIME = re.compile(r"(\d{2}):?(?:(\d{2}):?(?:(\d{2}(?:\.\d{1,6})?))?)?")

#: DA (PS3.5 6.2), and ACR-NEMA's ``2026.01.02``.
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})", re.ASCII)

#: DateTime (PS3.5 6.2): date, time, and an offset from UTC that is left out.
_DATE_TIME = re.compile(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)?(?:[+-]\d{4})?")


def timed(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags with date and time from AcquisitionDateTime, where it alone says them."""
    whole = _DATE_TIME.fullmatch(tags.get("AcquisitionDateTime", "").strip())
    if whole is None or tags.get("AcquisitionTime"):
        return dict(tags)
    return {**tags, "AcquisitionDate": whole[1], "AcquisitionTime": whole[2] or ""}


def began_at(
    images: Sequence[ImageFacts], parts: Sequence[Part], study_date: str
) -> tuple[float | None, ...]:
    """Seconds from the midnight before `study_date` (DA) to the first image of each part.

    GE and Philips may write one acquisition time for a whole run. Where all parts share it, the
    time into the run is added: TriggerTime (ms), else ContentTime, if each part has one of its
    own. ContentTime may be that of the reconstruction, in any order: for parts that are counted it
    is taken only where it rises with them. None where an image says no time.
    """
    times = [
        _first(images, part, lambda image: _begun_s(image, study_date=study_date)) for part in parts
    ]
    shared = times[0] if times else None
    if shared is None or len(parts) < 2 or len(set(times)) > 1:
        return tuple(times)
    counted = parts[0].keyword in COUNTING_KEYWORDS
    for into in (_trigger_s, _content_s):
        known = [at for part in parts if (at := into(images, part)) is not None]
        if len(set(known)) < len(parts):
            continue
        if into is _trigger_s or not counted or all(a < b for a, b in pairwise(known)):
            return tuple(shared + at - min(known) for at in known)
    return tuple(times)


def dated_at(
    images: Sequence[ImageFacts], parts: Sequence[Part], study_date: str
) -> tuple[float | None, ...]:
    """The same by AcquisitionDate and AcquisitionTime as they stand; None without either.

    It is what a lab compares. It takes the earliest slice of each phase, and a caller may know
    only one of them: the two agree as far as the slices of a phase share their time.
    """
    if _date(study_date) is None:
        return (None,) * len(parts)
    return tuple(
        _first(images, part, lambda image: _dated_s(image, study_date=study_date)) for part in parts
    )


def seconds_from(study_date: str, on: str, time: str) -> float | None:
    """A DA and a TM as seconds from the midnight before the study, or None.

    Without a date it is the day of the study: what that makes implausible is said later.
    """
    match = _TIME.fullmatch(time.strip())
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    begun, day = _date(study_date), _date(on)
    days = (day - begun).days if begun and day else 0
    return days * _DAY_S + hours * 3600 + minutes * 60 + seconds


def past_midnight(times: Sequence[float | None], dates: Collection[str]) -> list[float | None]:
    """The times (s) of the slices of one phase, those past midnight a day later.

    Scanners may give all slices of a phase no date, or that of its beginning; with several dates
    they are left as they are.
    """
    known = [at for at in times if at is not None]
    if not known or len(set(dates) - {""}) > 1 or max(known) - min(known) <= _DAY_S / 2:
        return list(times)
    # The date that all have begins at the same midnight.
    noon = (min(known) // _DAY_S) * _DAY_S + _DAY_S / 2
    return [at + _DAY_S if at is not None and at < noon else at for at in times]


def _first(
    images: Sequence[ImageFacts], part: Part, time_of: Callable[[ImageFacts], float | None]
) -> float | None:
    times = [time_of(images[i]) for i in part.images]
    known = [time for time in times if time is not None]
    return min(known) if known and len(known) == len(times) else None


def _begun_s(image: ImageFacts, *, study_date: str) -> float | None:
    values = image.values
    at = seconds_from(
        study_date, values.get("AcquisitionDate", ""), values.get("AcquisitionTime", "")
    )
    if at is None or values.get("AcquisitionDate"):
        return at
    # ContentDate is that of the reconstruction, which may follow past midnight, or days later.
    created, begun = _date(values.get("ContentDate", "")), _date(study_date)
    content = seconds_from("", "", values.get("ContentTime", ""))
    if created is None or begun is None or content is None:
        return at
    days = (created - begun).days - (content < at)
    # An examination goes on into the next day and not longer.
    return at + _DAY_S if days == 1 else at


def _dated_s(image: ImageFacts, *, study_date: str) -> float | None:
    day = image.values.get("AcquisitionDate", "")
    if _date(day) is None:
        return None
    return seconds_from(study_date, day, image.values.get("AcquisitionTime", ""))


def _trigger_s(images: Sequence[ImageFacts], part: Part) -> float | None:
    number = number_of(_only(images, part, "TriggerTime"))
    seconds = None if number is None else number / 1000
    return seconds if seconds is not None and abs(seconds) < _DAY_S else None


def _content_s(images: Sequence[ImageFacts], part: Part) -> float | None:
    return seconds_from("", "", _only(images, part, "ContentTime"))


def _only(images: Sequence[ImageFacts], part: Part, keyword: str) -> str:
    """The value that all images of the part share, or an empty text."""
    texts = {images[i].values.get(keyword, "").strip() for i in part.images}
    return texts.pop() if len(texts) == 1 else ""


def _date(text: str) -> date | None:
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return date(*map(int, match.groups()))
    except ValueError:
        return None
