"""What became of a result's input and of the result itself. Pure: no Django, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

#: Characters of the reason for which a result is withdrawn.
MAX_REASON = 500


class InputState(StrEnum):
    """What the study holds now of the series that a result was computed from."""

    #: Nobody can say: not compared yet, or a result of before, which does not state its input.
    UNKNOWN = "unknown"
    #: Byte for byte what the lab read.
    SAME = "same"
    #: More images than the lab read, for instance because the rest arrived later.
    MORE = "more"
    #: Fewer images than the lab read.
    FEWER = "fewer"
    #: As many images, and at least one is another or has other bytes.
    REPLACED = "replaced"
    #: At least one of the series is not in the study any more.
    DELETED = "deleted"


class ResultState(StrEnum):
    """Where a result is."""

    #: In the archive, as far as anybody has looked.
    STORED = "stored"
    #: The archive does not hold its primary object any more.
    GONE = "gone"
    #: Staff have taken it back, for a stated reason. It stays so.
    WITHDRAWN = "withdrawn"


#: States in which the result is of other images than the study holds now.
CHANGED = frozenset({InputState.MORE, InputState.FEWER, InputState.REPLACED, InputState.DELETED})


def input_state_of(
    read: Mapping[str, int], held: Mapping[str, int], *, same_bytes: bool | None
) -> InputState:
    """Compare what the lab `read` with what the study has `held` since: images by id of a series.

    `same_bytes` is what comparing the digests says, None where one of them is not known. It decides
    only where the numbers agree: a number that differs is certain for results of before, too.
    """
    if any(series_id not in held for series_id in read):
        return InputState.DELETED
    more = any(held[series_id] > count for series_id, count in read.items())
    fewer = any(held[series_id] < count for series_id, count in read.items())
    if more or fewer:
        if more and fewer:
            return InputState.REPLACED
        return InputState.MORE if more else InputState.FEWER
    if same_bytes is None:
        return InputState.UNKNOWN
    return InputState.SAME if same_bytes else InputState.REPLACED
