"""What the archive says of the images of a series, for a run by hand. No file is downloaded.

Orthanc keeps a few tags of each instance in its index: one call. What it does not keep is read
from single instances, and of their tags only those named here are looked at.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from consumer.errors import ArchiveUnavailable, SeriesNotFound, TooLarge
from consumer.orthanc.transport import DEFAULT_TIMEOUT, Transport
from messages.envelope import ORTHANC_ID_PATTERN
from messages.phases.flaws import texts_of
from messages.phases.frames import frames_of, point, text_of
from messages.phases.parts import PHASE_KEYWORDS
from messages.phases.tiled import images_in_frame
from messages.phases.turned import rows_turned
from messages.phases.values import integer

#: Bytes of one answer: a list of instances takes 600 for each, a multi-frame object some thousand
#: for each frame.
ANSWER_BYTES = 64 * 1024**2

#: Images of one series that are looked at, in however many objects: Siemens writes one with many
#: frames for each time point.
DEFAULT_IMAGES = 20_000

#: Bytes that the multi-frame objects of one series may say of themselves: those of `DEFAULT_IMAGES`
#: take 200 MB.
SERIES_BYTES = 512 * 1024**2

_COUNT = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True)
class ArchiveImage:
    """One image: an instance, or a frame of a multi-frame instance."""

    instance_id: str
    #: ImagePositionPatient, LPS, mm.
    position: tuple[float, float, float] | None
    #: ImageOrientationPatient: six cosines; None where the archive does not say it.
    orientation: tuple[float, ...] | None
    #: What may tell phases apart, and AcquisitionDate, as text; of an instance those of the index,
    #: of a frame also what it shows: `messages.phases.frames`.
    values: Mapping[str, str]
    #: PixelSpacing of a frame: mm between rows, between columns.
    spacing: tuple[float, ...] | None = None
    #: Whether it is a frame: then nothing more is to be read of it.
    frame: bool = False
    #: InstanceNumber, of a frame that of its object.
    number: int | None = None


@dataclass(frozen=True)
class ImageSeries:
    """A series and its images in the order of the index."""

    study_uid: str
    series_uid: str
    modality: str
    description: str
    #: Instances, not images.
    instance_count: int
    images: tuple[ArchiveImage, ...]
    #: Whether more of them may come: Orthanc says so for its ``StableAge`` after the last one.
    arriving: bool = False


class Images:
    """Reads of one Orthanc what its images say of themselves."""

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        *,
        timeout: tuple[float, float] = DEFAULT_TIMEOUT,
        max_images: int = DEFAULT_IMAGES,
    ) -> None:
        self._max_images = max_images
        self._http = Transport(url, (user, password), timeout=timeout)

    def series(self, series_id: str) -> ImageSeries:
        """The series: three calls, and one for each multi-frame object of an MR series.

        Raises `SeriesNotFound`, `TooLarge` and `ArchiveUnavailable`; ValueError for what is no
        Orthanc id.
        """
        if not _is_id(series_id):
            raise ValueError("not an Orthanc id")
        own, study, items = (
            self._get(f"/series/{series_id}{rest}", f"series {series_id}")
            for rest in ("", "/study", "/instances")
        )
        try:
            tags = own["MainDicomTags"]
            modality = text_of(tags, "Modality")
            images = tuple(self._images(items, look_inside=modality == "MR"))
            return ImageSeries(
                study_uid=study["MainDicomTags"]["StudyInstanceUID"],
                series_uid=tags["SeriesInstanceUID"],
                modality=modality,
                description=text_of(tags, "SeriesDescription"),
                instance_count=len(items),
                images=images,
                arriving=own.get("IsStable") is False,
            )
        except (KeyError, TypeError, AttributeError):
            raise ArchiveUnavailable("the archive described a series without its UIDs") from None

    def tags(self, instance_id: str, keywords: Sequence[str]) -> dict[str, str]:
        """The text of those `keywords` that an instance has, and whether it has pixels.

        All else is dropped unread.

        Raises `SeriesNotFound` when it is gone, and as `series` does.
        """
        return texts_of(self._all_tags(instance_id), keywords)

    def has_pixels(self, instance_id: str) -> bool:
        """Whether the archive finds Pixel Data in an instance; raises `ArchiveUnavailable`."""
        # Nothing is read of them: Orthanc answers no HEAD for them.
        with self._http.send("GET", f"/instances/{instance_id}/content/7fe0-0010") as response:
            return response.status_code != 404

    def images_in_frame(self, instance_id: str) -> str:
        """What a private element says of the slices in one frame (`messages.phases.tiled`).

        Raises as `tags` does.
        """
        return images_in_frame(self._all_tags(instance_id, "tags?short"))

    def rows_turned(self, instance_id: str) -> str:
        """What private elements say of the order of its rows (`messages.phases.turned`).

        Raises as `tags` does.
        """
        return rows_turned(self._all_tags(instance_id, "tags?short"))

    def _images(
        self, items: Sequence[Mapping[str, Any]], *, look_inside: bool
    ) -> Iterator[ArchiveImage]:
        total = sum(_frames_in(item) or 1 for item in items)
        if total > self._max_images:
            raise TooLarge(
                f"a series holds {total} images, and up to {self._max_images} are looked at by hand"
            )
        left = SERIES_BYTES
        for item in items:
            count = _frames_in(item)
            if count is None or not look_inside:
                yield _instance(item)
                continue
            tags, size = self._described(item["ID"])
            left -= size
            if left < 0:
                raise TooLarge(
                    f"the images of a series say more of themselves than {SERIES_BYTES} bytes"
                )
            yield from self._frames(item, tags, count)

    @staticmethod
    def _frames(
        item: Mapping[str, Any], tags: Mapping[str, Any], count: int
    ) -> Iterator[ArchiveImage]:
        number = _number(item)
        for frame in frames_of(tags, count):
            yield ArchiveImage(
                instance_id=item["ID"],
                number=number,
                position=frame.position,
                orientation=frame.orientation,
                values=dict((*frame.values, *frame.kind)),
                spacing=frame.spacing,
                frame=True,
            )

    def _all_tags(self, instance_id: str, form: str = "simplified-tags") -> Mapping[str, Any]:
        return self._described(instance_id, form)[0]

    def _described(
        self, instance_id: str, form: str = "simplified-tags"
    ) -> tuple[Mapping[str, Any], int]:
        """All tags of an instance, and the bytes that they took."""
        if not _is_id(instance_id):
            raise ArchiveUnavailable("the archive answered without an id")
        found, size = self._sized(f"/instances/{instance_id}/{form}", f"instance {instance_id}")
        if not isinstance(found, dict):
            raise ArchiveUnavailable("the archive described an instance by something else")
        return found, size

    def _get(self, path: str, what: str) -> Any:
        return self._sized(path, what)[0]

    def _sized(self, path: str, what: str) -> tuple[Any, int]:
        """The JSON of an answer, and its bytes."""
        with self._http.send("GET", path) as response:
            if response.status_code == 404:
                raise SeriesNotFound(f"the archive has no {what}")
            self._http.expect_ok(response)
            body = self._http.body(response, ANSWER_BYTES)
        try:
            return json.loads(body), len(body)
        except ValueError:
            raise ArchiveUnavailable("the archive answered something that is no JSON") from None


def _is_id(text: str) -> bool:
    # The last gate before a URL.
    return re.fullmatch(ORTHANC_ID_PATTERN.strip("^$"), text) is not None


def numbers_of(text: str, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers between backslashes, or None."""
    try:
        values = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _instance(item: Mapping[str, Any]) -> ArchiveImage:
    tags = item["MainDicomTags"]
    return ArchiveImage(
        instance_id=item["ID"],
        position=point(text_of(tags, "ImagePositionPatient")),
        orientation=numbers_of(text_of(tags, "ImageOrientationPatient"), 6),
        values={name: text for name in PHASE_KEYWORDS if (text := text_of(tags, name))},
        number=_number(item),
    )


def _number(item: Mapping[str, Any]) -> int | None:
    return integer(text_of(item["MainDicomTags"], "InstanceNumber"))


def _frames_in(item: Mapping[str, Any]) -> int | None:
    """Frames of a multi-frame object; None for a classic one, also if it says that it has one."""
    tags = item["MainDicomTags"]
    count = text_of(tags, "NumberOfFrames")
    if _COUNT.fullmatch(count) is None or (count == "1" and text_of(tags, "ImagePositionPatient")):
        return None
    return int(count)
