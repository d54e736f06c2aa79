"""The frames of multi-frame objects that a process has read: a stored file never changes.

A series may be many objects, one for each time point, and each page, click and picture asks for
all of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import NamedTuple

from messages.phases.frames import Frame
from web.archive.orthanc import Orthanc

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


_lock = Lock()
_kept: OrderedDict[Stored, Described] = OrderedDict()


def kept(stored: Stored, count: int) -> Described | None:
    """The object as it was read before with that number of frames, or None."""
    with _lock:
        found = _kept.get(stored)
        if found is None or len(found.frames) != count:
            return None
        _kept.move_to_end(stored)
        return found


def keep(stored: Stored, described: Described) -> None:
    """Keep an object, and forget those that were not asked for the longest."""
    with _lock:
        _kept[stored] = described
        _kept.move_to_end(stored)
        total = sum(len(one.frames) for one in _kept.values())
        while total > KEPT_FRAMES:
            _, oldest = _kept.popitem(last=False)
            total -= len(oldest.frames)
