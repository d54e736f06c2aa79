"""Writes a simulated study as DICOM, one series for each phase, with the truth beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

from infra.phantom.headers import Plane, describe_patient, describe_plane, describe_scan
from infra.phantom.study import GENERATOR_VERSION, PhantomStudy

#: Root of every identifier; a random UUID, chosen once.
NAMESPACE: Final = UUID("0d3c8f5e-6b0a-4b57-9a55-0c6a8a2f6c11")
DESCRIPTIONS: Final = ("DCE pre", "DCE post 1", "DCE post 2", "DCE post 3")
#: SeriesNumber of the first phase; the localizer is 1, as scanners number in order.
FIRST_PHASE_NUMBER: Final = 3


@dataclass(frozen=True)
class WrittenStudy:
    """What was written, with the identifiers that a request needs."""

    study_instance_uid: str
    #: The four phases in the order of time.
    series_instance_uids: tuple[str, str, str, str]
    localizer_series_uid: str
    #: All DICOM files, the localizer's too.
    files: tuple[Path, ...]
    #: The truth: an .npz, not DICOM.
    truth: Path


def write_study(study: PhantomStudy, directory: Path) -> WrittenStudy:
    """Write `directory`/dicom/<series>/<instance>.dcm and `directory`/truth.npz.

    Identifiers, dates and times follow from the study's seed, preset, grid and tumours: writing
    it twice gives the same bytes.
    """
    written: list[Path] = []
    folder = directory / "dicom"
    for number, dataset in _instances(study):
        series = folder / f"{number:03d}"
        series.mkdir(parents=True, exist_ok=True)
        path = series / f"{dataset.InstanceNumber:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        written.append(path)
    truth = directory / "truth.npz"
    np.savez_compressed(
        truth,
        truth=study.truth,
        # (phases, slices), in the slice order of the truth: a result refers to one of the phases.
        sop_instance_uids=np.array(
            [
                [instance_uid(study, FIRST_PHASE_NUMBER + i, k) for k in range(study.grid.slices)]
                for i in range(4)
            ]
        ),
        affine=study.affine,
        diameters_mm=np.array([lesion.diameter_mm for lesion in study.lesions]),
        centres_ras_mm=np.array([lesion.centre for lesion in study.lesions]).reshape(-1, 3),
    )
    phases = [series_uid(study, FIRST_PHASE_NUMBER + i) for i in range(4)]
    return WrittenStudy(
        study_instance_uid=study_uid(study),
        series_instance_uids=(phases[0], phases[1], phases[2], phases[3]),
        localizer_series_uid=series_uid(study, 1),
        files=tuple(written),
        truth=truth,
    )


def study_uid(study: PhantomStudy) -> str:
    """Study Instance UID."""
    return _uid(study, "study")


def series_uid(study: PhantomStudy, number: int) -> str:
    """Series Instance UID of the series with this SeriesNumber."""
    return _uid(study, f"series/{number}")


def instance_uid(study: PhantomStudy, number: int, index: int) -> str:
    """SOP Instance UID of the slice with this index in the series with this SeriesNumber."""
    return _uid(study, f"instance/{number}/{index}")


def _uid(study: PhantomStudy, part: str) -> str:
    """Derive a `2.25.` UID from all that decides the content."""
    size = f"{study.grid.slices}x{study.grid.matrix}"
    name = f"v{GENERATOR_VERSION}/{study.seed}/{study.preset}/{size}/{len(study.lesions)}/{part}"
    return f"2.25.{uuid5(NAMESPACE, name).int}"


def _acquired(study: PhantomStudy, minutes: float) -> datetime:
    """Time of an acquisition: a working day that follows from the seed."""
    start = datetime(2024, 1, 2, 9, 10)  # noqa: DTZ001 - DICOM times are local
    injection = start + timedelta(days=study.seed % 360, minutes=study.seed * 37 % 420)
    return injection + timedelta(minutes=minutes)


def _instances(study: PhantomStudy) -> Iterator[tuple[int, Dataset]]:
    """Yield (SeriesNumber, data set) of every instance in the order of acquisition."""
    middle = [n // 2 for n in study.grid.shape]
    pre = study.phases[0]
    views = (pre[middle[0]], pre[::-1, middle[1]], pre[::-1, :, middle[2]])
    for index, (name, pixels) in enumerate(zip(Plane.NAMES, views, strict=True)):
        dataset = _image(
            study, 1, index, description="Localizer", at=_acquired(study, -6.0), pixels=pixels
        )
        describe_plane(dataset, Plane(study.grid, name, middle[Plane.NAMES.index(name)]))
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER", "LOCALIZER"]
        yield 1, dataset
    for phase, description in enumerate(DESCRIPTIONS):
        number = FIRST_PHASE_NUMBER + phase
        at = _acquired(study, study.minutes[phase])
        for index in range(study.grid.slices):
            pixels = study.phases[phase, index]
            dataset = _image(study, number, index, description=description, at=at, pixels=pixels)
            describe_plane(dataset, Plane(study.grid, "axial", index))
            dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
            dataset.TemporalPositionIdentifier = phase + 1
            dataset.NumberOfTemporalPositions = 4
            if phase:
                dataset.ContrastBolusAgent = "SIMULATED GADOLINIUM"
            yield number, dataset


def _image(
    study: PhantomStudy,
    number: int,
    index: int,
    *,
    description: str,
    at: datetime,
    pixels: NDArray[np.float32],
) -> Any:
    """Make an instance without its plane."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    describe_patient(dataset, study.seed)
    describe_scan(dataset, study)
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = UID(instance_uid(study, number, index))
    dataset.StudyInstanceUID = study_uid(study)
    dataset.SeriesInstanceUID = series_uid(study, number)
    dataset.FrameOfReferenceUID = _uid(study, "frame of reference")
    dataset.SeriesNumber = number
    dataset.AcquisitionNumber = number
    dataset.InstanceNumber = index + 1
    dataset.SeriesDescription = description
    start = _acquired(study, -8.0)
    dataset.StudyDate, dataset.StudyTime = _date(start), _time(start)
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = _date(at)
    dataset.SeriesTime = dataset.AcquisitionTime = _time(at)
    dataset.ContentTime = _time(at + timedelta(seconds=40))
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
    return dataset


def _date(at: datetime) -> str:
    return at.strftime("%Y%m%d")


def _time(at: datetime) -> str:
    return at.strftime("%H%M%S")
