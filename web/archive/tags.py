"""The tags of the instances of one series, as far as a page needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from messages.phases.flaws import CLASSIC_MR, PIXELS_KEYWORD, texts_of
from messages.phases.frames import Frame, frames_of
from messages.phases.heads import HEAD_KEYWORDS
from messages.phases.tiled import IMAGES_IN_FRAME, images_in_frame, may_hold_several
from web.archive.errors import InstanceNotFound, UnusableAnswer
from web.archive.orthanc import MAX_TAGS_BYTES, Budget, Orthanc

#: Bytes that are read of the tags of one series: those of two long multi-frame objects.
MAX_SERIES_TAGS_BYTES = 2 * MAX_TAGS_BYTES

#: Letters of a value; none of those that are kept is as long in an image of a scanner.
MAX_TEXT = 1024


class Tags:
    """What the instances of one series say, each read once, and all of them bounded."""

    def __init__(self, orthanc: Orthanc) -> None:
        self._orthanc = orthanc
        self._budget = Budget(MAX_SERIES_TAGS_BYTES)
        self._texts: dict[str, dict[str, str]] = {}

    def of(self, instance_id: str) -> Mapping[str, str]:
        """The texts of `HEAD_KEYWORDS` that an instance has, and whether it has pixels.

        None where it is gone, its tags cannot be read, or those of the series were too long until
        here. Raises `ArchiveUnavailable`.
        """
        if instance_id not in self._texts:
            self._read(instance_id)
        return self._texts[instance_id]

    def head(self, instance_id: str) -> Mapping[str, str]:
        """The same of the first image of a phase, which is looked at more closely.

        One more call where its matrix may hold several slices and only a private element says so,
        and one where no pixels are told. Raises `ArchiveUnavailable`.
        """
        head = dict(self.of(instance_id))
        if head.get("SOPClassUID") == CLASSIC_MR and may_hold_several(head):
            count = images_in_frame(self._numbered(instance_id))
            head |= {IMAGES_IN_FRAME: count} if count else {}
        silent = bool(head.get("SOPClassUID")) and not head.get(PIXELS_KEYWORD)
        # Of a file in whose tags none are named the archive is asked for them.
        if silent and self._orthanc.has_pixels(instance_id):
            head[PIXELS_KEYWORD] = "there"
        return head

    def frames(self, instance_id: str, count: int) -> tuple[Frame, ...]:
        """The `count` frames of a multi-frame instance; raises `ArchiveUnavailable`."""
        return frames_of(self._read(instance_id), count)

    def _read(self, instance_id: str) -> dict[str, Any]:
        """All tags of the instance, which are not kept."""
        try:
            tags = self._orthanc.tags_within(instance_id, self._budget)
        except (UnusableAnswer, InstanceNotFound):
            tags = {}
        texts = texts_of(tags, HEAD_KEYWORDS)
        self._texts[instance_id] = {
            name: text for name, text in texts.items() if 0 < len(text) <= MAX_TEXT
        }
        return tags

    def _numbered(self, instance_id: str) -> dict[str, Any]:
        """The tags by number: by keyword all private ones have one name, and one is told."""
        try:
            return self._orthanc.numbered_tags(instance_id, self._budget)
        except (UnusableAnswer, InstanceNotFound):
            return {}
