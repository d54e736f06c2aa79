"""One phase as sorted slices: checked for what a volume needs, placed on a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.uid import MRImageStorage

from consumer.children.encodings import check_encoding, check_frames
from consumer.children.enhanced import GROUP_TAGS, MULTI_FRAME_CLASSES, Image
from consumer.children.grid import Frame, Grid, grid_of
from consumer.children.series import EVIDENCE_TAGS, Numbered, guarded, parse
from consumer.errors import (
    UnreadableDicom,
    UnsupportedImage,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

    from consumer.handover import Filing, PhaseFiles

#: What a volume needs of a slice. Scanners write hundreds of elements, patient data among them.
VOLUME_TAGS = (
    *EVIDENCE_TAGS,
    *GROUP_TAGS,
    "AcquisitionDate",
    "AcquisitionDateTime",
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
    "LossyImageCompression",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "Rows",
    "SamplesPerPixel",
    "PixelData",
)


@dataclass(frozen=True)
class Slices:
    """One phase: its images in slice order, and their grid."""

    phase: PhaseFiles
    images: tuple[Image, ...]
    #: Of each image the number of its instance in the download, from 1.
    numbers: tuple[int, ...]
    grid: Grid
    #: Of the first slice, where a result is to be built.
    filing: Filing | None = None

    @property
    def heads(self) -> tuple[Dataset, ...]:
        """What each slice says of itself, in classic keywords."""
        return tuple(image.head for image in self.images)


def read_slices(phases: Sequence[PhaseFiles], study_uid: str, *, pixels: bool) -> list[Slices]:
    """Parse, check and sort the phases of one series, each file once.

    With `pixels` their slices hold `VOLUME_TAGS`, otherwise everything before the pixel data.

    Raises SeriesChanged, UnreadableDicom, UnsupportedImage, TooLarge or GeometryMismatch.
    """
    tags = VOLUME_TAGS if pixels else None
    parsed = parse(phases, study_uid, stop_before_pixels=not pixels, tags=tags)
    return [
        _sorted(phase, images, pixels=pixels) for phase, images in zip(phases, parsed, strict=True)
    ]


def _sorted(phase: PhaseFiles, images: Sequence[Numbered], *, pixels: bool) -> Slices:
    for number, image in images:
        guarded(phase, number, partial(_check_kind, image, phase.role))
    if pixels:
        _check_pixels(phase, images)
    frames = [guarded(phase, number, partial(_frame, image.head)) for number, image in images]
    number, first = images[0]
    thickness = guarded(phase, number, partial(_thickness, first.head))
    grid, order = grid_of(phase.role, frames, thickness)
    return Slices(
        phase,
        tuple(images[place][1] for place in order),
        tuple(images[place][0] for place in order),
        grid,
    )


def _check_pixels(phase: PhaseFiles, images: Sequence[Numbered]) -> None:
    """Look at the compressed frames that are wanted, each instance once."""
    chosen: dict[int, tuple[Dataset, set[int]]] = {}
    for number, image in images:
        chosen.setdefault(number, (image.source, set()))[1].add((image.frame or 1) - 1)
    for number, (source, frames) in chosen.items():
        guarded(phase, number, partial(check_frames, source, frames, phase.role))


def _check_kind(image: Image, role: str) -> None:
    kind = image.source.SOPClassUID
    if kind in MULTI_FRAME_CLASSES:
        if image.frame is None:
            raise UnreadableDicom(f"the frames of {role} do not say where they lie")
    elif kind != MRImageStorage:
        raise UnsupportedImage(f"the series of {role} holds an object that is no MR image")
    elif int(image.source.get("NumberOfFrames") or 1) != 1:
        raise UnsupportedImage(f"the series of {role} holds several frames in a classic MR image")
    check_encoding(image.head, image.source, role)


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
    frame_of_reference = str(ds.FrameOfReferenceUID or "").strip()
    if not frame_of_reference:
        # Two that say nothing say not the same.
        raise ValueError
    return Frame(int(ds.Rows), int(ds.Columns), frame_of_reference, np.array(numbers))


def _thickness(ds: Dataset) -> float | None:
    value = ds.get("SliceThickness")
    return None if value is None else _numbers([value], 1)[0]
