"""Studies and their series as plain values, with as few calls to Orthanc as it allows."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from messages.phases import SeriesFacts
from messages.phases.frames import text_of
from messages.phases.values import integer
from web.orthanc.archive import Orthanc, archive
from web.orthanc.time_budget import within
from web.phases.arriving import is_arriving
from web.phases.doubts import state_of
from web.phases.series_facts import read_series

#: Studies on the list page.
LIST_LIMIT = 100

#: Orthanc 1.10 cannot sort: the newest are looked for in the last month, the last year, ever.
_SEARCH_DAYS: tuple[int | None, ...] = (31, 366, None)

#: Studies that one look may return. Beyond it the list may miss some; a reader would search.
_SCAN_LIMIT = 2000

_DA = re.compile("[0-9]{8}")

_HANGUL = re.compile("[\uac00-\ud7a3]")


@dataclass(frozen=True)
class StudySummary:
    """One line of the list."""

    study_id: str
    patient_name: str
    patient_id: str
    study_date: date | None
    description: str
    series_count: int


@dataclass(frozen=True, kw_only=True)
class SeriesDetail:
    """One series. What is known of its phases is read for MR only."""

    series_uid: str
    number: int | None
    facts: SeriesFacts
    #: Instances, or frames of multi-frame ones.
    image_count: int
    #: The series with the instances that it has now: `web.phases.doubts.state_of`.
    state: str = ""
    #: Whether more of them may come, as far as the archive knows (`web.phases.arriving`). MR only.
    arriving: bool = False

    @property
    def series_id(self) -> str:
        """Orthanc's id."""
        return self.facts.series_id

    @property
    def acquired_at_s(self) -> float | None:
        """Seconds from the midnight before the study to its first phase, or None.

        On the next day if its date says so.
        """
        times = [phase.acquired_at_s for phase in self.facts.phases]
        return min((time for time in times if time is not None), default=None)


@dataclass(frozen=True)
class StudyDetail:
    """A study with its series in the order of their numbers."""

    study_id: str
    study_uid: str
    patient_name: str
    patient_id: str
    study_date: date | None
    description: str
    series: tuple[SeriesDetail, ...]


def studies(
    limit: int = LIST_LIMIT, *, only: Collection[str] | None = None, orthanc: Orthanc | None = None
) -> list[StudySummary]:
    """Return the newest studies, newest first; raises `ArchiveUnavailable`.

    `only` holds Orthanc's ids of the studies to choose from. They are asked for by id: among the
    newest of the whole archive they may not be.
    """
    source = orthanc or archive()
    found = _newest_of_all(source, limit) if only is None else source.described("Study", only).items
    found.sort(key=_newest, reverse=True)
    return [_summary(item) for item in found[:limit]]


def _newest_of_all(source: Orthanc, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for days in _SEARCH_DAYS:
        since = "" if days is None else f"{_today() - timedelta(days=days):%Y%m%d}-"
        found = source.studies_dated(since, _SCAN_LIMIT).items
        if len(found) >= limit:
            break
    return found


def study_detail(study_id: str, *, orthanc: Orthanc | None = None) -> StudyDetail:
    """Return a study with its series: two calls, and those of `read_series` for each MR series.

    In `web.orthanc.time_budget.PAGE_SECONDS` altogether. Raises `NotAnOrthancId`,
    `StudyNotFound` or `ArchiveUnavailable`.
    """
    source = orthanc or archive()
    with within():
        study = source.json("studies", study_id)
        series = [_series(source, item) for item in source.json("studies", study_id, "/series")]
    series.sort(key=lambda s: (s.number is None, s.number or 0, s.facts.description, s.series_id))
    tags, patient = study["MainDicomTags"], study["PatientMainDicomTags"]
    return StudyDetail(
        study_id=study["ID"],
        study_uid=tags["StudyInstanceUID"],
        patient_name=readable_name(patient.get("PatientName", "")),
        patient_id=patient.get("PatientID", ""),
        study_date=as_date(tags.get("StudyDate", "")),
        description=tags.get("StudyDescription", ""),
        series=tuple(series),
    )


def readable_name(text: str) -> str:
    """A DICOM person name (PS3.5 6.2.1) for a person to read: in Hangul where it is there."""
    groups = [group for group in text.split("=") if group.strip("^ ")]
    if not groups:
        return ""
    chosen = next((group for group in groups if _HANGUL.search(group)), groups[0])
    parts = [part.strip() for part in chosen.split("^") if part.strip()]
    return ("" if _HANGUL.search(chosen) else " ").join(parts)


def _series(source: Orthanc, item: dict[str, Any]) -> SeriesDetail:
    read = read_series(source, item)
    return SeriesDetail(
        series_uid=item["MainDicomTags"]["SeriesInstanceUID"],
        number=integer(text_of(item["MainDicomTags"], "SeriesNumber")),
        facts=read.facts,
        image_count=read.image_count,
        state=state_of(item),
        # Of our own results nobody waits for more.
        arriving=read.facts.modality == "MR" and is_arriving(item),
    )


def _summary(item: dict[str, Any]) -> StudySummary:
    tags, patient = item["MainDicomTags"], item["PatientMainDicomTags"]
    return StudySummary(
        study_id=item["ID"],
        patient_name=readable_name(patient.get("PatientName", "")),
        patient_id=patient.get("PatientID", ""),
        study_date=as_date(tags.get("StudyDate", "")),
        description=tags.get("StudyDescription", ""),
        series_count=len(item["Series"]),
    )


def _newest(item: dict[str, Any]) -> tuple[str, str, str]:
    tags = item["MainDicomTags"]
    return tags.get("StudyDate", ""), tags.get("StudyTime", ""), item["LastUpdate"]


def _today() -> date:
    return date.today()  # noqa: DTZ011 - DICOM dates are local dates of the hospital


def as_date(text: str) -> date | None:
    """A DICOM date (DA, ``YYYYMMDD``), or None for what is none: ``2026 101`` is none."""
    if _DA.fullmatch(text) is None:
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
