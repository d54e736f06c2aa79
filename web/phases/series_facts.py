"""What the archive says of a series and its phases, with as few calls to Orthanc as it allows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from messages.phases.facts import SeriesFacts
from messages.phases.flaws import places_of_frame
from messages.phases.frames import of_whole
from messages.phases.heads import facts_of
from messages.phases.numbering import COUNT_KEYWORD, or_numbered
from messages.phases.parts import ImageFacts, Parts, Unclear, parts_of
from web.orthanc.archive import Orthanc
from web.orthanc.tags import Tags
from web.phases.doubts import doubted, state_of
from web.phases.images import Image, images_of
from web.phases.samples import sampled_parts

#: Phases of one series of which time and grid are read, each by one call. Fast runs have some
#: dozens; of the others no more than their number of images is known.
MAX_PHASES_READ = 64

#: Series whose facts a process keeps: a click after its page asks the archive nothing of them.
_KEPT_SERIES = 512


@dataclass(frozen=True)
class SeriesRead:
    """A series as far as it is known."""

    facts: SeriesFacts
    #: Instances, or frames of multi-frame ones: what a reader scrolls through.
    image_count: int


def read_series(orthanc: Orthanc, item: Mapping[str, Any]) -> SeriesRead:
    """What is known of a series; `item` is Orthanc's own description of it.

    For MR one call, and one for each phase or multi-frame object, rarely two (`Tags.head`); some at
    three positions where only the files tell the phases apart. Of another modality nothing is
    asked: the tags of a segmentation are long. What was read is kept until the series changes, or
    turns out to be otherwise (`web.phases.doubts`); what took too long is read on the next time.
    Raises `SeriesNotFound` or `ArchiveUnavailable`.
    """
    tags, instances = item["MainDicomTags"], item["Instances"]
    facts = SeriesFacts(
        series_id=item["ID"],
        modality=tags.get("Modality", ""),
        description=tags.get("SeriesDescription", ""),
        instance_count=len(instances),
    )
    if facts.modality == "MR" and instances:
        state = state_of(item)
        try:
            facts = _kept(orthanc, _Asked(facts, state, doubted(orthanc, state)))
        except _TooSlowError as slow:
            facts = slow.facts
    return SeriesRead(facts, facts.image_count or len(instances))


@dataclass(frozen=True)
class _Asked:
    """A series as far as its description tells, in one state of it."""

    # `scan` is a dictionary, and empty here.
    facts: SeriesFacts = field(hash=False)
    state: str
    doubted: frozenset[str]


class _TooSlowError(Exception):
    """Not all was read. It carries what is known: an exception is not kept."""

    def __init__(self, facts: SeriesFacts) -> None:
        super().__init__("the archive took too long for one series")
        self.facts = facts


@lru_cache(maxsize=_KEPT_SERIES)
def _kept(orthanc: Orthanc, asked: _Asked) -> SeriesFacts:
    tags = Tags(orthanc)
    images = images_of(orthanc, asked.facts.series_id, multi_frame=True, tags=tags)
    parts = _parts(tags, images, asked.doubted)
    firsts = [images[part.images[0]] for part in parts.parts[:MAX_PHASES_READ]]
    if not firsts:
        # Of one without a place, if that is why: what it lacks is to be named.
        placeless = [one for one in images if one.position is None and one.unread is None]
        firsts = placeless[:1] or [*images[:1]]
    facts = facts_of(asked.facts, images, parts, [_head(tags, image) for image in firsts])
    if facts.unclear is Unclear.TOO_SLOW:
        raise _TooSlowError(facts)
    return facts


def _parts(tags: Tags, images: Sequence[Image], doubted: Collection[str]) -> Parts:
    """The phases by what is known of all images, by some of their files, or by their numbers."""
    unread = next((image.unread for image in images if image.unread is not None), None)
    if unread is not None:
        return Parts((), unread)
    facts = [ImageFacts(image.position, dict(image.values)) for image in images]
    parts = parts_of(facts)
    if parts.unclear is None:
        return parts
    parts = sampled_parts(tags, images, doubted) or parts
    if parts.unclear is not Unclear.NOT_SEPARABLE:
        return parts
    said = tags.of(images[0].instance_id).get(COUNT_KEYWORD, "")
    return or_numbered(parts, facts, [image.number for image in images], (said,))


def _head(tags: Tags, image: Image) -> Mapping[str, str]:
    # A frame knows better than its object.
    head = tags.head(image.instance_id)
    if image.frame is not None:
        head = of_whole(head)
    said = {**head, **dict(image.values), **dict(image.kind)}
    if image.frame is not None:
        said |= places_of_frame(image.position, image.orientation, image.spacing)
    return said
