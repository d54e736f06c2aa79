"""The frames of multi-frame objects that a process has read: instances never change.

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

#: Frames that a process keeps, about 2 KB each: those of two of the longest series that are read.
KEPT_FRAMES = 20_000


class Described(NamedTuple):
    """What a multi-frame object says."""

    frames: tuple[Frame, ...]
    #: Of itself, by the keywords of `messages.phases.heads.HEAD_KEYWORDS`.
    texts: Mapping[str, str]


_lock = Lock()
_kept: OrderedDict[tuple[Orthanc, str], Described] = OrderedDict()


def kept(orthanc: Orthanc, instance_id: str, count: int) -> Described | None:
    """The object as it was read before with that number of frames, or None."""
    with _lock:
        found = _kept.get((orthanc, instance_id))
        if found is None or len(found.frames) != count:
            return None
        _kept.move_to_end((orthanc, instance_id))
        return found


def keep(orthanc: Orthanc, instance_id: str, described: Described) -> None:
    """Keep an object, and forget those that were not asked for the longest."""
    with _lock:
        _kept[orthanc, instance_id] = described
        _kept.move_to_end((orthanc, instance_id))
        total = sum(len(one.frames) for one in _kept.values())
        while total > KEPT_FRAMES:
            _, oldest = _kept.popitem(last=False)
            total -= len(oldest.frames)
