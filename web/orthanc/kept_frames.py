"""The frames of multi-frame objects that a process has read: a stored file never changes.

A series may be many objects, one for each time point, and each page, click and picture asks for
all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from messages.phases.frames import Frame
from web.orthanc.archive import Orthanc
from web.orthanc.keeping import Keeping

#: Frames that a process keeps, about 1.5 KB each: those of two of the longest series that are read.
KEPT_FRAMES = 20_000


class Stored(NamedTuple):
    """An object as it lies in an archive."""

    orthanc: Orthanc
    instance_id: str
    #: Orthanc's name of the file: another one where the object was deleted and stored again.
    file: str


class Described(NamedTuple):
    """What a multi-frame object says."""

    frames: tuple[Frame, ...]
    #: Of itself, by the keywords of `messages.phases.heads.HEAD_KEYWORDS`.
    texts: Mapping[str, str]


_kept: Keeping[Stored, Described] = Keeping(KEPT_FRAMES, lambda one: len(one.frames))


def kept(stored: Stored, count: int) -> Described | None:
    """The object as it was read before with that number of frames, or None."""
    found = _kept.get(stored)
    return None if found is None or len(found.frames) != count else found


def keep(stored: Stored, described: Described) -> None:
    """Keep an object, and forget those that were not asked for the longest."""
    _kept.keep(stored, described)
