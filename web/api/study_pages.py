"""Pages of the list of studies, newest first, over an archive that cannot sort (Orthanc 1.10)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

from pydantic import BaseModel

from messages.envelope import OrthancId
from web.access.grants import Scope
from web.orthanc.archive import Orthanc, archive
from web.phases.studies import as_date

#: Days before the newest study that can be on a page; further back only when too few are found.
_LOOKS: tuple[int | None, ...] = (31, 366, 3660, None)

#: Studies that one call to the archive returns; all of a look are read, in several calls.
_BATCH = 1000


class Place(BaseModel):
    """Where a study stands in the list: by date, time and id, the greatest first."""

    #: ``YYYYMMDD``, or empty where the archive holds no date: at the end.
    day: str
    time: str
    study_id: OrthancId

    @property
    def key(self) -> tuple[str, str, str]:
        """What is compared."""
        return (self.day, self.time, self.study_id)


def page_of_studies(
    scope: Scope, limit: int, after: Place | None, *, orthanc: Orthanc | None = None
) -> tuple[list[dict[str, Any]], Place | None]:
    """The next `limit` studies that are seen, as Orthanc has them, and the place of the last.

    The place is None on the last page. Raises `ArchiveUnavailable`.
    """
    source = orthanc or archive()
    found = _all_seen(source, scope, limit, after)
    found.sort(key=lambda item: place_of_study(item).key, reverse=True)
    page = found[:limit]
    return page, place_of_study(page[-1]) if len(found) > limit else None


def place_of_study(item: dict[str, Any]) -> Place:
    """Where Orthanc's description of a study puts it."""
    tags = item["MainDicomTags"]
    day = tags.get("StudyDate", "")
    return Place(
        day=day if as_date(day) else "", time=tags.get("StudyTime", ""), study_id=item["ID"]
    )


def _all_seen(
    source: Orthanc, scope: Scope, limit: int, after: Place | None
) -> list[dict[str, Any]]:
    """At least `limit` + 1 of the studies behind the place if there are so many: the newest."""
    if not scope.everything:
        # Grants name their studies: no need to scan the archive for them.
        named = source.described("Study", scope.study_ids).items
        return [item for item in named if _is_behind(item, after)]
    found: list[dict[str, Any]] = []
    for days in _LOOKS:
        dates = _range(days, after)
        found = [
            item
            for item in _matching(source, dates)
            # A range may also match what is no date; that belongs to the end of the list.
            if _is_behind(item, after) and (not dates or place_of_study(item).day)
        ]
        if len(found) > limit:
            break
    return found


def _is_behind(item: dict[str, Any], after: Place | None) -> bool:
    return after is None or place_of_study(item).key < after.key


def _range(days: int | None, after: Place | None) -> str:
    """A range of dates as DICOM has it (PS3.4 C.2.2.2.5); empty for all, also without a date."""
    newest = None if after is None else as_date(after.day)
    if days is None or (after is not None and newest is None):
        return ""
    begin = date.fromordinal(max(1, (newest or _today()).toordinal() - days))
    return f"{_as_text(begin)}-{_as_text(newest) if newest else ''}"


def _matching(source: Orthanc, dates: str) -> Iterator[dict[str, Any]]:
    since = 0
    while True:
        batch = source.studies_dated(dates, _BATCH, since)
        yield from batch.items
        if batch.asked < _BATCH:
            return
        since += _BATCH


def _as_text(day: date) -> str:
    # Not strftime, which writes the year 1 without its zeros.
    return day.isoformat().replace("-", "")


def _today() -> date:
    return date.today()  # noqa: DTZ011 - DICOM dates are local dates of the hospital
