"""Which bytes a run reads: the digest of all instances that were downloaded for it."""

from __future__ import annotations

from functools import partial
from hashlib import md5
from typing import TYPE_CHECKING

from consumer.dicom.files import Inflation, read_file
from consumer.dicom.series import by_series, guarded
from consumer.memory import map_bytes
from messages.input_digest import input_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from consumer.payloads import DownloadIndex, PhaseFiles

    #: SOP Instance UID by path of the download and number of the instance there, from 1.
    Known = Mapping[tuple[str, int], str]


def digest_of(source: DownloadIndex, known: Known) -> str:
    """`messages.input_digest` of the files, each series once.

    Of what is `known` no file is parsed again: that would take three times as long as the rest.
    Raises UnreadableDicom and TooLarge.
    """
    found: set[tuple[str, str]] = set()
    for places in by_series(source.phases):
        found.update(_instances(source.phases[places[0]], known))
    return input_digest(found)


def _instances(phase: PhaseFiles, known: Known) -> Iterator[tuple[str, str]]:
    inflation = Inflation()
    with map_bytes(phase.path) as memory, memoryview(memory) as whole:
        for number, (offset, length) in enumerate(phase.files, 1):
            with whole[offset : offset + length] as data:
                digest = md5(data, usedforsecurity=False).hexdigest()
                uid = known.get((phase.path, number))
                if uid is None:
                    # Of a phase of the series that nobody asked for.
                    uid = guarded(phase, number, partial(_uid, bytes(data), inflation))
            yield uid, digest


def _uid(data: bytes, inflation: Inflation) -> str:
    found = read_file(data, tags=("SOPInstanceUID",), stop_before_pixels=True, inflation=inflation)
    return str(found.SOPInstanceUID)
