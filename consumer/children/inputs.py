"""Which bytes a run reads: the digest of all instances that were downloaded for it."""

from __future__ import annotations

from functools import partial
from hashlib import md5
from typing import TYPE_CHECKING

from consumer.children.files import Inflation, read_file
from consumer.children.series import by_series, guarded
from consumer.memory import map_bytes
from messages.input_digest import input_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from consumer.handover import DownloadIndex, PhaseFiles


def digest_of(source: DownloadIndex) -> str:
    """`messages.input_digest` of the files, each series once.

    Raises UnreadableDicom and TooLarge; whoever calls it has parsed these files before.
    """
    found: set[tuple[str, str]] = set()
    for places in by_series(source.phases):
        found.update(_instances(source.phases[places[0]]))
    return input_digest(found)


def _instances(phase: PhaseFiles) -> Iterator[tuple[str, str]]:
    inflation = Inflation()
    with map_bytes(phase.path) as memory:
        for number, (offset, length) in enumerate(phase.files, 1):
            data = memory[offset : offset + length]
            uid = guarded(phase, number, partial(_uid, data, inflation))
            yield uid, md5(data, usedforsecurity=False).hexdigest()


def _uid(data: bytes, inflation: Inflation) -> str:
    found = read_file(data, tags=("SOPInstanceUID",), stop_before_pixels=True, inflation=inflation)
    return str(found.SOPInstanceUID)
