"""Which images of a series are of one phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from messages.phases.frames import text_of
from messages.phases.numbering import numbered, place_of
from messages.phases.parts import FRAME_PHASE_KEYWORDS, NUMBER_KEYWORD, ImageFacts, parts_of
from messages.phases.values import same_value
from messages.request import PhaseSelector
from web.orthanc.archive import Orthanc
from web.orthanc.errors import (
    InstanceNotFound,
    NotLookedInto,
    PhaseNotFound,
    UnusableAnswer,
)
from web.phases.doubts import doubt, state_of
from web.phases.images import MAX_IMAGES, Image

#: Series of which a process keeps what their files say: they are many, and never change.
_KEPT_SERIES = 16


def members(
    orthanc: Orthanc, series: Mapping[str, Any], images: Sequence[Image], phase: PhaseSelector
) -> tuple[Image, ...]:
    """Return the images of a phase in their order; `series` is Orthanc's description of it.

    By what is known of them; only where Orthanc's database does not hold the keyword their files
    are read, in one call, or in one for each where their tags are too long for that. Where the
    files say something else than `web.phases.samples` has seen in some of them, that is
    remembered. Raises `PhaseNotFound` when there are none, `NotLookedInto` or
    `ArchiveUnavailable`.
    """
    if any(image.unread is not None for image in images):
        raise NotLookedInto("not all images of the series could be looked into")
    if phase.keyword == NUMBER_KEYWORD:
        return _by_number(images, phase.value)
    values = [dict(image.values).get(phase.keyword, "") for image in images]
    if not any(values) and phase.keyword in FRAME_PHASE_KEYWORDS and len(images) <= MAX_IMAGES:
        ids = tuple(dict.fromkeys(image.instance_id for image in images))
        read = _of_files(orthanc, series["ID"], ids, phase.keyword)
        values = [read.get(image.instance_id, "") for image in images]
        facts = [
            ImageFacts(image.position, {phase.keyword: value})
            for image, value in zip(images, values, strict=True)
        ]
        if parts_of(facts).unclear is not None:
            doubt(orthanc, state_of(series), phase.keyword)
    found = tuple(
        image for image, value in zip(images, values, strict=True) if same_value(value, phase.value)
    )
    if not found:
        raise PhaseNotFound("no image of the series has that value")
    return found


def _by_number(images: Sequence[Image], value: str) -> tuple[Image, ...]:
    groups = numbered([image.position for image in images], [image.number for image in images])
    wanted = place_of(value)
    if wanted is None or wanted[1] != len(groups):
        raise PhaseNotFound("the series is not numbered so")
    return tuple(images[i] for i in groups[wanted[0] - 1])


@lru_cache(maxsize=_KEPT_SERIES)
def _of_files(
    orthanc: Orthanc, series_id: str, instance_ids: tuple[str, ...], keyword: str
) -> dict[str, str]:
    """The value of a keyword in the file of each instance of a series."""
    try:
        listed = orthanc.series_tags(series_id)
    except UnusableAnswer:
        return {one: _of_file(orthanc, one, keyword) for one in instance_ids}
    return {
        instance_id: text_of(tags, keyword)
        for instance_id, tags in listed.items()
        if isinstance(tags, dict)
    }


def _of_file(orthanc: Orthanc, instance_id: str, keyword: str) -> str:
    try:
        return text_of(orthanc.tags(instance_id), keyword)
    except (UnusableAnswer, InstanceNotFound):
        return ""
