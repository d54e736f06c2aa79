"""What is told of a stored primary: figures, lesions, curves, report and key slices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from consumer.children.evidence import building, report_source
from consumer.children.first_phase import first_phase
from consumer.errors import UploadRejected
from consumer.handover import Figures, LesionFacts, Measured
from consumer.memory import open_array
from consumer.result import codes
from consumer.result.figures import figures
from consumer.result.key_slice import Drawn, key_slices
from consumer.result.kinetics import curves, first_after, is_dynamic
from consumer.result.lesion_group import Found, label_of
from consumer.result.lesions import measure
from consumer.result.origin import stored_model
from consumer.result.provenance import LEFT_OUT, read_back, stated_input
from consumer.result.report import measurement_report, stated_count, stated_facts
from consumer.result.segmentation import PLACE_TOLERANCE, stored_mask
from consumer.result.segments import stored_segments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from consumer.children.grid import Grid
    from consumer.children.slices import Slices
    from consumer.handover import DownloadIndex, ResultSpec, Volumes
    from consumer.result.kinetics import Curve
    from consumer.result.segmentation import StoredMask


def needs_voxels(primary: Dataset, source: DownloadIndex, spec: ResultSpec) -> bool:
    """Whether the voxels of the phases are needed to tell of this primary."""
    if primary.Modality == "SR":
        return False
    return bool(spec.key_instance_uids) or is_dynamic([phase.role for phase in source.phases])


def measured(
    primary: Dataset, source: DownloadIndex, spec: ResultSpec, volumes: Volumes | None
) -> Measured:
    """See `consumer.children.reader.measure_stored`; `volumes` may be None where none is needed."""
    first = first_phase(source)
    count, grid = len(first.images), first.grid
    try:
        model = stored_model(primary)
        if primary.Modality == "SR":
            return Measured(
                Figures(False, 0, 0.0, 0.0, count, 0),
                model,
                None,
                left_out=stated_count(primary, codes.LEFT_OUT),
                input_sha256=stated_input(stated_facts(primary)),
            )
        stored = stored_mask(primary)
        fits = primary.FrameOfReferenceUID == grid.frame_of_reference_uid
        start = _first_slice(stored, grid)
        facts = read_back(primary)
        stated_out = int(facts.get(LEFT_OUT, "0"))
    except Exception as exc:  # noqa: BLE001 - a foreign object can break the parser in any way
        raise UploadRejected(
            f"the stored object {spec.primary_instance_uid} cannot be read ({type(exc).__name__})"
        ) from None
    depth, rows, columns = stored.segments.shape
    same_grid = (rows, columns) == (grid.rows, grid.columns) and 0 <= start <= count - depth
    if not (fits and same_grid and stored.mask.any()):
        raise UploadRejected(
            f"the stored segmentation {spec.primary_instance_uid} does not fit the first series"
        )
    segments = stored_segments(stored)
    lesions = measure(segments.labels, stored.spacing, start)
    drawn = _curves(volumes, segments.labels, start)
    found = [
        Found(lesion, segment, first.images[lesion.in_plane_slice], curve)
        for lesion, segment, curve in zip(
            lesions, segments.kinds, drawn or [None] * len(lesions), strict=True
        )
    ]
    result = figures(stored.mask, lesions, stored.spacing, count)
    left_out = stated_out + segments.left_out
    about = report_source(source, first)
    with building(source):
        report = measurement_report(primary, result, found, left_out, model, about, spec)
    pictures: tuple[bytes, ...] = ()
    undrawn = ""
    try:
        pictures = _pictures(primary, first, volumes, stored, start, found, spec)
    except Exception as exc:  # noqa: BLE001 - of highdicom, Pillow, fonts; SEG and SR are whole
        # Pictures are for viewers that show nothing better: no reason to fail a request.
        undrawn = type(exc).__name__
    told = tuple(_facts(one, primary) for one in found)
    return Measured(
        result, model, report, pictures, told, left_out, undrawn, input_sha256=stated_input(facts)
    )


def _first_slice(stored: StoredMask, grid: Grid) -> int:
    """Which slice of the series the first one of the SEG is, from 0. Raises ValueError for none."""
    normal = np.cross(grid.orientation[:3], grid.orientation[3:])
    place = float((stored.corner - grid.positions[0]) @ normal) / grid.spacing[0]
    if abs(place - round(place)) > PLACE_TOLERANCE:
        raise ValueError("the stored SEG lies between the slices")
    return round(place)


def _curves(
    volumes: Volumes | None, labels: NDArray[np.uint16], start: int
) -> tuple[Curve, ...] | None:
    if volumes is None or not is_dynamic(volumes.header.roles):
        return None
    header = volumes.header
    voxels = open_array(volumes.path, header.shape, np.float32)
    return curves(voxels[:, start : start + labels.shape[0]], labels, header.roles, header.seconds)


def _pictures(  # noqa: PLR0917 - all of them were computed just before
    primary: Dataset,
    first: Slices,
    volumes: Volumes | None,
    stored: StoredMask,
    start: int,
    found: Sequence[Found],
    spec: ResultSpec,
) -> tuple[bytes, ...]:
    if volumes is None or not spec.key_instance_uids:
        return ()
    header = volumes.header
    # The first phase after contrast shows a tumour best; a model of one phase has no other.
    channel = first_after(header.roles) or 0
    drawn = Drawn(
        images=first.images,
        grid=first.grid,
        voxels=open_array(volumes.path, header.shape, np.float32)[channel],
        role=header.roles[channel],
        marked=stored.mask,
        start=start,
        lesions=tuple((one.lesion, label_of(one, primary)) for one in found),
    )
    return key_slices(drawn, primary, spec)


def _facts(found: Found, seg: Dataset) -> LesionFacts:
    lesion, curve = found.lesion, found.curve
    return LesionFacts(
        label=label_of(found, seg),
        volume_ml=lesion.volume_ml,
        longest_diameter_mm=lesion.longest_diameter_mm,
        longest_in_plane_mm=lesion.longest_in_plane_mm,
        wash_in_percent=curve.wash_in_percent if curve else None,
        wash_out=str(curve.type) if curve and curve.type else None,
    )
