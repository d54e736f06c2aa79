"""The tags of the instances of one series, as far as a page needs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from messages.phases.frames import Frame, frames_of, text_of
from messages.phases.heads import HEAD_KEYWORDS
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
        """The texts of `HEAD_KEYWORDS` that an instance has.

        None where it is gone, its tags cannot be read, or those of the series were too long until
        here. Raises `ArchiveUnavailable`.
        """
        if instance_id not in self._texts:
            self._read(instance_id)
        return self._texts[instance_id]

    def frames(self, instance_id: str, count: int) -> tuple[Frame, ...]:
        """The `count` frames of a multi-frame instance; raises `ArchiveUnavailable`."""
        return frames_of(self._read(instance_id), count)

    def _read(self, instance_id: str) -> dict[str, Any]:
        """All tags of the instance, which are not kept."""
        try:
            tags = self._orthanc.tags_within(instance_id, self._budget)
        except (UnusableAnswer, InstanceNotFound):
            tags = {}
        texts = {name: text_of(tags, name) for name in HEAD_KEYWORDS}
        self._texts[instance_id] = {
            name: text for name, text in texts.items() if 0 < len(text) <= MAX_TEXT
        }
        return tags
