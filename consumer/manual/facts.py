"""A series of the archive as what `messages.phases` decides by."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from consumer.errors import TooLarge
from consumer.orthanc.images import ArchiveImage, Images, ImageSeries
from messages.phases.facts import SeriesFacts
from messages.phases.flaws import CLASSIC_MR, PIXELS_KEYWORD, places_of_frame
from messages.phases.frames import of_whole
from messages.phases.heads import HEAD_KEYWORDS, facts_of
from messages.phases.numbering import COUNT_KEYWORD, numbered, or_numbered, place_of
from messages.phases.parts import (
    NUMBER_KEYWORD,
    PHASE_KEYWORDS,
    ImageFacts,
    Parts,
    Unclear,
    parts_of,
)
from messages.phases.tiled import IMAGES_IN_FRAME, may_hold_several
from messages.phases.times import TIME_KEYWORDS, timed
from messages.phases.turned import ROWS_TURNED, may_be_turned
from messages.phases.values import same_value

#: What is read of single instances: what tells phases apart and says when they were acquired.
_TIME_KEYWORDS = tuple(dict.fromkeys((*PHASE_KEYWORDS, *TIME_KEYWORDS)))

#: Instances of one series that are asked for their tags one by one, some milliseconds each.
MAX_ASKED = 4000


@dataclass(frozen=True)
class ExaminedSeries:
    """A series that was looked at: its images as they were, and what they amount to."""

    series: ImageSeries
    facts: SeriesFacts
    #: What each image says that may tell phases apart, as far as it was read.
    images: tuple[ImageFacts, ...]

    def holds(self, keyword: str, value: str) -> bool:
        """Whether an image is of the phase that keyword and value name."""
        if keyword != NUMBER_KEYWORD:
            return any(same_value(one.values.get(keyword, ""), value) for one in self.images)
        positions = [image.position for image in self.images]
        groups = numbered(positions, [image.number for image in self.series.images])
        wanted = place_of(value)
        return wanted is not None and wanted[1] == len(groups)


def examine(archive: Images, series_id: str, wanted: Collection[str] = ()) -> ExaminedSeries:
    """Find the phases of a series, and read the `wanted` keywords of each image.

    Raises as `Images.series` does.
    """
    series = archive.series(series_id)
    images = [ImageFacts(image.position, image.values) for image in series.images]
    facts = SeriesFacts(
        series_id=series_id,
        modality=series.modality,
        description=series.description,
        instance_count=series.instance_count,
        image_count=len(images),
    )
    if series.modality != "MR" or not images:
        return ExaminedSeries(series, facts, tuple(images))
    parts = parts_of(images)
    # Numbers are those of the instances, and known.
    telling = [keyword for keyword in wanted if keyword != NUMBER_KEYWORD]
    unread = not all(keyword in image.values for keyword in telling for image in images)
    if unread or parts.unclear in (Unclear.NOT_SEPARABLE, Unclear.INCOMPLETE_PHASE):
        # The index does not hold the times: ask every instance, now that it matters.
        images = _with_times(archive, series, images)
        parts = parts_of(images)
    if parts.unclear is Unclear.NOT_SEPARABLE:
        said = archive.tags(series.images[0].instance_id, (COUNT_KEYWORD,)).get(COUNT_KEYWORD, "")
        numbers = [image.number for image in series.images]
        parts = or_numbered(parts, images, numbers, (said,))
    heads = _heads(archive, series, parts)
    return ExaminedSeries(series, facts_of(facts, series.images, parts, heads), tuple(images))


def _with_times(
    archive: Images, series: ImageSeries, images: Sequence[ImageFacts]
) -> list[ImageFacts]:
    if sum(not image.frame for image in series.images) > MAX_ASKED:
        raise TooLarge(
            f"a series holds more than {MAX_ASKED} instances, and the index does not tell "
            "their phases apart"
        )
    return [
        facts
        if image.frame
        else ImageFacts(
            facts.position,
            {**facts.values, **timed(archive.tags(image.instance_id, _TIME_KEYWORDS))},
        )
        for image, facts in zip(series.images, images, strict=True)
    ]


def _heads(archive: Images, series: ImageSeries, parts: Parts) -> list[dict[str, str]]:
    """The tags of one image of each phase; of any image where there are none."""
    firsts = [series.images[part.images[0]] for part in parts.parts]
    if not firsts:
        # Of one without a place, if that is why: what it lacks is to be named.
        firsts = [image for image in series.images if image.position is None][:1]
    tags = {
        instance_id: _head(archive, instance_id)
        for instance_id in {image.instance_id for image in firsts or series.images[:1]}
    }
    # A frame says itself what differs from its object.
    return [_said(image, tags[image.instance_id]) for image in firsts or series.images[:1]]


def _said(image: ArchiveImage, tags: Mapping[str, str]) -> dict[str, str]:
    said = {**timed(of_whole(tags) if image.frame else tags), **image.values}
    if image.frame:
        said |= places_of_frame(image.position, image.orientation, image.spacing)
    return said


def _head(archive: Images, instance_id: str) -> dict[str, str]:
    head = archive.tags(instance_id, HEAD_KEYWORDS)
    if head.get("SOPClassUID") == CLASSIC_MR and may_hold_several(head):
        head[IMAGES_IN_FRAME] = archive.images_in_frame(instance_id)
    if head.get("SOPClassUID") == CLASSIC_MR and may_be_turned(head):
        head[ROWS_TURNED] = archive.rows_turned(instance_id)
    silent = bool(head.get("SOPClassUID")) and not head.get(PIXELS_KEYWORD)
    # Of a file in whose tags none are named the archive is asked for them.
    if silent and archive.has_pixels(instance_id):
        head[PIXELS_KEYWORD] = "there"
    return head
