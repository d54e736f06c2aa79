"""The table of a study's series: images, time, and what each is for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from web.phases.candidates import clock
from web.phases.proposal import StudyProposal
from web.phases.studies import SeriesDetail


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
    """How many images, of how many phases where there are several, and whether more may come."""
    phases = len(series.facts.phases)
    numbers = {"images": series.image_count, "phases": phases}
    there = str(series.image_count)
    if phases > 1:
        there = _("%(images)d in %(phases)d phases") % numbers
    return _("%(images)s, still arriving") % {"images": there} if series.arriving else there
