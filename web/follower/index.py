"""The index is written from what Orthanc describes. Synchronous."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from django.db import transaction
from django.utils import timezone

from web.follower.models import IndexedSeries, IndexedStudy
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveUnavailable

log = structlog.get_logger(__name__)

#: DA, TM and CS (PS3.5 table 6.2-1): what has another form could be anything, a name as well.
_DA = re.compile("[0-9]{8}")
_TM = re.compile(r"[0-9]{2,6}(\.[0-9]{1,6})?")
_CS = re.compile("[A-Z0-9_ ]{1,16}")
_UID = re.compile("[0-9.]{1,64}")


@dataclass(frozen=True)
class Entered:
    """What was written down."""

    #: Ids of the studies that were touched.
    studies: frozenset[str]
    #: Ids of the series that hold an instance which was named.
    series: frozenset[str]


def enter(series_ids: Collection[str], instance_ids: Collection[str], orthanc: Orthanc) -> Entered:
    """Write down these series, and those of these instances, as they are now.

    Two calls. What is not there any more is left to `drop_series`. Raises `ArchiveUnavailable`.
    """
    # Asked for as series, instances are answered by the series that hold them.
    # Of one that has more in it than is read nothing is entered, and of the others all.
    found = orthanc.described("Series", {*series_ids, *instance_ids}).items
    try:
        study_ids = frozenset(str(item["ParentStudy"]) for item in found)
        stored = frozenset(
            item["ID"] for item in found if not set(instance_ids).isdisjoint(item["Instances"])
        )
        write(orthanc.described("Study", study_ids).items, found)
    except (KeyError, TypeError, AttributeError):
        raise ArchiveUnavailable("Orthanc described its resources in another way") from None
    return Entered(study_ids, stored)


def write(studies: Iterable[Mapping[str, Any]], series: Iterable[Mapping[str, Any]]) -> None:
    """Write down what Orthanc says of these. A series without its study is left out."""
    now = timezone.now()
    # By id, each once: a database cannot update a row twice in one statement.
    lines = {item["ID"]: _study(item, now) for item in studies}
    under = {item["ID"]: _series(item, now) for item in series if item["ParentStudy"] in lines}
    with transaction.atomic():
        IndexedStudy.objects.bulk_create(
            lines.values(),
            update_conflicts=True,
            unique_fields=["study_id"],
            update_fields=["study_uid", "study_date", "study_time", "looked_at"],
        )
        IndexedSeries.objects.bulk_create(
            under.values(),
            update_conflicts=True,
            unique_fields=["series_id"],
            update_fields=[
                "study",
                "series_uid",
                "modality",
                "instance_count",
                "stable",
                "looked_at",
            ],
        )


def drop_series(series_ids: Collection[str]) -> set[str]:
    """Forget series that the archive does not hold, and studies without any; ids of the studies."""
    with transaction.atomic():
        gone = IndexedSeries.objects.filter(pk__in=series_ids)
        study_ids = set(gone.values_list("study_id", flat=True))
        gone.delete()
        # Orthanc keeps no study without a series.
        empty = IndexedStudy.objects.filter(pk__in=study_ids, series=None)
        count, _by_model = empty.delete()
    if study_ids:
        log.info("archive_lost_series", series=len(series_ids), studies=count)
    return study_ids


def _study(item: Mapping[str, Any], now: Any) -> IndexedStudy:
    tags = item["MainDicomTags"]
    return IndexedStudy(
        study_id=item["ID"],
        study_uid=_of_form(_UID, tags.get("StudyInstanceUID")),
        study_date=_of_form(_DA, tags.get("StudyDate")),
        study_time=_of_form(_TM, tags.get("StudyTime")),
        looked_at=now,
    )


def _series(item: Mapping[str, Any], now: Any) -> IndexedSeries:
    tags = item["MainDicomTags"]
    return IndexedSeries(
        series_id=item["ID"],
        study_id=item["ParentStudy"],
        series_uid=_of_form(_UID, tags.get("SeriesInstanceUID")),
        modality=_of_form(_CS, tags.get("Modality")),
        instance_count=len(item["Instances"]),
        stable=bool(item.get("IsStable", False)),
        looked_at=now,
    )


def _of_form(form: re.Pattern[str], value: object) -> str:
    text = str(value or "").strip(" \0")
    return text if form.fullmatch(text) else ""
