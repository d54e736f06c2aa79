"""One trial: a good study, changed at random, read in the real child, and what came of it."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Self

import numpy as np
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from consumer.children.workbench import UNFORESEEN, Limits, Workbench
from consumer.errors import LabError, OutOfMemory, WorkerCrashed
from consumer.memory import MemoryFile
from consumer.payloads import Volumes
from consumer.sandbox.confinement import ReaderLimits
from consumer.stop_conditions import StopConditions
from tests.bad_inputs.study import PLANTED, Phase, Study, real, series, study_of
from tests.dicom_factory import part10, spec
from tests.enhanced_factory import enhanced
from tests.fuzz.mutations import MUTATIONS
from tests.fuzz.values import wrong_values

#: Seconds for one reading; the good ones take hundredths.
READING_SECONDS = 60.0

#: Real files, one for each way to write pixels.
_REAL = (
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "JPEG-LL.dcm",
    "emri_small_RLE.dcm",
    "emri_small_big_endian.dcm",
    "emri_small_jpeg_2k_lossless.dcm",
    "emri_small_jpeg_ls_lossless.dcm",
    "CT_small.dcm",
    "test-SR.dcm",
    "image_dfl.dcm",
)


@dataclass(frozen=True)
class Outcome:
    """What became of a trial; a finding is what must not happen."""

    text: str
    finding: bool


def _encoded(syntax: str) -> Study:
    made = series()
    for ds in made.datasets:
        _write_as(ds, syntax)
    return study_of(("pre", made))


def _write_as(ds: Dataset, syntax: str) -> None:
    if syntax == RLELossless:
        ds.compress(RLELossless, generate_instance_uid=False)
        return
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()


def _two_phases() -> Study:
    pre = series()
    post = series(study_uid=pre.study_uid, frame_uid=pre.frame_uid, time="101630")
    return study_of(("pre", pre), ("post1", post))


def _enhanced() -> Study:
    pre = series()
    post = series(study_uid=pre.study_uid, frame_uid=pre.frame_uid, time="101630")
    whole = enhanced([pre, post])
    return Study(
        pre.study_uid,
        tuple(
            Phase(role, pre.series_uid, (part10(whole),), selector=("TemporalPositionIndex", value))
            for role, value in (("pre", "1"), ("post1", "2"))
        ),
    )


@cache
def bases() -> tuple[Study, ...]:
    """The good studies that trials begin with."""
    return (
        _two_phases(),
        _enhanced(),
        *(
            _encoded(syntax)
            for syntax in (
                ImplicitVRLittleEndian,
                ExplicitVRBigEndian,
                DeflatedExplicitVRLittleEndian,
                RLELossless,
            )
        ),
        *(real(name)() for name in _REAL),
    )


def changed_study(random: Random) -> Study:
    """A study with one or more files changed."""
    study = random.choice(bases())
    place = random.randrange(len(study.phases))
    files = list(study.phases[place].files)
    every = random.random() < 0.3
    number = random.randrange(len(files))
    steps = [random.choice(MUTATIONS) for _ in range(random.choice((1, 1, 2, 3)))]
    seed = random.getrandbits(32)
    for index, data in enumerate(files):
        if every or index == number:
            same = Random(seed)
            for step in steps:
                data = step(same, data) or b"\0"  # noqa: PLW2901 - it is the file that changes
            files[index] = data
    phases = list(study.phases)
    phases[place] = replace(phases[place], files=tuple(files))
    return Study(study.study_uid, _as_asked(random, tuple(phases)))


def _as_asked(random: Random, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """Now and then a part of the series is asked for."""
    if random.random() < 0.9:
        return phases
    keyword = random.choice(("TemporalPositionIdentifier", "AcquisitionTime", "AcquisitionNumber"))
    value = random.choice(("1", "101500", "20040826185730"))
    return tuple(replace(phase, selector=(keyword, value)) for phase in phases)


@contextmanager
def working() -> Iterator[Workbench]:
    """The children with limits that a trial may well reach."""
    allowed = ReaderLimits(memory_bytes=1024**3, volume_bytes=256 * 1024**2)
    bench = Workbench(Limits(reading=READING_SECONDS, inference=60.0, reader=allowed))
    try:
        yield bench
    finally:
        bench.stop()


def tried(bench: Workbench, study: Study) -> Outcome:
    """Read the study, and make a result of it where that went well."""
    try:
        with study.downloaded() as source, MemoryFile() as volumes, MemoryFile() as mask:
            header = bench.read(source, volumes.path, StopConditions())
            wrong = wrong_values(study, header, volumes)
            if wrong:
                return Outcome(wrong, finding=True)
            values = np.zeros(header.shape[1:], np.uint8)
            values[0, 0, 0] = 1
            mask.write(values.tobytes())
            stored = bench.package(source, mask.path, header.shape[1:], spec(), StopConditions())
            bench.measure(
                stored.dicom_bytes,
                source,
                spec(
                    primary_series_uid=stored.series_uid,
                    primary_instance_uid=stored.sop_instance_uid,
                ),
                Volumes(volumes.path, header),
                StopConditions(),
            )
    except LabError as error:
        text = f"{error.code}: {error.detail}"
        lost = isinstance(error, WorkerCrashed | OutOfMemory) or UNFORESEEN in text
        return Outcome(text, lost or _leaks(text) or _leaks(str(vars(error))))
    except Exception:  # noqa: BLE001 - whatever it is, it must not be
        return Outcome(traceback.format_exc(), finding=True)
    return Outcome("read", finding=False)


def _leaks(text: str) -> bool:
    return any(value in text for value in PLANTED)


class Said:
    """What this process and its children write to their error stream, kept in memory."""

    def __init__(self) -> None:
        self._kept = os.memfd_create("said")
        self._seen = 0

    def __enter__(self) -> Self:
        self._before = os.dup(2)
        os.dup2(self._kept, 2)
        return self

    def __exit__(self, *_: object) -> None:
        os.dup2(self._before, 2)
        os.close(self._before)
        os.close(self._kept)

    def finding(self) -> str:
        """What was said since the last look, where it is a traceback or quotes the patient."""
        size = os.fstat(self._kept).st_size
        text = os.pread(self._kept, size - self._seen, self._seen).decode(errors="replace")
        self._seen = size
        return text if "Traceback" in text or _leaks(text) else ""
