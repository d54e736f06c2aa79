"""Keywords that seemed to tell the phases of a series apart, and do not.

`web.phases.samples` looks at a few files of a series. Whoever shows a phase reads all of them,
and may find that the others say something else; the series is then not offered by that again.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Any

from messages.phases.parts import FRAME_PHASE_KEYWORDS
from web.orthanc.archive import Orthanc

#: Series of which a process remembers that; of one that is forgotten it finds out again.
_REMEMBERED = 512

_lock = Lock()
_doubted: OrderedDict[tuple[Orthanc, str], frozenset[str]] = OrderedDict()


def state_of(series: Mapping[str, Any]) -> str:
    """A series with the instances that it has now, as a short text; `series` as Orthanc has it."""
    # The ids come in any order.
    parts = [series["ID"], series.get("LastUpdate", ""), *sorted(series["Instances"])]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def doubt(orthanc: Orthanc, state: str, keyword: str) -> None:
    """Remember that the keyword does not tell the phases of that series apart."""
    if keyword not in FRAME_PHASE_KEYWORDS:
        return
    with _lock:
        _doubted[orthanc, state] = doubted(orthanc, state) | {keyword}
        _doubted.move_to_end((orthanc, state))
        while len(_doubted) > _REMEMBERED:
            _doubted.popitem(last=False)


def doubted(orthanc: Orthanc, state: str) -> frozenset[str]:
    """The keywords that do not tell the phases of that series apart, as far as is known."""
    return _doubted.get((orthanc, state), frozenset())
