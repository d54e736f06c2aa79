"""What no change tells: studies that were there before, and what was deleted. Synchronous."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from web.follower import index
from web.follower.models import ArchivePlace, IndexedSeries, IndexedStudy
from web.orthanc.archive import Orthanc
from web.orthanc.errors import ArchiveUnavailable

#: Studies of one page of a walk: two calls.
STUDIES = 50

#: Studies that two pages have in common: those before may be deleted between the two, and the
#: rest moves up.
OVERLAP = 5

#: Seconds between the end of a walk and the next: it finds what a walk or a change has missed.
WALK_AGAIN_SECONDS = 24 * 3600

#: Series whose presence one call asks for.
SERIES = 40

#: Seconds after which the presence of a series is asked for again.
LOOK_AGAIN_SECONDS = 60.0


def walk_on(place: ArchivePlace, orthanc: Orthanc) -> int | None:
    """Write the next page of studies into the index; return how many the walk has passed by then.

    None at its end. Raises `ArchiveUnavailable`.
    """
    passed = place.walked or 0
    page = orthanc.studies_page(max(0, passed - OVERLAP), STUDIES + OVERLAP)
    try:
        ids = [one for study in page.items for one in study["Series"]]
        index.write(page.items, orthanc.described("Series", ids).items)
    except (KeyError, TypeError, AttributeError):
        raise ArchiveUnavailable("Orthanc described its resources in another way") from None
    end = max(0, passed - OVERLAP) + page.asked
    return end if end > passed else None


def is_due(place: ArchivePlace) -> bool:
    """Whether the next walk is to begin."""
    if place.walked is not None or place.walk_ended_at is None:
        return False
    return timezone.now() - place.walk_ended_at > timedelta(seconds=WALK_AGAIN_SECONDS)


def sweep(orthanc: Orthanc, limit: int = SERIES, after_s: float = LOOK_AGAIN_SECONDS) -> set[str]:
    """Ask for the series that were not looked at for the longest; ids of studies that changed.

    One call, or two. Raises `ArchiveUnavailable`.
    """
    due = timezone.now() - timedelta(seconds=after_s)
    known = dict(
        IndexedSeries.objects.filter(looked_at__lt=due)
        .order_by("looked_at")
        .values_list("pk", "instance_count")[:limit]
    )
    if not known:
        _forget_empty(due)
        return set()
    described = orthanc.described("Series", known)
    found = described.items
    try:
        counts = {item["ID"]: len(item["Instances"]) for item in found}
        studies = orthanc.described("Study", {item["ParentStudy"] for item in found})
        index.write(studies.items, found)
        changed = {item["ParentStudy"] for item in found if counts[item["ID"]] != known[item["ID"]]}
    except (KeyError, TypeError, AttributeError):
        raise ArchiveUnavailable("Orthanc described its resources in another way") from None
    # What is too long to be described is there, and not asked for again before the others.
    long = IndexedSeries.objects.filter(pk__in=described.too_long)
    long.update(looked_at=timezone.now())
    there = counts.keys() | described.too_long
    gone = [series_id for series_id in known if series_id not in there]
    return changed | (index.drop_series(gone) if gone else set())


def _forget_empty(due: Any) -> None:
    """Studies that were entered while their series were on their way, and are gone with them."""
    IndexedStudy.objects.filter(Q(looked_at__lt=due), series=None).delete()
