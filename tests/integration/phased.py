"""Small four-phase studies as scanners store them: phases in one series, in two, in frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
import numpy as np
from pydicom import Dataset
from pydicom.uid import generate_uid

from infra.local.orthanc import OrthancNode
from tests.dicom_factory import Series, part10
from tests.enhanced_factory import enhanced

SLICES, ROWS, COLUMNS = 5, 16, 20

#: Acquisition times of the four phases, 95 s apart.
TIMES = ("101500", "101635", "101810", "101945")


@dataclass(frozen=True)
class Phased:
    """A study in the archive."""

    study_id: str
    #: Of the series, in the order of their phases.
    series_ids: tuple[str, ...]
    #: As they were made, in time order.
    phases: tuple[Series, ...]


def four_phases() -> tuple[Series, ...]:
    """Four phases on one grid, each a series of its own; grey is 100 x phase + 10 x slice."""
    study_uid, frame_uid = generate_uid(), generate_uid()
    greys = 10 * np.arange(SLICES)[:, None, None] + np.zeros((SLICES, ROWS, COLUMNS))
    return tuple(
        Series(
            slices=SLICES,
            rows=ROWS,
            columns=COLUMNS,
            study_uid=study_uid,
            frame_uid=frame_uid,
            time=time,
            pixels=(100 * number + greys).astype(np.uint16),
        )
        for number, time in enumerate(TIMES, 1)
    )


def merged(phases: Sequence[Series], mark: Callable[[Dataset, int], None]) -> None:
    """Put phases into the series of the first, slice by slice; `mark` writes the phase's number."""
    uid, number = generate_uid(), 0
    for place in range(SLICES):
        for phase, series in enumerate(phases, 1):
            number += 1
            ds = series.datasets[place]
            ds.SeriesInstanceUID, ds.InstanceNumber = uid, number
            mark(ds, phase)


def by_keyword(keyword: str, ds: Dataset, phase: int) -> None:
    """The keyword counts the phases."""
    setattr(ds, keyword, phase)


def by_trigger(ds: Dataset, phase: int) -> None:
    """As GE has it: one acquisition time, and milliseconds into the run."""
    ds.AcquisitionTime, ds.TriggerTime = TIMES[0], str(95_000 * (phase - 1))


def in_one_series(orthanc: OrthancNode, keyword: str = "TemporalPositionIdentifier") -> Phased:
    """All phases in one series, counted by a keyword that Orthanc's database holds."""
    phases = four_phases()
    merged(phases, partial(by_keyword, keyword))
    return stored(orthanc, phases)


def in_one_series_by_trigger(orthanc: OrthancNode) -> Phased:
    """All phases in one series, told apart by TriggerTime alone."""
    phases = four_phases()
    merged(phases, by_trigger)
    return stored(orthanc, phases)


def in_two_series(orthanc: OrthancNode) -> Phased:
    """The first phase alone, the others together in a second series."""
    phases = four_phases()
    merged(phases[1:], partial(by_keyword, "AcquisitionNumber"))
    return stored(orthanc, phases)


def in_frames(orthanc: OrthancNode) -> Phased:
    """All phases as frames of one Enhanced MR object, the phases of a slice side by side."""
    phases = four_phases()
    order = [(phase, place) for place in range(SLICES) for phase in range(4)]
    return stored(orthanc, phases, [part10(enhanced(phases, order=order))])


def stored(orthanc: OrthancNode, phases: tuple[Series, ...], files: Sequence[bytes] = ()) -> Phased:
    """Store the files of the phases, or those given in their place."""
    files = files or [file for phase in phases for file in phase.files()]
    with httpx.Client(base_url=orthanc.url, auth=(orthanc.user, orthanc.password)) as client:
        found = [
            client.post("/instances", content=file).raise_for_status().json() for file in files
        ]
    series = tuple(dict.fromkeys(answer["ParentSeries"] for answer in found))
    return Phased(found[0]["ParentStudy"], series, phases)


def lasting(concerns: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The concerns but the one that goes by itself: the archive awaits more of what is new."""
    return [one for one in concerns if one["code"] != "series_arriving"]
