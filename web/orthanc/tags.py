"""The tags of the instances of one series, as far as a page needs them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from messages.phases.flaws import CLASSIC_MR, PIXELS_KEYWORD, texts_of
from messages.phases.frames import Frame, frames_of
from messages.phases.heads import HEAD_KEYWORDS
from messages.phases.parts import Unclear
from messages.phases.tiled import IMAGES_IN_FRAME, images_in_frame, may_hold_several
from messages.phases.turned import ROWS_TURNED, may_be_turned, rows_turned
from web.orthanc.archive import Orthanc
from web.orthanc.connection import MAX_TAGS_BYTES, Budget
from web.orthanc.errors import InstanceNotFound, TooLongAnswer, UnusableAnswer
from web.orthanc.kept_frames import Described, Stored, keep, kept
from web.orthanc.time_budget import seconds_left

#: Bytes that are read of the tags of one series: those of two long multi-frame objects.
MAX_SERIES_TAGS_BYTES = 2 * MAX_TAGS_BYTES

#: Seconds for the multi-frame objects of one series, and their share of what a page has left: the
#: other series of a study must be read as well. Twenty objects of 33 frames took 1.8 s on a machine
#: with four times as much to do as it has cores.
SERIES_SECONDS, SERIES_SHARE = 8.0, 0.5

#: Letters of a value; none of those that are kept is as long in an image of a scanner.
MAX_TEXT = 1024


class Tags:
    """What the instances of one series say, each read once, and all of them bounded."""

    def __init__(self, orthanc: Orthanc) -> None:
        self._orthanc = orthanc
        self._budget = Budget(MAX_SERIES_TAGS_BYTES)
        self._texts: dict[str, Mapping[str, str]] = {}
        #: Instances whose tags are too long, alone or with those before them.
        self._too_long: set[str] = set()
        #: What the first echo planar image says of its rows: one sequence acquired them all.
        self._turned: str | None = None
        #: Until when (monotonic seconds) multi-frame objects are read.
        self._until: float | None = None

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
        one for all echo planar images of the series, and one where no pixels are told. Raises
        `ArchiveUnavailable`.
        """
        head = dict(self.of(instance_id))
        if head.get("SOPClassUID") == CLASSIC_MR and may_hold_several(head):
            count = images_in_frame(self._numbered(instance_id))
            head |= {IMAGES_IN_FRAME: count} if count else {}
        if head.get("SOPClassUID") == CLASSIC_MR and may_be_turned(head):
            if self._turned is None:
                self._turned = rows_turned(self._numbered(instance_id))
            head |= {ROWS_TURNED: self._turned} if self._turned else {}
        silent = bool(head.get("SOPClassUID")) and not head.get(PIXELS_KEYWORD)
        # Of a file in whose tags none are named the archive is asked for them.
        if silent and self._orthanc.has_pixels(instance_id):
            head[PIXELS_KEYWORD] = "there"
        return head

    def frames(self, instance_id: str, file: str, count: int) -> tuple[Frame, ...] | Unclear:
        """The `count` frames of a multi-frame instance, or why they were not looked into.

        `file` is Orthanc's name of what is stored. What was read once costs nothing again, so that
        a page that is loaded again gets further. Raises `ArchiveUnavailable`.
        """
        stored = Stored(self._orthanc, instance_id, file)
        known = kept(stored, count)
        if known is None:
            if self._budget.left < 0:
                return Unclear.TOO_LONG
            if self._late():
                return Unclear.TOO_SLOW
            tags = self._read(instance_id)
            if instance_id in self._too_long:
                return Unclear.TOO_LONG
            known = Described(frames_of(tags, count), self._texts[instance_id])
            if tags:
                keep(stored, known)
        self._texts[instance_id] = known.texts
        return known.frames

    def _late(self) -> bool:
        """Whether the time of the series is over; it begins with the first object."""
        now = time.monotonic()
        if self._until is None:
            left = seconds_left()
            share = SERIES_SECONDS if left is None else SERIES_SHARE * left
            self._until = now + min(SERIES_SECONDS, share)
            return False
        return now >= self._until

    def _read(self, instance_id: str) -> dict[str, Any]:
        """All tags of the instance, which are not kept; none where they cannot be had."""
        try:
            tags = self._orthanc.tags_within(instance_id, self._budget)
        except TooLongAnswer:
            tags = {}
            self._too_long.add(instance_id)
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
