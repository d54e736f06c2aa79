"""The table of a study's series: images, time, and what each is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from web.archive.candidates import clock
from web.archive.proposal import StudyProposal
from web.archive.studies import SeriesDetail


def series_lines(series: Sequence[SeriesDetail], proposal: StudyProposal) -> list[dict[str, Any]]:
    """A line for each series, with the reason of those that the proposal leaves out."""
    return [
        {
            "series": item,
            "images": _images(item),
            "time": clock(item.acquired_at_s),
            "use": proposal.left_out.get(item.series_id, ""),
        }
        for item in series
    ]


def _images(series: SeriesDetail) -> str:
    """How many images, and of how many phases where there are several."""
    phases = len(series.facts.phases)
    if phases < 2:
        return str(series.image_count)
    numbers = {"images": series.image_count, "phases": phases}
    return _("%(images)d in %(phases)d phases") % numbers
