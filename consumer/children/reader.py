"""The reader child: DICOM to volumes, masks to DICOM. Torch is never imported here.

The main process imports this module for its names only, so everything that parses DICOM is
imported inside the functions; `start` does it once when the child begins.
"""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from consumer.errors import (
    LabError,
    TooLarge,
    UnreadableDicom,
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
    from datetime import datetime

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

    import consumer.children.voxels
    import consumer.result.report
    import consumer.result.segmentation
    import consumer.result.stored  # noqa: F401 - loaded here so that no job waits for it

    warnings.simplefilter("ignore")
    for library in ("pydicom", "highdicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def read_phases(
    source: DownloadIndex, target_path: str, limit_bytes: int = DEFAULT_VOLUME_BYTES
) -> VolumeHeader:
    """Write all phases to `target_path`: float32 (channels, slices, rows, columns), rescaled.

    Voxel values are stored value x RescaleSlope + RescaleIntercept (PS3.3 C.11.1.1.2). Several
    phases of one series are read together: each file is parsed once.

    Raises SeriesChanged, UnreadableDicom, UnsupportedImage, GeometryMismatch, PhasesOutOfOrder
    or TooLarge.
    """
    start()
    from consumer.children.grid import check_same_grid
    from consumer.children.order import began_at, check_order
    from consumer.children.series import by_series
    from consumer.children.slices import read_slices
    from consumer.children.voxels import write_voxels

    held: dict[int, Slices] = {}
    series = {place: group for group in by_series(source.phases) for place in group}

    def slices_of(place: int) -> Slices:
        """The phase of a channel, read with all others of its series and then let go."""
        if place not in held:
            phases = [source.phases[other] for other in series[place]]
            found = read_slices(phases, source.study_uid, pixels=True)
            held.update(zip(series[place], found, strict=True))
        return held.pop(place)

    first = slices_of(0)
    grid = first.grid
    shape = (len(source.phases), len(first.images), grid.rows, grid.columns)
    # int(): four times 65535 x 65535 x n does not fit what numpy multiplies in.
    size = 4 * shape[0] * shape[1] * shape[2] * shape[3]
    if size > limit_bytes:
        raise TooLarge(f"the volume takes {size} bytes, the limit is {limit_bytes}")
    volume = create_array(target_path, shape, np.float32)
    began: list[datetime | None] = []
    instances = []
    for channel, phase in enumerate(source.phases):
        slices = slices_of(channel) if channel else first
        check_same_grid(source.phases[0].role, grid, phase.role, slices.grid)
        for place, number in enumerate(slices.numbers):
            write_voxels(phase, number, slices.images[place], volume[channel, place])
        instances.append(
            tuple((str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in slices.heads)
        )
        began.append(began_at(slices.heads))
    check_order(source.phases, began)
    return VolumeHeader(
        roles=tuple(phase.role for phase in source.phases),
        shape=shape,
        affine_lps=grid.affine_lps(),
        spacing=grid.spacing,
        instances=tuple(instances),
    )


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
    slices = read_slices(source.phases[:1], source.study_uid, pixels=False)[0]
    found = bool(mask.any())
    evidence = [] if found else _evidence(source, slices)
    with _building(source):
        if found:
            data = segmentation(mask, slices.images, slices.grid.spacing, spec)
        else:
            data = no_lesion_report(slices.heads[0], evidence, _inputs(source), spec)
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
    from consumer.result.stored import stored_primary

    primary = stored_primary(primary_bytes, source.study_uid, spec)
    first = read_slices(source.phases[:1], source.study_uid, pixels=False)[0]
    count, grid = len(first.images), first.grid
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
            primary, result, first.heads[0], evidence, _inputs(source), made_by
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


def _evidence(source: DownloadIndex, first: Slices) -> list[Dataset]:
    from consumer.children.series import by_series

    others = source.phases[1:]
    named = [
        heads
        for group in by_series(others)
        for heads in _named([others[place] for place in group], source.study_uid)
    ]
    return [*first.heads, *(ds for heads in named for ds in heads)]


def _named(phases: Sequence[PhaseFiles], study_uid: str) -> list[list[Dataset]]:
    """Each slice of the phases of a series with nothing but its UIDs.

    Parsed only where no run has read it.
    """
    from pydicom import Dataset

    from consumer.children.series import EVIDENCE_TAGS, parse

    if any(phase.instances is None for phase in phases):
        parsed = parse(phases, study_uid, tags=EVIDENCE_TAGS)
        return [[image.head for _, image in images] for images in parsed]
    found = []
    for phase in phases:
        heads = []
        for sop_class_uid, sop_instance_uid in phase.instances or ():
            ds = Dataset()
            ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, phase.series_uid
            ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, sop_instance_uid
            heads.append(ds)
        found.append(heads)
    return found


def _inputs(source: DownloadIndex) -> list[str]:
    return [
        f"input {phase.role}={phase.series_uid}"
        + (f" {phase.selector[0]} {phase.selector[1]}" if phase.selector else "")
        for phase in source.phases
    ]
