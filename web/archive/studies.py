"""Studies and their series as plain values, with as few calls to Orthanc as it allows."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from web.archive.orthanc import Orthanc, archive

#: Studies on the list page.
LIST_LIMIT = 100

#: Orthanc 1.10 cannot sort: the newest are looked for in the last month, the last year, ever.
_SEARCH_DAYS: tuple[int | None, ...] = (31, 366, None)

#: Studies that one look may return. Beyond it the list may miss some; a reader would search.
_SCAN_LIMIT = 2000

_HANGUL = re.compile("[\uac00-\ud7a3]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_TIME = re.compile(r"(\d{2})(\d{2})?(\d{2}(?:\.\d{1,6})?)?")


@dataclass(frozen=True)
class StudySummary:
    """One line of the list."""

    study_id: str
    patient_name: str
    patient_id: str
    study_date: date | None
    description: str
    series_count: int


@dataclass(frozen=True)
class SeriesDetail:
    """One series.

    `acquired_at_s` is read for MR only: seconds from the midnight before the study, on the next
    day if its date says so.
    """

    series_id: str
    series_uid: str
    modality: str
    description: str
    number: int | None
    instance_count: int
    acquired_at_s: float | None
    image_type: tuple[str, ...]


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
    found = _newest_of_all(source, limit) if only is None else source.bulk("Study", only)
    found.sort(key=_newest, reverse=True)
    return [_summary(item) for item in found[:limit]]


def _newest_of_all(source: Orthanc, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for days in _SEARCH_DAYS:
        since = "" if days is None else f"{_today() - timedelta(days=days):%Y%m%d}-"
        found = source.find(
            {
                "Level": "Study",
                "Expand": True,
                "Limit": _SCAN_LIMIT,
                "Query": {"StudyDate": since},
            }
        )
        if len(found) >= limit:
            break
    return found


def study_detail(study_id: str, *, orthanc: Orthanc | None = None) -> StudyDetail:
    """Return a study with its series: two calls, and one more for each MR series.

    Raises `NotAnOrthancId`, `StudyNotFound` or `ArchiveUnavailable`.
    """
    source = orthanc or archive()
    study = source.json("studies", study_id)
    series = [_series(source, item) for item in source.json("studies", study_id, "/series")]
    series.sort(key=lambda s: (s.number is None, s.number or 0, s.description, s.series_id))
    tags, patient = study["MainDicomTags"], study["PatientMainDicomTags"]
    return StudyDetail(
        study_id=study["ID"],
        study_uid=tags["StudyInstanceUID"],
        patient_name=readable_name(patient.get("PatientName", "")),
        patient_id=patient.get("PatientID", ""),
        study_date=_date(tags.get("StudyDate", "")),
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


def seconds_of_day(text: str) -> float | None:
    """A DICOM TM value (``HHMMSS.FFFFFF``, shorter allowed) as seconds since midnight."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _series(source: Orthanc, item: dict[str, Any]) -> SeriesDetail:
    tags = item["MainDicomTags"]
    instances = item["Instances"]
    number = tags.get("SeriesNumber", "").strip()
    # Acquisition time and image type are no main tags in Orthanc 1.10. Other modalities are left
    # out of a proposal anyway, and the tags of a segmentation are long.
    wanted = tags.get("Modality") == "MR" and instances
    first = source.json("instances", instances[0], "/simplified-tags") if wanted else {}
    return SeriesDetail(
        series_id=item["ID"],
        series_uid=tags["SeriesInstanceUID"],
        modality=tags.get("Modality", ""),
        description=tags.get("SeriesDescription", ""),
        number=int(number) if _INTEGER.fullmatch(number) else None,
        instance_count=len(instances),
        acquired_at_s=_acquired_at(first, _text(first, "StudyDate")),
        image_type=tuple(part for part in _text(first, "ImageType").split("\\") if part),
    )


def _acquired_at(tags: dict[str, Any], study_date: str) -> float | None:
    # AcquisitionDateTime is YYYYMMDDHHMMSS.FFFFFF&ZZXX.
    whole = re.split(r"[+-]", _text(tags, "AcquisitionDateTime"))[0]
    seconds = seconds_of_day(_text(tags, "AcquisitionTime") or whole[8:])
    on = _date(_text(tags, "AcquisitionDate") or whole[:8] or _text(tags, "ContentDate"))
    begun = _date(study_date)
    if seconds is None or on is None or begun is None:
        # Without a date: on the day of the study, and what that makes implausible is said.
        return seconds
    return seconds + (on - begun).days * 86_400.0


def _text(tags: dict[str, Any], keyword: str) -> str:
    value = tags.get(keyword)
    return value if isinstance(value, str) else ""


def _summary(item: dict[str, Any]) -> StudySummary:
    tags, patient = item["MainDicomTags"], item["PatientMainDicomTags"]
    return StudySummary(
        study_id=item["ID"],
        patient_name=readable_name(patient.get("PatientName", "")),
        patient_id=patient.get("PatientID", ""),
        study_date=_date(tags.get("StudyDate", "")),
        description=tags.get("StudyDescription", ""),
        series_count=len(item["Series"]),
    )


def _newest(item: dict[str, Any]) -> tuple[str, str, str]:
    tags = item["MainDicomTags"]
    return tags.get("StudyDate", ""), tags.get("StudyTime", ""), item["LastUpdate"]


def _today() -> date:
    return date.today()  # noqa: DTZ011 - DICOM dates are local dates of the hospital


def _date(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
