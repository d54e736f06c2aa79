"""Which images of a series are of the phases that only their numbering tells apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consumer.errors import SeriesChanged, WrongPhaseCount
from messages.phases.numbering import COUNT_KEYWORD, numbered, place_of
from messages.phases.parts import NUMBER_KEYWORD
from messages.phases.values import integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from consumer.dicom.enhanced import Image
    from consumer.payloads import PhaseFiles
    from messages.phases.positions import Position

#: What is read of each image to find its phase.
NUMBERING_TAGS = (NUMBER_KEYWORD, "ImagePositionPatient", COUNT_KEYWORD)


@dataclass(frozen=True)
class Place:
    """Where an image lies, and how it is numbered."""

    #: Of its instance in the download, from 1, and of the frame; None for a classic instance.
    image: tuple[int, int | None]
    position: Position | None
    #: InstanceNumber, of a frame that of its object.
    number: int | None
    #: How many phases the series holds, as the image says it; None where it does not.
    count: int | None

    @classmethod
    def of(cls, number: int, image: Image) -> Place:
        """What the image says; raises what pydicom raises."""
        place = image.head.get("ImagePositionPatient")
        x, y, z = map(float, place) if place else (None, None, None)
        return cls(
            image=(number, image.frame),
            position=None if x is None or y is None or z is None else (x, y, z),
            number=_whole(image.source.get(NUMBER_KEYWORD)),
            count=_whole(image.source.get(COUNT_KEYWORD)),
        )


def by_number(phases: Sequence[PhaseFiles]) -> dict[int, tuple[int, int]]:
    """Of the phases that are asked for by number which of how many, by their places.

    Raises SeriesChanged for a number that names none.
    """
    found = {}
    for at, phase in enumerate(phases):
        keyword, value = phase.selector or ("", "")
        if keyword == NUMBER_KEYWORD:
            wanted = place_of(value)
            if wanted is None:
                raise SeriesChanged(
                    f"no image of series {phase.series_uid} is of phase {phase.role}"
                )
            found[at] = wanted
    return found


def images_by_number(
    wanted: Mapping[int, tuple[int, int]], places: Sequence[Place], series_uid: str
) -> dict[int, frozenset[tuple[int, int | None]]]:
    """The images of each wanted phase, of all images of the series.

    Raises SeriesChanged where they are not numbered in as many phases, and WrongPhaseCount where
    an image says another number of them: a phase may be missing, and the others would move up.
    """
    groups = numbered([one.position for one in places], [one.number for one in places])
    for _, of in wanted.values():
        if of != len(groups):
            raise SeriesChanged(
                f"the images of series {series_uid} are not numbered in {of} phases"
            )
        if _others(places, of):
            raise WrongPhaseCount(
                f"series {series_uid} says that it holds another number of phases than the {of} "
                "that its images are numbered in"
            )
    return {
        at: frozenset(places[i].image for i in groups[place - 1])
        for at, (place, _) in wanted.items()
    }


def _others(places: Iterable[Place], of: int) -> bool:
    return any(one.count not in {of, None} for one in places)


def _whole(value: Any) -> int | None:
    return None if value is None else integer(str(value))
