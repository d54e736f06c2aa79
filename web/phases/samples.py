"""Phases that only the files tell apart: TriggerTime and times are not in Orthanc's database."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from messages.phases.frames import text_of
from messages.phases.parts import PHASE_KEYWORDS, ImageFacts, Part, Parts, Unclear, parts_of
from messages.phases.positions import places_of
from web.orthanc.tags import Tags
from web.phases.images import KEPT_VALUES, Image

#: Images at one position of which the files are read, at three positions; of more it is said that
#: nobody has looked: it is no dynamic run that a reader would wait for.
MAX_AT_ONE_POSITION = 32


def sampled_parts(tags: Tags, images: Sequence[Image], doubted: Collection[str]) -> Parts | None:
    """Tell the phases apart by the files at the first, middle and last position alone.

    By none of the `doubted` keywords: the other files have been read, and say something else. One
    call for each image there. None where that tells nothing: a keyword must have the same
    values at each of the three, and every position as many images. Each part has the images of its
    value at the three, and as many more that lie at the other positions, whichever these are: the
    positions of a part are right, and which images it holds `web.phases.members` finds out.
    Raises `ArchiveUnavailable`.
    """
    known = [image.position for image in images if image.position is not None]
    if len(known) < len(images) or any(image.frame is not None for image in images):
        return None
    by_place: dict[int, list[int]] = {}
    for index, place in enumerate(places_of(known)):
        by_place.setdefault(place, []).append(index)
    repeats = {len(at) for at in by_place.values()}
    if len(repeats) > 1 or max(repeats) < 2:
        return None
    if max(repeats) > MAX_AT_ONE_POSITION:
        return Parts((), Unclear.TOO_MANY_AT_ONE_PLACE)
    places = list(by_place.values())
    looked_at = {id(at): at for at in (places[0], places[len(places) // 2], places[-1])}
    chosen = [index for at in looked_at.values() for index in at]
    read = parts_of([_facts(tags, images[index], doubted) for index in chosen])
    if read.unclear is Unclear.VALUE_NOT_CARRIED:
        return read
    if len(read.parts) != max(repeats):
        return None
    others = [at for at in places if id(at) not in looked_at]
    return Parts(
        tuple(
            Part(
                part.keyword,
                part.value,
                tuple([chosen[i] for i in part.images] + [at[turn] for at in others]),
            )
            for turn, part in enumerate(read.parts)
        )
    )


def _facts(known: Tags, image: Image, doubted: Collection[str]) -> ImageFacts:
    tags = known.of(image.instance_id)
    # Those of the database have been tried on all images, and did not tell.
    tried = {*KEPT_VALUES, *doubted}
    names = [name for name in (*PHASE_KEYWORDS, "AcquisitionDate") if name not in tried]
    values = {name: text for name in names if (text := text_of(tags, name))}
    return ImageFacts(image.position, values)
