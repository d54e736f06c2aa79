"""The reader child: DICOM to volumes, masks to DICOM. Torch is never imported here.

The main process imports this module for its names only, so everything that parses DICOM is
imported inside the functions; `start` does it once when the child begins.
"""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from consumer.errors import TooLarge
from consumer.memory import MemoryFile, create_array, open_array
from consumer.payloads import (
    DownloadIndex,
    Measured,
    PackagedPrimary,
    ResultSpec,
    SliceIndex,
    VolumeHeader,
    Volumes,
)
from messages.phases.scale import Scale, scale_of

if TYPE_CHECKING:
    from datetime import datetime

    from consumer.dicom.slices import Slices

#: Bytes of the largest float32 array that is made: four phases of 1000 slices of 512 x 512.
DEFAULT_VOLUME_BYTES = 4 * 1024**3


def start() -> None:
    """Load the libraries, and keep their warnings out of every log. Harmless when repeated.

    pydicom and highdicom quote DICOM values in warnings and log lines; those are patient data.
    Every function here begins with it, so that no wiring can forget it; as the first call of a
    fresh child it saves the first job about a second.
    """
    import pydicom.config

    import consumer.children.measuring
    import consumer.dicom.voxels  # noqa: F401 - loaded here so that no job waits for it

    warnings.simplefilter("ignore")
    for library in ("pydicom", "highdicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def read_phases(
    source: DownloadIndex, target_path: str, limit_bytes: int = DEFAULT_VOLUME_BYTES
) -> VolumeHeader:
    """Write all phases to `target_path`: float32 (channels, slices, rows, columns), rescaled.

    Voxel values are stored value x RescaleSlope + RescaleIntercept (PS3.3 C.11.1.1.2), and where
    phases state different scales, those on the scale of the first (`messages.phases.scale`).
    Several phases of one series are read together: each file is parsed once.

    Raises SeriesChanged, UnreadableDicom, UnsupportedImage, GeometryMismatch, MixedPhase,
    PhasesOutOfOrder or TooLarge.
    """
    return _read(source, target_path, limit_bytes, agreeing=True)


def _read(
    source: DownloadIndex, target_path: str, limit_bytes: int, *, agreeing: bool
) -> VolumeHeader:
    """See `read_phases`; not `agreeing`: phases are read whose slices do not agree."""
    start()
    from consumer.dicom.agreement import check_agreement, stated, stored_as
    from consumer.dicom.grid import check_same_grid
    from consumer.dicom.order import began_at, check_order, seconds_after_first
    from consumer.dicom.series import by_series, digest_of
    from consumer.dicom.slices import read_slices
    from consumer.dicom.voxels import bring_to_first, write_voxels

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
    instances, indices = [], []
    said, scales = [], []
    uids: dict[tuple[str, int], str] = {}
    for channel, phase in enumerate(source.phases):
        slices = slices_of(channel) if channel else first
        check_same_grid(source.phases[0].role, grid, phase.role, slices.grid)
        for place, number in enumerate(slices.numbers):
            write_voxels(phase, number, slices.images[place], volume[channel, place])
        instances.append(
            tuple((str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in slices.heads)
        )
        frames = tuple(image.frame for image in slices.images)
        places = tuple(zip(slices.numbers, frames, strict=True))
        indices.append(SliceIndex(slices.grid, places))
        uids.update(
            ((phase.path, number), str(ds.SOPInstanceUID))
            for number, ds in zip(slices.numbers, slices.heads, strict=True)
        )
        began.append(began_at(slices.heads))
        said.append(stated(slices.heads))
        scales.append(stored_as(slices.heads))
    # Before the order: a phase that holds slices of another one begins when that does.
    if agreeing:
        check_agreement([phase.role for phase in source.phases], said)
    check_order(source.phases, began)
    scale = scale_of(scales)
    if scale is Scale.FIRST_PHASE:
        bring_to_first(volume, scales)
    return VolumeHeader(
        roles=tuple(phase.role for phase in source.phases),
        shape=shape,
        affine_lps=grid.affine_lps(),
        spacing=grid.spacing,
        instances=tuple(instances),
        seconds=seconds_after_first(began),
        scale=scale,
        slice_indices=tuple(indices),
        input_sha256=digest_of(source, uids),
    )


def package(
    source: DownloadIndex, mask_path: str, shape: tuple[int, int, int], spec: ResultSpec
) -> PackagedPrimary:
    """Build the primary object: the SEG of a mask, or the report that nothing was found.

    The mask is uint8 (slices, rows, columns) on the grid of all phases; 0 is background, value
    k is the label k of `spec`. The SEG refers to the phase on which it is read. Nothing is found
    when no connected mark is as large as `spec` asks.
    Raises as `read_phases` does, and ModelFailed when the mask does not fit the volume or its
    labels.
    """
    start()
    from consumer.children.evidence import building, report_source
    from consumer.children.reference_phase import phase_at, place_to_read
    from consumer.result.report import no_lesion_report
    from consumer.result.segmentation import check_mask, segmentation, segments_of

    mask = open_array(mask_path, shape, np.uint8)
    place = place_to_read(source, spec)
    slices = phase_at(source, place)
    spec = replace(spec, scale=source.scale, filing=slices.filing)
    grid = slices.grid
    check_mask(mask, (len(slices.images), grid.rows, grid.columns), spec)
    segments = segments_of(mask, grid.spacing, spec.min_lesion_mm3)
    found = bool(segments.kinds)
    about = None if found else report_source(source, place, slices)
    with building(source):
        if about is None:
            data = segmentation(segments, slices.images, grid.spacing, spec)
        else:
            data = no_lesion_report(about, segments.left_out, spec)
    return PackagedPrimary(
        "seg" if found else "sr", spec.primary_instance_uid, spec.primary_series_uid, data
    )


def measure_stored(
    primary_bytes: bytes,
    source: DownloadIndex,
    spec: ResultSpec,
    volumes: Volumes | None = None,
    limit_bytes: int = DEFAULT_VOLUME_BYTES,
) -> Measured:
    """Figures, lesions and model of the primary as the archive holds it, and its report.

    Of two labs that raced, both read the same stored object here, and so all that is reported of
    the request agrees. Only the number of slices, patient, evidence and the signal of the phases
    come from the source. The report is None when the primary is itself the report that nothing
    was found. `volumes` is what `read_phases` wrote; where no run has read the phases, and their
    voxels are needed, that is done here.

    A result that is there is reported, whatever later rules say of the agreement of its slices:
    an older lab may have made it, and a failed request would leave it in the study unnamed.

    Raises UploadRejected when the object is not this request's SEG or report, and as
    `read_phases` does, MixedPhase excepted.
    """
    start()
    from consumer.children.measuring import measured, needs_voxels
    from consumer.result.stored import stored_primary

    primary = stored_primary(primary_bytes, source.study_uid, spec)
    if volumes is not None or not needs_voxels(primary, source, spec):
        return measured(primary, source, spec, volumes)
    with MemoryFile("volumes") as memory:
        header = _read(source, memory.path, limit_bytes, agreeing=False)
        return measured(primary, source.as_read(header), spec, Volumes(memory.path, header))
