"""The DICOMweb addresses that are answered (PS3.18, QIDO-RS and WADO-RS); no other is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

#: Characters of a UID: PS3.5, 9.1. Components with leading zeros are not allowed there, and found.
_UID = r"(?=[0-9.]{1,64}(?:/|$))[0-9]+(?:\.[0-9]+)*"

#: An element, or one inside sequences: tag, or tag/item/tag ...
_ELEMENT = r"[0-9A-Fa-f]{8}(?:/[0-9]{1,6}/[0-9A-Fa-f]{8}){0,8}"

#: Frames of one instance, as many as a call may name.
_FRAMES = r"[0-9]{1,6}(?:,[0-9]{1,6}){0,99}"


class Kind(StrEnum):
    """What an address asks for."""

    #: Studies that match.
    STUDIES = "studies"
    #: Series or instances of one study that match.
    SEARCH = "search"
    #: All attributes but the long ones, as JSON.
    METADATA = "metadata"
    #: Whole objects, as files.
    OBJECTS = "objects"
    #: Pixels of single frames.
    FRAMES = "frames"
    #: One long attribute.
    BULK = "bulk"
    #: A picture for the eye.
    RENDERED = "rendered"


_STUDY = f"studies/(?P<study>{_UID})"
_SERIES = f"{_STUDY}/series/(?P<series>{_UID})"
_INSTANCE = f"{_SERIES}/instances/(?P<instance>{_UID})"

_FORMS: tuple[tuple[re.Pattern[str], Kind], ...] = tuple(
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"studies", Kind.STUDIES),
        (rf"{_STUDY}/(?:series|instances)", Kind.SEARCH),
        (rf"{_SERIES}/instances", Kind.SEARCH),
        (rf"{_STUDY}/metadata", Kind.METADATA),
        (rf"{_SERIES}/metadata", Kind.METADATA),
        (rf"{_INSTANCE}/metadata", Kind.METADATA),
        (_STUDY, Kind.OBJECTS),
        (_SERIES, Kind.OBJECTS),
        (_INSTANCE, Kind.OBJECTS),
        (rf"{_INSTANCE}/frames/{_FRAMES}", Kind.FRAMES),
        (rf"{_INSTANCE}/bulk/{_ELEMENT}", Kind.BULK),
        (rf"{_INSTANCE}(?:/frames/[0-9]{{1,6}})?/rendered", Kind.RENDERED),
    )
)


@dataclass(frozen=True)
class Form:
    """An address that is answered, taken apart."""

    kind: Kind
    #: Below DICOMweb's root, with nothing in it but what the pattern allows.
    path: str
    study_uid: str = ""
    series_uid: str = ""
    instance_uid: str = ""


def form_of(path: str) -> Form | None:
    """Take apart a path below DICOMweb's root; None for one that is not answered."""
    for pattern, kind in _FORMS:
        if found := pattern.fullmatch(path):
            named = found.groupdict()
            return Form(
                kind,
                path,
                named.get("study") or "",
                named.get("series") or "",
                named.get("instance") or "",
            )
    return None
