"""The files of one series: parsed once, checked against the request, taken apart into phases."""

from __future__ import annotations

from functools import partial
from hashlib import md5
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pydicom.datadict import tag_for_keyword

from consumer.dicom.attributes import Absent, BrokenFile, Malformed, text
from consumer.dicom.enhanced import GROUP_TAGS, Image, images_of
from consumer.dicom.files import Inflation, read_file
from consumer.dicom.numbered import NUMBERING_TAGS, Place, by_number, images_by_number
from consumer.errors import LabError, MissingAttribute, SeriesChanged, UnreadableDicom
from consumer.memory import map_bytes
from messages.input_digest import input_digest
from messages.phases.values import same_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pydicom import Dataset

    from consumer.payloads import DownloadIndex, PhaseFiles

    #: SOP Instance UID by path of the download and number of the instance there, from 1.
    Known = Mapping[tuple[str, int], str]

T = TypeVar("T")

#: An image, and the number of its instance in the download, from 1.
Numbered: TypeAlias = "tuple[int, Image]"

#: What the reports need of a slice; all else is skipped while parsing.
EVIDENCE_TAGS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def parse(
    phases: Sequence[PhaseFiles],
    study_uid: str,
    *,
    stop_before_pixels: bool = True,
    tags: Sequence[str | int] | None = None,
) -> list[list[Numbered]]:
    """The images of each phase of one series, in the order in which they came.

    Each comes with its instance's number, from 1; `tags` limits what is read of each. Raises
    SeriesChanged when number, study or series differ from what was asked for or nothing is of a
    phase, TooLarge, MissingAttribute, and UnreadableDicom when a file cannot be parsed.
    """
    for phase in phases:
        if len(phase.files) != phase.instance_count or not phase.files:
            raise SeriesChanged(
                f"series {phase.series_uid} holds {len(phase.files)} instances, "
                f"{phase.instance_count} were asked for"
            )
    one = phases[0]
    numbered = _numbered(phases)
    telling = [keyword for phase in phases for keyword in _telling(phase.selector)]
    wanted = None if tags is None else [*tags, *telling]
    found: list[list[Numbered]] = [[] for _ in phases]
    for number, ds in _files(one, wanted, stop_before_pixels=stop_before_pixels):
        if guarded(one, number, partial(_uids, ds)) != (study_uid, one.series_uid):
            raise SeriesChanged(
                f"instance {number} of series {one.series_uid} belongs to another series"
            )
        images = guarded(one, number, partial(images_of, ds))
        for place, (phase, into) in enumerate(zip(phases, found, strict=True)):
            if place in numbered:
                chosen = [image for image in images if (number, image.frame) in numbered[place]]
            else:
                chosen = guarded(phase, number, partial(_chosen, images, phase.selector))
            into += [(number, image) for image in chosen]
    for phase, into in zip(phases, found, strict=True):
        if not into:
            raise SeriesChanged(f"no image of series {phase.series_uid} is of phase {phase.role}")
    return found


def by_series(phases: Sequence[PhaseFiles]) -> list[list[int]]:
    """Places of the phases that lie in the same files, so that each file is parsed once."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, phase in enumerate(phases):
        key = (phase.path, phase.files, phase.series_uid, phase.instance_count)
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def _numbered(phases: Sequence[PhaseFiles]) -> dict[int, frozenset[tuple[int, int | None]]]:
    """The images of those phases that are asked for by number, by the places of the phases.

    All images of the series must be known for that, so their headers are read beforehand.
    """
    wanted = by_number(phases)
    if not wanted:
        return {}
    one, places = phases[0], []
    tags = (*EVIDENCE_TAGS, *NUMBERING_TAGS, "NumberOfFrames", *GROUP_TAGS)
    for number, ds in _files(one, tags, stop_before_pixels=True):
        images = guarded(one, number, partial(images_of, ds))
        places += [guarded(one, number, partial(Place.of, number, image)) for image in images]
    return images_by_number(wanted, places, one.series_uid)


def _files(
    one: PhaseFiles, tags: Sequence[str | int] | None, *, stop_before_pixels: bool
) -> Iterator[tuple[int, Dataset]]:
    """Each file of a phase's series, parsed, under the number that counts them from 1."""
    inflation = Inflation()
    with map_bytes(one.path) as memory:
        for number, (offset, length) in enumerate(one.files, 1):
            read = partial(
                read_file,
                memory[offset : offset + length],
                stop_before_pixels=stop_before_pixels,
                tags=tags,
                inflation=inflation,
            )
            yield number, guarded(one, number, read)


