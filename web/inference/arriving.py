"""What is said of a choice of which images are still arriving, before it is asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from django.conf import settings
from django.utils.translation import gettext as _

from messages.phases.check import Concern
from web.inference.states import Hold
from web.orthanc.archive import Orthanc
from web.phases.choice import Found
from web.phases.chosen import concerns_about
from web.phases.concerns import WordedConcern, worded
from web.phases.proposal import StudyProposal, role_label
from web.phases.studies import SeriesDetail


def concerns_of_choice(found: Found) -> tuple[WordedConcern, ...]:
    """What speaks against a choice, that its images are still arriving among it."""
    roles = [item.role for item in found.chosen if item.series_id in found.arriving]
    return _worded(found.concerns, roles)


def concerns_of_proposal(
    orthanc: Orthanc, series: Sequence[SeriesDetail], proposal: StudyProposal
) -> tuple[WordedConcern, ...]:
    """The same of what is proposed of a study."""
    arriving = {item.series_id for item in series if item.arriving}
    roles = [
        item.role for item in proposal.roles if item.phase and item.phase.series_id in arriving
    ]
    return _worded(concerns_about(orthanc, series, proposal), roles)


def more_to_come(series: Sequence[SeriesDetail], proposal: StudyProposal) -> str:
    """Where no whole proposal can be made: whether that may be because images are missing."""
    incomplete = any(item.phase is None for item in proposal.roles)
    if incomplete and any(item.arriving for item in series):
        return _(
            "Images of this study are still arriving. Please load the page again when they are "
            "there."
        )
    return ""


def _worded(concerns: Sequence[Concern], arriving: Collection[str]) -> tuple[WordedConcern, ...]:
    """The concerns; while images arrive and the request waits for them, none refuses."""
    if not arriving:
        return worded(concerns)
    waits = settings.SITE.wait_for_whole_series
    sentence = (
        _(
            "Images are still arriving for: %(roles)s. The request will be sent as soon as they "
            "have all arrived."
        )
        if waits
        else _(
            "Images are still arriving for: %(roles)s. A request that is made now is analysed "
            "without those that are missing."
        )
    )
    roles = ", ".join(map(role_label, arriving))
    first = WordedConcern(Hold.SERIES_ARRIVING, sentence % {"roles": roles}, refuses=False)
    others = worded(concerns)
    if waits:
        # They are looked at again when all has arrived: what is missing now may come.
        others = tuple(replace(one, refuses=False) for one in others)
    return (first, *others)
