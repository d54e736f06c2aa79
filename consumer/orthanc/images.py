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
from messages.phases.frames import frames_of, point, text_of
from messages.phases.parts import PHASE_KEYWORDS

#: Bytes of one answer: a list of instances takes 600 for each, a multi-frame object some thousand
#: for each frame.
ANSWER_BYTES = 64 * 1024**2

#: Images of one series that are looked at.
DEFAULT_IMAGES = 20_000

#: Multi-frame objects of one series that are looked into, each by one call.
MAX_MULTI_FRAME = 16

_COUNT = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True)
class Image:
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


@dataclass(frozen=True)
class ImageSeries:
    """A series and its images in the order of the index."""

    study_uid: str
    series_uid: str
    modality: str
    description: str
    #: Instances, not images.
    instance_count: int
    images: tuple[Image, ...]
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
        """The text of those `keywords` that an instance has; all else is dropped unread.

        Raises `SeriesNotFound` when it is gone, and as `series` does.
        """
        found = self._all_tags(instance_id)
        return {name: text for name in keywords if (text := text_of(found, name))}

    def _images(self, items: Sequence[Mapping[str, Any]], *, look_inside: bool) -> Iterator[Image]:
        several = sum(_frames_in(item) is not None for item in items)
        total = len(items) + sum(_frames_in(item) or 0 for item in items)
        if total > self._max_images or several > MAX_MULTI_FRAME:
            raise TooLarge(f"a series holds {total} images, too many to look at by hand")
        for item in items:
            count = _frames_in(item)
            if count is None or not look_inside:
                yield _instance(item)
            else:
                yield from self._frames(item["ID"], count)

    def _frames(self, instance_id: str, count: int) -> Iterator[Image]:
        for frame in frames_of(self._all_tags(instance_id), count):
            yield Image(
                instance_id=instance_id,
                position=frame.position,
                orientation=frame.orientation,
                values=dict((*frame.values, *frame.kind)),
                spacing=frame.spacing,
                frame=True,
            )

    def _all_tags(self, instance_id: str) -> Mapping[str, Any]:
        if not _is_id(instance_id):
            raise ArchiveUnavailable("the archive answered without an id")
        found = self._get(f"/instances/{instance_id}/simplified-tags", f"instance {instance_id}")
        if not isinstance(found, dict):
            raise ArchiveUnavailable("the archive described an instance by something else")
        return found

    def _get(self, path: str, what: str) -> Any:
        with self._http.send("GET", path) as response:
            if response.status_code == 404:
                raise SeriesNotFound(f"the archive has no {what}")
            self._http.expect_ok(response)
            body = self._http.body(response, ANSWER_BYTES)
        try:
            return json.loads(body)
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


def _instance(item: Mapping[str, Any]) -> Image:
    tags = item["MainDicomTags"]
    return Image(
        instance_id=item["ID"],
        position=point(text_of(tags, "ImagePositionPatient")),
        orientation=numbers_of(text_of(tags, "ImageOrientationPatient"), 6),
        values={name: text for name in PHASE_KEYWORDS if (text := text_of(tags, name))},
    )


def _frames_in(item: Mapping[str, Any]) -> int | None:
    """Frames of a multi-frame object; None for a classic one, also if it says that it has one."""
    tags = item["MainDicomTags"]
    count = text_of(tags, "NumberOfFrames")
    if _COUNT.fullmatch(count) is None or (count == "1" and text_of(tags, "ImagePositionPatient")):
        return None
    return int(count)