def _telling(selector: tuple[str, str] | None) -> tuple[str, ...]:
    """The keywords by which a selector finds its images; none for a word of no dictionary."""
    if selector is None or tag_for_keyword(selector[0]) is None:
        return ()
    return (selector[0], "AcquisitionDateTime", "NumberOfFrames", *GROUP_TAGS)


def guarded(phase: PhaseFiles, number: int, read: Callable[[], T], cannot: str = "parsed") -> T:
    """Run `read` on one instance; what it raises becomes MissingAttribute or UnreadableDicom.

    `cannot` is what cannot be done with the instance where a library alone knows why: its text may
    quote a DICOM value and its type says nothing to a reader, so both are dropped, cause included.
    """
    try:
        return read()
    except (LabError, MemoryError):
        raise
    except Absent as exc:
        has = "has an empty" if exc.empty else "has no"
        raise MissingAttribute(f"instance {number} of {phase.role} {has} {exc.keyword}") from None
    except Malformed as exc:
        raise UnreadableDicom(
            f"{exc.keyword} in instance {number} of {phase.role} is not {exc.wanted}"
        ) from None
    except Exception as exc:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad input
        said = exc.said if isinstance(exc, BrokenFile) else f"cannot be {cannot}"
        raise UnreadableDicom(f"instance {number} of series {phase.series_uid} {said}") from None


def _uids(ds: Dataset) -> tuple[Any, Any]:
    """Study and series; raises Absent where the instance has no UIDs of its own."""
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        text(ds, keyword)
    return ds.get("StudyInstanceUID"), ds.get("SeriesInstanceUID")


def _chosen(images: Sequence[Image], selector: tuple[str, str] | None) -> list[Image]:
    return [image for image in images if _selected(image.head, selector)]


def _selected(ds: Dataset, selector: tuple[str, str] | None) -> bool:
    if selector is None:
        return True
    keyword, wanted = selector
    return same_value(str(ds.get(keyword, "")).strip(), wanted)


def digest_of(source: DownloadIndex, known: Known) -> str:
    """`messages.input_digest` of the files, each series once.

    Of what is `known` no file is parsed again: that would take three times as long as the rest.
    Raises UnreadableDicom and TooLarge.
    """
    found: set[tuple[str, str]] = set()
    for places in by_series(source.phases):
        found.update(_instances(source.phases[places[0]], known))
    return input_digest(found)


def _instances(phase: PhaseFiles, known: Known) -> Iterator[tuple[str, str]]:
    inflation = Inflation()
    with map_bytes(phase.path) as memory, memoryview(memory) as whole:
        for number, (offset, length) in enumerate(phase.files, 1):
            with whole[offset : offset + length] as data:
                digest = md5(data, usedforsecurity=False).hexdigest()
                uid = known.get((phase.path, number))
                if uid is None:
                    # Of a phase of the series that nobody asked for.
                    uid = guarded(phase, number, partial(_uid, bytes(data), inflation))
            yield uid, digest


def _uid(data: bytes, inflation: Inflation) -> str:
    found = read_file(data, tags=("SOPInstanceUID",), stop_before_pixels=True, inflation=inflation)
    return str(found.SOPInstanceUID)
