"""What a report says of its source: the images of every phase, and which phase each series was."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from consumer.dicom.series import EVIDENCE_TAGS, by_series, parse
from consumer.errors import LabError, UnreadableDicom
from consumer.result.report import Reference, Source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydicom import Dataset

    from consumer.dicom.slices import Slices
    from consumer.payloads import DownloadIndex, PhaseFiles


@contextmanager
def building(source: DownloadIndex) -> Iterator[None]:
    """Turn what highdicom raises on odd patient or study values into UnreadableDicom.

    As in `guarded`, its text may quote them and is dropped.
    """
    try:
        yield
    except (LabError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - highdicom and pydicom raise many unrelated types
        raise UnreadableDicom(
            f"no result can be built from the metadata of series {source.phases[0].series_uid}"
        ) from None


def report_source(source: DownloadIndex, place: int, referred: Slices) -> Source:
    """The images of which a report speaks; `referred` are those of the phase at `place`.

    Raises as `parse` does.
    """
    others = [phase for at, phase in enumerate(source.phases) if at != place]
    named = [
        heads
        for group in by_series(others)
        for heads in _named([others[place] for place in group], source.study_uid)
    ]
    evidence = [*referred.heads, *(ds for heads in named for ds in heads)]
    return Source(referred.heads[0], evidence, _inputs(source))


def _named(phases: Sequence[PhaseFiles], study_uid: str) -> Sequence[Sequence[Dataset | Reference]]:
    """Each slice of the phases of a series with nothing but its UIDs.

    Parsed only where no run has read it.
    """
    if any(phase.instances is None for phase in phases):
        parsed = parse(phases, study_uid, tags=EVIDENCE_TAGS)
        return [[image.head for _, image in images] for images in parsed]
    return [
        [Reference(study_uid, phase.series_uid, *instance) for instance in phase.instances or ()]
        for phase in phases
    ]


def _inputs(source: DownloadIndex) -> list[str]:
    return [
        f"input {phase.role}={phase.series_uid}"
        + (f" {phase.selector[0]} {phase.selector[1]}" if phase.selector else "")
        for phase in source.phases
    ]
