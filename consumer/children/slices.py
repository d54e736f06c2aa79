"""One phase as sorted slices: parsed, checked against the request, placed on a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from consumer.children.grid import Frame, Grid, grid_of
from consumer.errors import (
    LabError,
    SeriesChanged,
    UnreadableDicom,
    UnsupportedImage,
)
from consumer.memory import map_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from consumer.handover import PhaseFiles

T = TypeVar("T")

#: What the reports need of a slice; all else is skipped while parsing.
EVIDENCE_TAGS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")

#: What a volume needs of a slice. Scanners write hundreds of elements, patient data among them.
VOLUME_TAGS = (
    *EVIDENCE_TAGS,
    "AcquisitionDate",
    "AcquisitionTime",
    "FrameOfReferenceUID",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleIntercept",
    "RescaleSlope",
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "HighBit",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelRepresentation",
    "PlanarConfiguration",
    "Rows",
    "SamplesPerPixel",
    "PixelData",
)


@dataclass(frozen=True)
class Slices:
    """One phase: `datasets` in slice order, and their grid."""

    role: str
    datasets: tuple[Dataset, ...]
    grid: Grid


def read_slices(phase: PhaseFiles, study_uid: str, *, pixels: bool) -> Slices:
    """Parse, check and sort one phase.

    With `pixels` its slices hold `VOLUME_TAGS`, otherwise everything before the pixel data.

    Raises SeriesChanged, UnreadableDicom, UnsupportedImage or GeometryMismatch.
    """
    tags = VOLUME_TAGS if pixels else None
    datasets = parse(phase, study_uid, stop_before_pixels=not pixels, tags=tags)
    for number, ds in enumerate(datasets, 1):
        guarded(phase, number, partial(_check_kind, ds, phase.role))
    frames = [guarded(phase, number, partial(_frame, ds)) for number, ds in enumerate(datasets, 1)]
    thickness = guarded(phase, 1, partial(_thickness, datasets[0]))
    grid, order = grid_of(phase.role, frames, thickness)
    return Slices(phase.role, tuple(datasets[place] for place in order), grid)


def parse(
    phase: PhaseFiles,
    study_uid: str,
    *,
    stop_before_pixels: bool = True,
    tags: Sequence[str] | None = None,
) -> list[Dataset]:
    """Read the files of a phase in the order in which they came; `tags` limits what is read.

    Raises SeriesChanged when number, study or series differ from what was asked for, and
    UnreadableDicom when a file cannot be parsed.
    """
    if len(phase.files) != phase.instance_count:
        raise SeriesChanged(
            f"series {phase.series_uid} holds {len(phase.files)} instances, "
            f"{phase.instance_count} were asked for"
        )
    wanted = None if tags is None else [*tags, *((phase.selector or ())[:1])]
    found = []
    with map_bytes(phase.path) as memory:
        for number, (offset, length) in enumerate(phase.files, 1):
            read = partial(
                dcmread,
                BytesIO(memory[offset : offset + length]),
                stop_before_pixels=stop_before_pixels,
                specific_tags=wanted,
            )
            ds = guarded(phase, number, read)
            uids = (ds.get("StudyInstanceUID"), ds.get("SeriesInstanceUID"))
            if uids != (study_uid, phase.series_uid):
                raise SeriesChanged(
                    f"instance {number} of series {phase.series_uid} belongs to another series"
                )
            if _selected(ds, phase.selector):
                found.append(ds)
    if not found:
        raise SeriesChanged(f"no instance of series {phase.series_uid} is of phase {phase.role}")
    return found


def guarded(phase: PhaseFiles, number: int, read: Callable[[], T]) -> T:
    """Run `read` on one instance; whatever pydicom raises becomes UnreadableDicom.

    The library's text may quote a DICOM value, so it is dropped, cause included.
    """
    try:
        return read()
    except (LabError, MemoryError):
        raise
    except Exception as exc:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad input
        raise UnreadableDicom(
            f"instance {number} of series {phase.series_uid} cannot be read ({type(exc).__name__})"
        ) from None


def _selected(ds: Dataset, selector: tuple[str, str] | None) -> bool:
    if selector is None:
        return True
    keyword, wanted = selector
    found = str(ds.get(keyword, "")).strip()
    try:
        # "1" and "1.0" are the same number in a DS.
        return found == wanted or math.isclose(float(found), float(wanted), abs_tol=1e-6)
    except ValueError:
        return False


def _check_kind(ds: Dataset, role: str) -> None:
    if ds.SOPClassUID == EnhancedMRImageStorage:
        raise UnsupportedImage(f"the series of {role} is Enhanced (multi-frame) MR")
    if ds.SOPClassUID != MRImageStorage:
        raise UnsupportedImage(f"the series of {role} holds an object that is no MR image")
    if int(ds.get("NumberOfFrames") or 1) != 1 or ds.SamplesPerPixel != 1:
        raise UnsupportedImage(f"the series of {role} is not single-frame and monochrome")


def _numbers(value: Any, count: int) -> list[float]:
    numbers = [float(item) for item in value]
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError
    return numbers


def _frame(ds: Dataset) -> Frame:
    numbers = [
        *_numbers(ds.ImageOrientationPatient, 6),
        *_numbers(ds.PixelSpacing, 2),
        *_numbers(ds.ImagePositionPatient, 3),
    ]
    return Frame(int(ds.Rows), int(ds.Columns), str(ds.FrameOfReferenceUID), np.array(numbers))


def _thickness(ds: Dataset) -> float | None:
    value = ds.get("SliceThickness")
    return None if value is None else _numbers([value], 1)[0]


def stored_values(ds: Dataset) -> NDArray[Any]:
    """Stored pixel values (rows, columns) of a slice; raises what pydicom raises.

    Plain 16-bit pixels, which is nearly all of MR, are read without pydicom's decoder: 0.02 s
    instead of 0.24 s for 536 slices of 256 x 256. All else is pydicom's.
    """
    shape = (int(ds.Rows), int(ds.Columns))
    stored = int(ds.BitsStored)
    plain = (
        ds.file_meta.TransferSyntaxUID in (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        and ds.BitsAllocated == 16
        and 1 <= stored <= 16
        and ds.HighBit == stored - 1
        and len(ds.PixelData) == 2 * shape[0] * shape[1]
    )
    if not plain:
        decoded: NDArray[Any] = ds.pixel_array
        return decoded
    signed = ds.PixelRepresentation == 1
    values = np.frombuffer(ds.PixelData, dtype="<i2" if signed else "<u2").reshape(shape)
    # Bits above the stored ones may hold anything (old overlays); shifting them out and back
    # also extends the sign.
    unused = 16 - stored
    return (values << unused) >> unused if unused else values
