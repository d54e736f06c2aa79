"""Slices of another acquisition or kind inside a phase: what the reader says of the files."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pydicom import Dataset

from consumer.children import reader
from consumer.errors import LabError, MixedPhase
from consumer.memory import MemoryFile
from consumer.payloads import DownloadIndex, VolumeHeader
from messages.failures import FailureCode
from tests.dicom_factory import Series, index, oblique, part10, place
from tests.enhanced_factory import enhanced

ROLES = ("pre", "post1", "post2", "last")
TIMES = ("101500", "101630", "101800", "101930")
SLICES = 6


def four_phases(**changes: object) -> dict[str, Series]:
    """Four phases on one oblique grid, each a series of its own."""
    first = Series(orientation=oblique())
    return {
        role: Series(
            orientation=oblique(),
            study_uid=first.study_uid,
            frame_uid=first.frame_uid,
            **{"time": time, **changes},
        )
        for role, time in zip(ROLES, TIMES, strict=True)
    }


def merged(phases: dict[str, Series]) -> list[bytes]:
    """The files of one series that counts its phases by TemporalPositionIdentifier."""
    uid = phases["pre"].series_uid
    files = []
    for number, series in enumerate(phases.values(), 1):
        for ds in series.datasets:
            ds.SeriesInstanceUID, ds.TemporalPositionIdentifier = uid, number
            files.append(part10(ds))
    return files


def read(source: DownloadIndex) -> VolumeHeader:
    with MemoryFile() as target:
        return reader.read_phases(source, target.path)


def read_series(phases: dict[str, Series], *, in_one_series: bool) -> VolumeHeader:
    """The phases as series of their own, in a shuffled order, or as phases of one series."""
    order = np.random.default_rng(1)
    with MemoryFile() as memory:
        if not in_one_series:
            for series in phases.values():
                series.datasets = [series.datasets[i] for i in order.permutation(SLICES)]
            return read(index(memory, **phases))
        files, first = merged(phases), phases["pre"]
        files = [files[i] for i in order.permutation(len(files))]
        chosen = tuple(
            place(
                memory,
                files,
                role,
                first.series_uid,
                selector=("TemporalPositionIdentifier", str(number)),
            )
            for number, role in enumerate(phases, 1)
        )
        return read(DownloadIndex(first.study_uid, chosen))


def say(**values: object) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            setattr(ds, keyword, value)

    return change


@pytest.mark.parametrize("in_one_series", [False, True], ids=["series", "one series"])
@pytest.mark.parametrize(
    ("change", "keyword"),
    [
        (say(ImageType=["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]), "ImageType"),
        (say(ImageType=["ORIGINAL", "PRIMARY", "OTHER", "SUB"]), "ImageType"),
        (say(ImageType=["DERIVED", "SECONDARY", "PROCESSED"]), "ImageType"),
        (say(EchoTime="4.76"), "EchoTime"),
        (say(EchoNumbers="2"), "EchoNumbers"),
        (say(DiffusionBValue=800.0), "DiffusionBValue"),
        (say(AcquisitionNumber="3"), "AcquisitionNumber"),
        (say(AcquisitionTime="101800"), "AcquisitionTime"),
        (say(AcquisitionTime=None, AcquisitionDateTime="20260102101800"), "AcquisitionTime"),
        (say(TriggerTime="180000"), "TriggerTime"),
    ],
)
def test_slices_that_do_not_belong_to_the_phase_are_refused_by_name(
    change: Callable[[Dataset], None], keyword: str, *, in_one_series: bool
) -> None:
    phases = four_phases()
    for series in phases.values():
        for ds in series.datasets:
            ds.EchoNumbers, ds.DiffusionBValue, ds.AcquisitionNumber = "1", 0.0, "2"
            ds.TriggerTime = "90000"
    for ds in phases["post1"].datasets[3:5]:
        change(ds)
    with pytest.raises(MixedPhase) as caught:
        read_series(phases, in_one_series=in_one_series)
    assert str(caught.value) == f"slice 4 of post1 has another {keyword} than the others"
    assert caught.value.code is FailureCode.MIXED_PHASE


@pytest.mark.parametrize("source", ["pre", "post2", "last"])
def test_half_of_a_phase_from_another_one_is_refused(source: str) -> None:
    phases = four_phases()
    for ds, other in zip(phases["post1"].datasets[3:], phases[source].datasets[3:], strict=True):
        ds.AcquisitionTime = other.AcquisitionTime
    with pytest.raises(MixedPhase, match="slice 4 of post1 has another AcquisitionTime"):
        read_series(phases, in_one_series=False)


def test_a_phase_of_one_phase_models_is_looked_at_too() -> None:
    series = Series()
    for ds in series.datasets[1:3]:
        ds.ImageType = ["ORIGINAL", "PRIMARY", "PHASE MAP", "P"]
    with (
        MemoryFile() as memory,
        pytest.raises(MixedPhase, match="slice 2 of image has another ImageType"),
    ):
        read(index(memory, image=series))


def _times(after: Callable[[int], float]) -> Callable[[str, int], str]:
    def at(start: str, number: int) -> str:
        seconds = int(start[:2]) * 3600 + int(start[2:4]) * 60 + int(start[4:]) + after(number)
        return f"{int(seconds // 3600):02d}{int(seconds // 60) % 60:02d}{seconds % 60:09.6f}"

    return at


@pytest.mark.parametrize("in_one_series", [False, True], ids=["series", "one series"])
@pytest.mark.parametrize(
    "after",
    [lambda n: 2.5 * n, lambda n: 20.0 * (n % 2), lambda n: n // 2 + 3 * (n % 2)],
    ids=["a time each", "two packages", "interleaved"],
)
def test_slices_with_times_and_numbers_of_their_own_are_read(
    after: Callable[[int], float], *, in_one_series: bool
) -> None:
    phases = four_phases()
    at = _times(after)
    for series in phases.values():
        for number, ds in enumerate(series.datasets):
            ds.AcquisitionTime = at(series.time, number)
            ds.AcquisitionNumber = number + 1
    header = read_series(phases, in_one_series=in_one_series)
    assert header.seconds == (0.0, 90.0, 180.0, 270.0)


FRAME_GROUPS = {
    "ImageType": ("MRImageFrameTypeSequence", "FrameType"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "AcquisitionTime": ("FrameContentSequence", "FrameAcquisitionDateTime"),
}


@pytest.mark.parametrize(
    ("keyword", "usual", "other"),
    [
        (None, None, None),
        ("ImageType", ["ORIGINAL", "PRIMARY", "T1", "NONE"], ["DERIVED", "PRIMARY", "T1", "NONE"]),
        ("ImageType", ["ORIGINAL", "PRIMARY", "T1", "NONE"], ["ORIGINAL", "PRIMARY", "T1", "ADD"]),
        ("EchoTime", 2.3, 4.6),
        ("DiffusionBValue", 0.0, 800.0),
        ("AcquisitionNumber", None, 99),
        ("AcquisitionTime", None, "20260102101800"),
    ],
)
def test_the_frames_of_enhanced_mr_are_looked_at(
    keyword: str | None, usual: object, other: object
) -> None:
    phases = list(four_phases().values())
    ds = enhanced(phases)
    if keyword is not None:
        sequence, name = FRAME_GROUPS[keyword]
        for place_of, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
            if sequence not in group:
                setattr(group, sequence, [Dataset()])
            # Two slices of the second phase.
            value = other if place_of in {SLICES + 2, SLICES + 3} else usual
            if value is not None:
                setattr(group[sequence][0], name, value)
    with MemoryFile() as memory:
        files = [part10(ds)]
        chosen = tuple(
            place(
                memory,
                files,
                role,
                ds.SeriesInstanceUID,
                selector=("TemporalPositionIndex", str(number)),
            )
            for number, role in enumerate(ROLES, 1)
        )
        source = DownloadIndex(ds.StudyInstanceUID, chosen)
        if keyword is None:
            assert read(source).roles == ROLES
            return
        with pytest.raises(MixedPhase) as caught:
            read(source)
    assert str(caught.value) == f"slice 3 of post1 has another {keyword} than the others"


@pytest.mark.parametrize("value", [b"12\\x56", b"\xff\xfe1234", b"1e9999", b"      "])
@pytest.mark.parametrize("keyword", ["EchoTime", "AcquisitionNumber", "TriggerTime", "ImageType"])
def test_a_value_that_is_none_is_never_quoted(keyword: str, value: bytes) -> None:
    series = Series()
    for ds in series.datasets:
        setattr(ds, keyword, "123456")
    files = series.files()
    files[2] = files[2].replace(b"123456", value, 1)
    with MemoryFile() as memory:
        source = DownloadIndex(series.study_uid, (place(memory, files, "a", series.series_uid),))
        try:
            read(source)
        except LabError as refused:
            said = str(refused)
        else:
            said = "read"
    assert said in {"read", f"slice 3 of a has another {keyword} than the others"}
