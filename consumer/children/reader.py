"""The reader child: DICOM to volumes, masks to DICOM. Torch is never imported here.

The main process imports this module for its names only, so everything that parses DICOM is
imported inside the functions; `start` does it once when the child begins.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from consumer.errors import (
    LabError,
    PhasesOutOfOrder,
    TooLarge,
    UnreadableDicom,
    UnsupportedImage,
    UploadRejected,
)
from consumer.handover import (
    DownloadIndex,
    Figures,
    Measured,
    PackagedPrimary,
    PhaseFiles,
    ResultSpec,
    VolumeHeader,
)
from consumer.memory import create_array, open_array

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from consumer.children.slices import Slices

#: Bytes of the largest float32 array that is made: four phases of 1000 slices of 512 x 512.
DEFAULT_VOLUME_BYTES = 4 * 1024**3


def start() -> None:
    """Load the libraries, and keep their warnings out of every log. Harmless when repeated.

    pydicom and highdicom quote DICOM values in warnings and log lines; those are patient data.
    Every function here begins with it, so that no wiring can forget it; as the first call of a
    fresh child it saves the first job about a second.
    """
    import pydicom.config

    import consumer.children.slices
    import consumer.result.report
    import consumer.result.segmentation  # noqa: F401 - loaded here so that no job waits for it

    warnings.simplefilter("ignore")
    for library in ("pydicom", "highdicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def read_phases(
    source: DownloadIndex, target_path: str, limit_bytes: int = DEFAULT_VOLUME_BYTES
) -> VolumeHeader:
    """Write all phases to `target_path`: float32 (channels, slices, rows, columns), rescaled.

    Voxel values are stored value x RescaleSlope + RescaleIntercept (PS3.3 C.11.1.1.2).

    Raises SeriesChanged, UnreadableDicom, UnsupportedImage, GeometryMismatch, PhasesOutOfOrder
    or TooLarge.
    """
    start()
    from consumer.children.grid import check_same_grid
    from consumer.children.slices import read_slices

    first = read_slices(source.phases[0], source.study_uid, pixels=True)
    grid = first.grid
    shape = (len(source.phases), len(first.datasets), grid.rows, grid.columns)
    # int(): four times 65535 x 65535 x n does not fit what numpy multiplies in.
    size = 4 * shape[0] * shape[1] * shape[2] * shape[3]
    if size > limit_bytes:
        raise TooLarge(f"the volume takes {size} bytes, the limit is {limit_bytes}")
    volume = create_array(target_path, shape, np.float32)
    began: list[datetime | None] = []
    instances = []
    for channel, phase in enumerate(source.phases):
        slices = read_slices(phase, source.study_uid, pixels=True) if channel else first
        check_same_grid(first.role, grid, slices.role, slices.grid)
        for place, ds in enumerate(slices.datasets):
            _decode(phase, place + 1, ds, volume[channel, place])
        instances.append(
            tuple((str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in slices.datasets)
        )
        began.append(min(filter(None, map(_acquired, slices.datasets)), default=None))
    _check_order(source.phases, began)
    return VolumeHeader(
        roles=tuple(phase.role for phase in source.phases),
        shape=shape,
        affine_lps=grid.affine_lps(),
        spacing=grid.spacing,
        instances=tuple(instances),
    )


def _acquired(ds: Dataset) -> datetime | None:
    """When the acquisition of a slice began; None where date or time cannot be read."""
    from pydicom.valuerep import DA, TM

    try:
        return datetime.combine(DA(ds.AcquisitionDate), TM(ds.AcquisitionTime))
    except (AttributeError, TypeError, ValueError):
        return None


def _check_order(phases: Sequence[PhaseFiles], began: Sequence[datetime | None]) -> None:
    """Raise PhasesOutOfOrder where a phase began before the one whose role comes first."""
    known = [(phase.role, at) for phase, at in zip(phases, began, strict=True) if at is not None]
    for (earlier, first), (later, second) in pairwise(known):
        if second < first:
            raise PhasesOutOfOrder(f"{later} was acquired before {earlier}")


def _decode(phase: PhaseFiles, number: int, ds: Dataset, into: NDArray[np.float32]) -> None:
    from consumer.children.slices import guarded, stored_values

    def decode() -> tuple[Any, float, float]:
        slope, intercept = ds.get("RescaleSlope"), ds.get("RescaleIntercept")
        return (
            stored_values(ds),
            1.0 if slope is None else float(slope),
            0.0 if intercept is None else float(intercept),
        )

    stored, slope, intercept = guarded(phase, number, decode)
    if stored.shape != into.shape:
        raise UnsupportedImage(f"slice {number} of {phase.role} is not a plain grey image")
    if not np.isfinite([slope, intercept]).all():
        raise UnreadableDicom(f"slice {number} of {phase.role} has a rescale that is no number")
    into[...] = stored
    if (slope, intercept) != (1.0, 0.0):
        into *= slope
        into += intercept


def package(
    source: DownloadIndex, mask_path: str, shape: tuple[int, int, int], spec: ResultSpec
) -> PackagedPrimary:
    """Build the primary object: the SEG of a mask, or the report that nothing was found.

    The mask is uint8 (slices, rows, columns) on the first phase's grid; 0 is background, value
    k is the label k of `spec`. Raises as `read_phases` does, and ModelUnavailable when the mask
    does not fit the volume or its labels.
    """
    start()
    from consumer.children.slices import read_slices
    from consumer.result.report import no_lesion_report
    from consumer.result.segmentation import segmentation

    mask = open_array(mask_path, shape, np.uint8)
    slices = read_slices(source.phases[0], source.study_uid, pixels=False)
    found = bool(mask.any())
    evidence = [] if found else _evidence(source, slices)
    with _building(source):
        if found:
            data = segmentation(mask, slices.datasets, slices.grid.spacing, spec)
        else:
            data = no_lesion_report(slices.datasets[0], evidence, _inputs(source), spec)
    return PackagedPrimary(
        "seg" if found else "sr", spec.primary_instance_uid, spec.primary_series_uid, data
    )


def measure_stored(primary_bytes: bytes, source: DownloadIndex, spec: ResultSpec) -> Measured:
    """Figures and model of the primary as the archive holds it, and the report of a SEG.

    Of two labs that raced, both read the same stored object here, and so all that is told of
    the request agrees. Only the number of slices, patient and evidence come from the source.
    The report is None when the primary is itself the report that nothing was found.

    Raises UploadRejected when the object is not this request's SEG or report, and as
    `read_phases` does.
    """
    start()
    from consumer.children.slices import read_slices
    from consumer.result.figures import figures
    from consumer.result.origin import stored_model
    from consumer.result.report import measurement_report
    from consumer.result.segmentation import stored_mask

    primary = _stored_primary(primary_bytes, source, spec)
    first = read_slices(source.phases[0], source.study_uid, pixels=False)
    count, grid = len(first.datasets), first.grid
    try:
        model = stored_model(primary)
        if primary.Modality == "SR":
            return Measured(Figures(False, 0, 0.0, 0.0, count, 0), model, None)
        stored = stored_mask(primary)
        fits = primary.FrameOfReferenceUID == grid.frame_of_reference_uid
    except Exception as exc:  # noqa: BLE001 - a foreign object can break the parser in any way
        raise UploadRejected(
            f"the stored object {spec.primary_instance_uid} cannot be read ({type(exc).__name__})"
        ) from None
    if not fits or stored.mask.shape[0] > count or not stored.mask.any():
        raise UploadRejected(
            f"the stored segmentation {spec.primary_instance_uid} does not fit the first series"
        )
    result = figures(stored.mask, stored.spacing, count)
    evidence = _evidence(source, first)
    made_by = replace(
        spec, model_name=model.name, model_version=model.version, model_sha256=model.sha256
    )
    with _building(source):
        report = measurement_report(
            primary, result, first.datasets[0], evidence, _inputs(source), made_by
        )
    return Measured(result, model, report)


@contextmanager
def _building(source: DownloadIndex) -> Iterator[None]:
    """Turn what highdicom raises on odd patient or study values into UnreadableDicom.

    As in `guarded`, its text may quote them and is dropped.
    """
    try:
        yield
    except (LabError, MemoryError):
        raise
    except Exception as exc:  # noqa: BLE001 - highdicom and pydicom raise many unrelated types
        raise UnreadableDicom(
            f"no result can be built from the metadata of series {source.phases[0].series_uid} "
            f"({type(exc).__name__})"
        ) from None


def _stored_primary(data: bytes, source: DownloadIndex, spec: ResultSpec) -> Dataset:
    from pydicom import dcmread
    from pydicom.uid import ComprehensiveSRStorage, SegmentationStorage

    try:
        stored = dcmread(BytesIO(data))
        found = (stored.SOPInstanceUID, stored.SeriesInstanceUID, stored.StudyInstanceUID)
        sop_class, modality = stored.SOPClassUID, stored.Modality
    except Exception as exc:  # noqa: BLE001 - pydicom raises a dozen unrelated types on bad input
        raise UploadRejected(
            f"the stored object {spec.primary_instance_uid} cannot be read ({type(exc).__name__})"
        ) from None
    if found != (spec.primary_instance_uid, spec.primary_series_uid, source.study_uid):
        raise UploadRejected(
            f"the archive holds another object than {spec.primary_instance_uid} of this study"
        )
    if (sop_class, modality) not in {(SegmentationStorage, "SEG"), (ComprehensiveSRStorage, "SR")}:
        raise UploadRejected(f"{spec.primary_instance_uid} is neither segmentation nor report")
    return stored


def _evidence(source: DownloadIndex, first: Slices) -> list[Dataset]:
    return [*first.datasets, *(ds for p in source.phases[1:] for ds in _named(p, source.study_uid))]


def _named(phase: PhaseFiles, study_uid: str) -> list[Dataset]:
    """Each slice of a phase with nothing but its UIDs; parsed only where no run has read it."""
    from pydicom import Dataset

    from consumer.children.slices import EVIDENCE_TAGS, parse

    if phase.instances is None:
        return parse(phase, study_uid, tags=EVIDENCE_TAGS)
    found = []
    for sop_class_uid, sop_instance_uid in phase.instances:
        ds = Dataset()
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, phase.series_uid
        ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, sop_instance_uid
        found.append(ds)
    return found


def _inputs(source: DownloadIndex) -> list[str]:
    return [f"input {phase.role}={phase.series_uid}" for phase in source.phases]
