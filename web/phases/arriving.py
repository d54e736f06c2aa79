"""Whether the images of a series are still arriving, as far as the archive knows.

Orthanc calls a series stable when no image of it has come for ``StableAge`` seconds (60 by
default). It remembers that in memory: after a restart everything is stable. A sender that pauses
for longer cannot be told from one that has ended.

Never of the study: our own results make that unstable.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from web.orthanc.archive import Orthanc

#: Series that one call asks for: each is answered with the ids of all its images.
_AT_ONCE = 100


def is_arriving(series: Mapping[str, Any]) -> bool:
    """Whether more images may come; `series` as Orthanc describes it.

    An archive that says nothing of it has no series that grows.
    """
    return series.get("IsStable") is False


def arriving_among(orthanc: Orthanc, series_ids: Collection[str]) -> set[str]:
    """Those of the series of which more images may come; what is gone is not among them.

    Nor is one that has more images than are read: who asks for it will be told. One call for each
    hundred. Raises `ArchiveUnavailable`.
    """
    wanted = sorted(series_ids)
    return {
        item["ID"]
        for start in range(0, len(wanted), _AT_ONCE)
        for item in orthanc.described("Series", wanted[start : start + _AT_ONCE]).items
        if is_arriving(item)
    }
