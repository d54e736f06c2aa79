"""What is reported of a stored primary: figures, lesions, curves, report and key slices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from consumer.children.evidence import building, report_source
from consumer.children.reference_phase import phase_at, place_referred, place_to_read
from consumer.errors import LabError, UploadRejected
from consumer.memory import open_array
from consumer.payloads import Figures, LesionFacts, Measured
from consumer.result import codes
from consumer.result.key_slice import PictureSource, key_slices
from consumer.result.kinetics import (
    CURVES_WITHHELD,
    DIFFERENT_SCALES,
    curves,
    is_dynamic,
    reading_place,
)
from consumer.result.laterality import has_sides, sides
from consumer.result.lesion_group import MeasuredLesion, label_of
from consumer.result.lesions import figures, measure
from consumer.result.midline import midline_x
from consumer.result.origin import stored_model
from consumer.result.provenance import LEFT_OUT, SIGNAL_SCALE, made_by, read_back, stated_input
from consumer.result.report import measurement_report, stated_count, stated_facts
from consumer.result.segmentation import PLACE_TOLERANCE, stored_mask, stored_segments
from messages.phases.scale import Scale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from consumer.bundle import Code
    from consumer.payloads import DownloadIndex, Grid, ResultSpec, Volumes
    from consumer.result.kinetics import Curve
    from consumer.result.laterality import Laterality
    from consumer.result.segmentation import StoredMask


def needs_voxels(primary: Dataset, source: DownloadIndex, spec: ResultSpec) -> bool:
    """Whether the voxels of the phases are needed to report on this primary."""
    if primary.Modality == "SR":
        return False
    dynamic = is_dynamic([phase.role for phase in source.phases])
    return bool(spec.key_instance_uids) or dynamic or has_sides(spec.codes.site)


def measured(
    primary: Dataset, source: DownloadIndex, spec: ResultSpec, volumes: Volumes | None
) -> Measured:
    """See `consumer.children.reader.measure_stored`; `volumes` may be None where none is needed."""
    place = _place_of(primary, source, spec)
    referred = phase_at(source, place)
    spec = replace(spec, filing=referred.filing)
    count, grid = len(referred.images), referred.grid
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
        site = made_by(spec, model, primary).codes.site
    except Exception:  # noqa: BLE001 - a foreign object can break the parser in any way
        raise _unreadable(spec) from None
    depth, rows, columns = stored.segments.shape
    same_grid = (rows, columns) == (grid.rows, grid.columns) and 0 <= start <= count - depth
    if not (fits and same_grid and stored.mask.any()):
        raise UploadRejected(
            f"the stored segmentation {spec.primary_instance_uid} does not fit the images"
        )
    segments = stored_segments(stored)
    lesions = measure(segments.labels, stored.spacing, start)
    # A ratio of what lies on two scales says nothing; volume and diameters do not depend on it.
    withheld = DIFFERENT_SCALES if _on_several_scales(volumes) else ""
    drawn = None if withheld else _curves(volumes, segments.labels, start)
    lateralities = _sides(volumes, segments.labels, start, site)
    found = [
        MeasuredLesion(lesion, segment, referred.images[lesion.in_plane_slice], curve, side)
        for lesion, segment, curve, side in zip(
            lesions,
            segments.kinds,
            drawn or [None] * len(lesions),
            lateralities or [None] * len(lesions),
            strict=True,
        )
    ]
    result = figures(stored.mask, lesions, stored.spacing, count)
    left_out = stated_out + segments.left_out
    about = report_source(source, place, referred)
    if withheld:
        about = replace(about, inputs=[*about.inputs, f"{CURVES_WITHHELD}={withheld}"])
    if drawn and (scale := _scale_of_curves(volumes, facts)):
        about = replace(about, inputs=[*about.inputs, f"{SIGNAL_SCALE}={scale}"])
    with building(source):
        report = measurement_report(primary, result, found, left_out, model, about, spec)
    pictures: tuple[bytes, ...] = ()
    undrawn = ""
    try:
        pictures = _pictures(primary, place, source, volumes, stored, start, found, spec)
    except Exception as exc:  # noqa: BLE001 - of highdicom, Pillow, fonts; SEG and SR are whole
        # Pictures are for viewers that show nothing better: no reason to fail a request.
        undrawn = type(exc).__name__
    lesion_facts = tuple(_facts(one, primary) for one in found)
    return Measured(
        result,
        model,
        report,
        pictures,
        lesion_facts,
        left_out,
        withheld,
        undrawn,
        input_sha256=stated_input(facts),
    )


def _place_of(primary: Dataset, source: DownloadIndex, spec: ResultSpec) -> int:
    """The place of the phase to which the primary refers; a report refers to all alike."""
    if primary.Modality == "SR":
        return place_to_read(source, spec)
    try:
        return place_referred(primary, source)
    except (LabError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - as above
        raise _unreadable(spec) from None


def _unreadable(spec: ResultSpec) -> UploadRejected:
    return UploadRejected(
        f"the stored object {spec.primary_instance_uid} cannot be read as a result"
    )


def _first_slice(stored: StoredMask, grid: Grid) -> int:
    """Which slice of the series the first one of the SEG is, from 0. Raises ValueError for none."""
    normal = np.cross(grid.orientation[:3], grid.orientation[3:])
    place = float((stored.corner - grid.positions[0]) @ normal) / grid.spacing[0]
    if abs(place - round(place)) > PLACE_TOLERANCE:
        raise ValueError("the stored SEG lies between the slices")
    return round(place)


def _on_several_scales(volumes: Volumes | None) -> bool:
    return (
        volumes is not None
        and is_dynamic(volumes.header.roles)
        and volumes.header.scale is Scale.DIFFERENT
    )


def _scale_of_curves(volumes: Volumes | None, facts: Mapping[str, str]) -> str:
    """On which scale the signal was compared, where the SEG does not say so; empty otherwise.

    A lab of before made it of phases that were not brought to one scale, and its curves are drawn
    anew here.
    """
    if volumes is None or facts.get(SIGNAL_SCALE) or volumes.header.scale is Scale.ONE:
        return ""
    return volumes.header.scale.value


def _curves(
    volumes: Volumes | None, labels: NDArray[np.uint16], start: int
) -> tuple[Curve, ...] | None:
    if volumes is None or not is_dynamic(volumes.header.roles):
        return None
    header = volumes.header
    voxels = open_array(volumes.path, header.shape, np.float32)
    return curves(
        voxels[:, start : start + labels.shape[0]],
        labels,
        header.roles,
        header.seconds,
        own_scales=header.scale is Scale.FIRST_PHASE,
    )


def _sides(
    volumes: Volumes | None, labels: NDArray[np.uint16], start: int, site: Code
) -> tuple[Laterality, ...] | None:
    if volumes is None or not has_sides(site):
        return None
    header = volumes.header
    # The first phase: before contrast, where there is one, so that no enhancement is taken for the
    # outline of the body.
    first = open_array(volumes.path, header.shape, np.float32)[0]
    return sides(labels, start, header.affine_lps, midline_x(first, header.affine_lps))


def _pictures(  # noqa: PLR0917 - all of them were computed just before
    primary: Dataset,
    place: int,
    source: DownloadIndex,
    volumes: Volumes | None,
    stored: StoredMask,
    start: int,
    found: Sequence[MeasuredLesion],
    spec: ResultSpec,
) -> tuple[bytes, ...]:
    if volumes is None or not spec.key_instance_uids:
        return ()
    header = volumes.header
    channel = place
    if place != place_to_read(source, spec):
        # A SEG of an earlier version refers to the first input; before contrast no tumour shines.
        channel = max(place, reading_place(header.roles))
    shown = phase_at(source, channel)
    drawn = PictureSource(
        images=shown.images,
        grid=shown.grid,
        voxels=open_array(volumes.path, header.shape, np.float32)[channel],
        role=header.roles[channel],
        marked=stored.mask,
        start=start,
        lesions=tuple((one.lesion, label_of(one, primary)) for one in found),
    )
    return key_slices(drawn, primary, spec)


def _facts(found: MeasuredLesion, seg: Dataset) -> LesionFacts:
    lesion, curve = found.lesion, found.curve
    return LesionFacts(
        label=label_of(found, seg),
        volume_ml=lesion.volume_ml,
        longest_diameter_mm=lesion.longest_diameter_mm,
        longest_in_plane_mm=lesion.longest_in_plane_mm,
        wash_in_percent=curve.wash_in_percent if curve else None,
        wash_out=str(curve.type) if curve and curve.type else None,
        laterality=found.laterality and str(found.laterality),
    )
