"""A mask becomes a DICOM SEG, and a stored SEG becomes voxels again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from pydicom.uid import generate_uid
from pydicom.valuerep import format_number_as_ds
from scipy.ndimage import find_objects

from consumer.dicom.grid import PLACE_SHARE
from consumer.errors import ModelFailed
from consumer.result import codes
from consumer.result.filing import file_alike
from consumer.result.lesions import MAX_LESIONS, split
from consumer.result.origin import (
    LO_BYTES,
    MANUFACTURER,
    complete,
    content_label,
    description,
    equipment,
    lo,
    series_number,
)
from consumer.result.provenance import LEFT_OUT, as_parameters, now_at, stamp, stated
from consumer.result.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from pydicom import Dataset

    from consumer.dicom.enhanced import Image
    from consumer.payloads import ResultSpec


#: Share of the slice distance by which a stored frame may miss its place, counted from another
#: frame: both may miss theirs by `PLACE_SHARE`. Below one half, so that there is one nearest place,
#: and above twice the share: a study that was read is not lost after its inference.
PLACE_TOLERANCE = 2 * PLACE_SHARE + 0.05


@dataclass(frozen=True)
class StoredMask:
    """What a SEG marks, over the slices from its first to its last frame."""

    #: uint8 (slices, rows, columns): 0 is none, k is segment k.
    segments: NDArray[np.uint8]
    #: mm between slices, rows, columns.
    spacing: tuple[float, float, float]
    #: mm, LPS: centre of the first voxel of the first frame.
    corner: NDArray[np.float64]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """All segments together."""
        return self.segments > 0


def check_mask(mask: NDArray[np.uint8], shape: tuple[int, int, int], spec: ResultSpec) -> None:
    """Raise ModelFailed when the mask has another shape or a value without a label."""
    if mask.shape != shape:
        raise ModelFailed(f"the mask has shape {mask.shape}, the volume {shape}")
    if int(mask.max()) > len(spec.labels):
        raise ModelFailed(
            f"the mask has the value {int(mask.max())}, the model names {len(spec.labels)} labels"
        )


def segmentation(
    segments: Segments,
    images: Sequence[Image],
    spacing: tuple[float, float, float],
    spec: ResultSpec,
) -> bytes:
    """DICOM SEG (BINARY, no empty frames) of at least one lesion, as a Part 10 file.

    A segment for each lesion, whose kind is the place of its label in `spec`, from 1. Its `labels`
    are pixel for pixel on `images`, which come in slice order and need no pixel data; they are the
    only series that the SEG refers to, because OHIF draws no overlay for one that names several.
    `spacing` is in mm between slices, rows, columns: slice thickness is no substitute for the
    first where slices overlap or leave gaps.
    """
    sources = Sources(images)
    origin = sources.slices[0]
    created = now_at(origin)
    complete(origin)
    _settle_geometry(sources.slices, spacing)
    spec = replace(spec, created=created.isoformat(timespec="seconds"))
    facts = {**stated(spec, created), LEFT_OUT: str(segments.left_out)}
    parameters = as_parameters(facts)
    seg = Segmentation(
        source_images=sources.slices,
        # At most MAX_LESIONS of them.
        pixel_array=segments.labels.astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _segment(number, spec.labels[kind - 1], spec, parameters)
            for number, kind in enumerate(segments.kinds, 1)
        ],
        series_instance_uid=spec.primary_series_uid,
        series_number=series_number(spec, "primary"),
        sop_instance_uid=spec.primary_instance_uid,
        instance_number=1,
        omit_empty_frames=True,
        content_label=content_label(spec),
        content_description=description(spec),
        series_description=description(spec),
        **equipment(spec),
    )
    stamp(seg, created, origin)
    sources.name_in(seg)
    file_alike(seg, spec.filing)
    buffer = BytesIO()
    seg.save_as(buffer)
    return buffer.getvalue()


def _settle_geometry(slices: Sequence[Dataset], spacing: tuple[float, float, float]) -> None:
    """Make the slices say, in place, what their positions say.

    highdicom takes the first slice's spacing even when it is given another, and scanners write
    gap, thickness or nothing into Spacing Between Slices. It also refuses orientations that
    differ in the last digit.
    """
    first = slices[0]
    first.SpacingBetweenSlices = format_number_as_ds(spacing[0])
    first.SliceThickness = first.SliceThickness or format_number_as_ds(spacing[0])
    for ds in slices:
        ds.ImageOrientationPatient = first.ImageOrientationPatient


def _segment(
    number: int, label: str, spec: ResultSpec, parameters: dict[str, str]
) -> SegmentDescription:
    # The number is what tells them apart: the label gives way to it.
    name = f"{lo(label, LO_BYTES - 3)} {number}"
    return SegmentDescription(
        segment_number=number,
        segment_label=name,
        segmented_property_category=codes.concept(spec.codes.category),
        segmented_property_type=codes.concept(spec.codes.type),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=lo(spec.model_name),
            family=codes.ARTIFICIAL_INTELLIGENCE,
            version=lo(spec.model_version),
            source=MANUFACTURER,
            parameters=parameters,
        ),
        tracking_uid=generate_uid(prefix=None),
        tracking_id=name,
        anatomic_regions=[codes.concept(spec.codes.site)],
    )


def stored_mask(seg: Dataset) -> StoredMask:
    """Voxels of a SEG, placed by nothing but its own plane positions and pixel measures.

    Raises AttributeError, KeyError, IndexError or ValueError where the object is no SEG of
    parallel, equally spaced planes.
    """
    shared = seg.SharedFunctionalGroupsSequence[0]
    measures = shared.PixelMeasuresSequence[0]
    axes = np.array(
        [float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    ).reshape(2, 3)
    between = float(measures.SpacingBetweenSlices)
    spacing = (between, float(measures.PixelSpacing[0]), float(measures.PixelSpacing[1]))
    if not (np.isfinite(spacing).all() and min(spacing) > 0):
        raise ValueError("spacing of the stored SEG is not positive")
    positions = np.array(
        [
            [float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient]
            for frame in seg.PerFrameFunctionalGroupsSequence
        ]
    )
    heights = positions @ np.cross(axes[0], axes[1])
    places = (heights - heights.min()) / between
    nearest = np.rint(places).astype(int)
    if np.abs(places - nearest).max() > PLACE_TOLERANCE:
        raise ValueError("frames of the stored SEG lie between its slices")
    if int(seg.NumberOfFrames) != len(positions):
        raise ValueError("the stored SEG has another number of frames than it describes")
    frames = seg.pixel_array.reshape(len(positions), seg.Rows, seg.Columns)
    segments = np.zeros((int(nearest.max()) + 1, seg.Rows, seg.Columns), dtype=np.uint8)
    groups = seg.PerFrameFunctionalGroupsSequence
    for place, frame, group in zip(nearest, frames, groups, strict=True):
        # Said once for all frames where all are of one segment.
        named = group.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        number = int(named[0].ReferencedSegmentNumber)
        if not 1 <= number <= len(seg.SegmentSequence):
            raise ValueError("a frame of the stored SEG is of a segment that it does not describe")
        segments[place][frame != 0] = number
    return StoredMask(segments, spacing, positions[int(heights.argmin())])


@dataclass(frozen=True)
class Segments:
    """Lesions as numbered voxels, largest first."""

    #: uint16 (slices, rows, columns): 0 is none, k is lesion k.
    labels: NDArray[np.uint16]
    #: Of lesion k at place k - 1: the value of the mask, or the segment of the SEG, that it has.
    kinds: tuple[int, ...]
    #: Marks that are no lesion: below the smallest size, or beyond `MAX_LESIONS`.
    left_out: int


def segments_of(
    mask: NDArray[np.uint8], spacing: tuple[float, float, float], min_mm3: float
) -> Segments:
    """Lesions of a mask (slices, rows, columns) with `spacing` in mm in the same order.

    Voxels of different values are different things and never one lesion. Nothing below `min_mm3`
    is one, and no more than `MAX_LESIONS` are.
    """
    labels = np.zeros(mask.shape, np.uint16)
    found: list[tuple[int, int, NDArray[np.uint16], NDArray[np.bool_]]] = []
    left_out = 0
    # Each value in the smallest box that holds it: most of a breast is nothing.
    for kind, box in enumerate(find_objects(mask), 1):
        if box is None:
            continue
        parts = split(mask[box] == kind, spacing, min_mm3)
        left_out += parts.left_out
        for number, part in enumerate(find_objects(parts.labels), 1):
            voxels = parts.labels[part] == number
            found.append((int(np.count_nonzero(voxels)), kind, labels[box][part], voxels))
    # Stable: what is equally large stays in the order of its values.
    found.sort(key=lambda item: -item[0])
    for number, (_, _, place, voxels) in enumerate(found[:MAX_LESIONS], 1):
        place[voxels] = number
    kinds = tuple(kind for _, kind, _, _ in found[:MAX_LESIONS])
    return Segments(labels, kinds, left_out + len(found) - len(kinds))


def stored_segments(stored: StoredMask) -> Segments:
    """Lesions of a stored SEG, each with the number of its segment.

    A SEG of now has one segment for each; those written before had one for all of a label.
    """
    return segments_of(stored.segments, stored.spacing, 0.0)
