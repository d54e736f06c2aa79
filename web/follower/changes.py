"""Reading the archive's log of changes, and knowing whether it is still the same log.

Orthanc numbers its changes and never tells a deletion; with a resource go the changes about it.
So a gap says nothing. What says that the log is another one:

- the highest number is lower than ours: the archive was wiped, or restored from an older copy;
- under our last number there is another change: it was restored, and has gone on since;
- our last change is not there although what it was about is, and was not stored again: the log
  was cleared.

After each of them all that the archive holds is gone through again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from web.follower.models import ArchivePlace
from web.orthanc.archive import Level, Orthanc
from web.orthanc.errors import ArchiveUnavailable, NotInArchive, TooLongAnswer

log = structlog.get_logger(__name__)

#: Name of the one row.
ARCHIVE = "archive"

#: Changes that one call asks for. Orthanc gives no more than it is asked.
PAGE = 400

#: A number that no archive reaches: then it answers with the highest that it has given.
_BEYOND = 2**62

#: What of a change is kept to know it again; a change of a patient is never kept.
_KEYS = ("Seq", "ChangeType", "ID", "Date", "ResourceType")

_LEVELS: dict[str, Level] = {"Study": "studies", "Series": "series", "Instance": "instances"}


@dataclass(frozen=True)
class News:
    """What one call has told."""

    #: Ids of series, and of instances that were stored.
    series: frozenset[str]
    instances: frozenset[str]
    #: Number of the last change that was read.
    seq: int
    #: The last one of a study, series or instance, by which the log is known again.
    anchor: Mapping[str, Any]
    #: Whether there is more to read now.
    more: bool


@dataclass(frozen=True)
class Log:
    """What became of the log since it was read."""

    #: Why it is not the same log; None where it is, as far as can be seen.
    other: str | None
    #: By which change it is known from now on; empty for none.
    anchor: Mapping[str, Any]


def first_place(orthanc: Orthanc) -> ArchivePlace:
    """Where to begin: at the end of the log, and with a walk through all that there is by now."""
    return ArchivePlace(name=ARCHIVE, seq=_last(orthanc), anchor={}, walked=0)


def recognised(place: ArchivePlace, orthanc: Orthanc) -> Log:
    """Whether this is the log that was read before. One call, or up to five.

    Raises `ArchiveUnavailable`.
    """
    if not place.anchor:
        return Log("went back" if _last(orthanc) < place.seq else None, _newest(place, orthanc))
    number = place.anchor["Seq"]
    found = _page(orthanc, number - 1, 1)["Changes"]
    if found and found[0]["Seq"] == number:
        if _anchor(found[0]) == place.anchor:
            return Log(None, place.anchor)
        return Log("is another", {})
    if not found and _last(orthanc) < place.seq:
        return Log("went back", {})
    if not _is_stored_again(place, orthanc) and _is_there(place.anchor, orthanc):
        return Log("was cleared", {})
    # Deleted, and with it the change: the log is known by another one from now on. Where the
    # archive overwrites, what was deleted so is there again.
    return Log(None, _newest(place, orthanc))


def read_on(place: ArchivePlace, orthanc: Orthanc) -> News:
    """The next changes after the place. Raises `ArchiveUnavailable`."""
    found = _page(orthanc, place.seq, PAGE)
    series, instances = set(), set()
    for change in found["Changes"]:
        if change["ResourceType"] == "Series":
            series.add(change["ID"])
        elif change["ResourceType"] == "Instance":
            instances.add(change["ID"])
    if not found["Changes"]:
        return News(frozenset(), frozenset(), place.seq, place.anchor, more=False)
    told = [change for change in found["Changes"] if change["ResourceType"] in _LEVELS]
    anchor = _anchor(told[-1]) if told else place.anchor
    last = found["Changes"][-1]["Seq"]
    return News(frozenset(series), frozenset(instances), last, anchor, not found["Done"])


def _last(orthanc: Orthanc) -> int:
    return int(_page(orthanc, _BEYOND, 1)["Last"])


def _newest(place: ArchivePlace, orthanc: Orthanc) -> dict[str, Any]:
    """The newest change that is there, where it was read already; else empty."""
    found = _whole(orthanc.last_change())["Changes"]
    known = found and found[-1]["Seq"] <= place.seq and found[-1]["ResourceType"] in _LEVELS
    return _anchor(found[-1]) if known else {}


def _page(orthanc: Orthanc, since: int, limit: int) -> dict[str, Any]:
    return _whole(orthanc.changes(since, limit))


def _whole(found: dict[str, Any]) -> dict[str, Any]:
    try:
        whole = isinstance(found["Done"], bool) and isinstance(found["Last"], int)
        known = all(set(_KEYS) <= set(change) for change in found["Changes"])
    except (KeyError, TypeError):
        whole = known = False
    if not (whole and known):
        raise ArchiveUnavailable("Orthanc told its changes in another way")
    return found


def _anchor(change: Mapping[str, Any]) -> dict[str, Any]:
    return {key: change[key] for key in _KEYS}


def _is_stored_again(place: ArchivePlace, orthanc: Orthanc) -> bool:
    """Whether what the anchor is about is among what is to be read next, as the anchor has it."""
    news = _page(orthanc, place.seq, PAGE)["Changes"]
    same = ("ChangeType", "ResourceType", "ID")
    return any(all(one[key] == place.anchor[key] for key in same) for one in news)


def _is_there(anchor: Mapping[str, Any], orthanc: Orthanc) -> bool:
    try:
        orthanc.json(_LEVELS[anchor["ResourceType"]], anchor["ID"])
    except NotInArchive:
        return False
    except TooLongAnswer:
        return True
    return True
