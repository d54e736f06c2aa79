"""One phase as sorted slices: checked for what a volume needs, placed on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pydicom.uid import MRImageStorage

from consumer.dicom.attributes import (
    Absent,
    Malformed,
    count,
    frames_in,
    needed,
    number_in,
    numbers,
    text,
)
from consumer.dicom.classic import TILE_TAGS, TURNED_TAGS, check_one_slice, check_rows
from consumer.dicom.encodings import check_encoding, check_frames
from consumer.dicom.enhanced import GROUP_TAGS, MULTI_FRAME_CLASSES, Image
from consumer.dicom.flaws import no_pixels
from consumer.dicom.grid import Frame, grid_of
from consumer.dicom.philips import SCALE_TAGS
from consumer.dicom.series import EVIDENCE_TAGS, Numbered, guarded, parse
from consumer.errors import MissingAttribute, UnsupportedImage
from consumer.payloads import Grid
from messages.phases.agreement import AGREEMENT_KEYWORDS
from messages.phases.flaws import NEEDED_KEYWORDS, PIXELS_KEYWORD
from messages.phases.frames import OWN_GROUPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom import Dataset

    from consumer.payloads import Filing, PhaseFiles

#: What a volume needs of a slice. Scanners write hundreds of elements, patient data among them.
VOLUME_TAGS: tuple[str | int, ...] = (
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
    *TILE_TAGS,
    *TURNED_TAGS,
    "PixelData",
    "Manufacturer",
    *(keyword for keyword in AGREEMENT_KEYWORDS if not keyword.startswith("Acquisition")),
    "AcquisitionNumber",
    *SCALE_TAGS,
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

    Raises SeriesChanged, UnreadableDicom, UnsupportedImage, MissingAttribute, TooLarge or
    GeometryMismatch.
    """
    tags = VOLUME_TAGS if pixels else None
    parsed = parse(phases, study_uid, stop_before_pixels=not pixels, tags=tags)
    return [
        _sorted(phase, images, pixels=pixels) for phase, images in zip(phases, parsed, strict=True)
    ]


def _sorted(phase: PhaseFiles, images: Sequence[Numbered], *, pixels: bool) -> Slices:
    for number, image in images:
        guarded(phase, number, partial(_check_kind, image, phase.role))
    for number, image in images:
        guarded(phase, number, partial(_check_said, image))
    frames = [guarded(phase, number, partial(_frame, image.head)) for number, image in images]
    if pixels:
        _check_pixels_there(phase, images)
    for number, image in images:
        guarded(phase, number, partial(check_encoding, image.head, image.source, phase.role))
    if pixels:
        _check_pixels(phase, images)
    number, first = images[0]
    thickness = guarded(phase, number, partial(_thickness, first.head))
    grid, order = grid_of(phase.role, frames, thickness)
    return Slices(
        phase,
        tuple(images[place][1] for place in order),
        tuple(images[place][0] for place in order),
        grid,
    )


def _check_pixels_there(phase: PhaseFiles, images: Sequence[Numbered]) -> None:
    without = [number for number, image in images if not image.source.get(PIXELS_KEYWORD)]
    if without and len(without) == len(images):
        raise no_pixels(phase.role)
    if without:
        raise MissingAttribute(f"instance {without[0]} of {phase.role} holds no pixels")


def _check_pixels(phase: PhaseFiles, images: Sequence[Numbered]) -> None:
    """Look at the compressed frames that are wanted, each instance once."""
    chosen: dict[int, tuple[Dataset, set[int]]] = {}
    for number, image in images:
        chosen.setdefault(number, (image.source, set()))[1].add((image.frame or 1) - 1)
    for number, (source, frames) in chosen.items():
        guarded(phase, number, partial(check_frames, source, frames, phase.role), "decoded")


def _check_kind(image: Image, role: str) -> None:
    kind = image.source.SOPClassUID
    if kind in MULTI_FRAME_CLASSES:
        if image.frame is None:
            # Its frames say there where they lie.
            raise Absent(OWN_GROUPS)
    elif kind != MRImageStorage:
        raise UnsupportedImage(f"the series of {role} holds an object that is no MR image")
    elif frames_in(image.source) != 1:
        raise UnsupportedImage(f"the series of {role} holds several frames in a classic MR image")
    else:
        check_one_slice(image.head, role)
        check_rows(image.head, role)


def _check_said(image: Image) -> None:
    """Raise Absent for what a slice needs and does not have, and Malformed for what is no count."""
    for keyword in NEEDED_KEYWORDS:
        if keyword != PIXELS_KEYWORD:
            needed(image.head, keyword)
    for keyword in ("Rows", "Columns", "BitsAllocated"):
        count(image.head, keyword)


def _frame(ds: Dataset) -> Frame:
    orientation = numbers(ds, "ImageOrientationPatient", 6)
    position = numbers(ds, "ImagePositionPatient", 3)
    spacing = numbers(ds, "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise Malformed("PixelSpacing", "two numbers above 0")
    # Two that say nothing say not the same.
    space = text(ds, "FrameOfReferenceUID")
    values = np.array([*orientation, *spacing, *position])
    return Frame(count(ds, "Rows"), count(ds, "Columns"), space, values)


def _thickness(ds: Dataset) -> float | None:
    return number_in(ds, "SliceThickness")
