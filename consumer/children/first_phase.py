"""The first phase for whoever builds a result: parsed once in a run, and in few files after that.

Reading the headers of all slices costs more than all else of a result. A run that has read them
hands on where they lie (`consumer.handover.FirstPhase`), and then the first slice alone is parsed:
patient and study come from it. All others become what a result needs of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.valuerep import format_number_as_ds

from consumer.children.enhanced import Image, images_of
from consumer.children.files import read_file
from consumer.children.series import guarded
from consumer.children.slices import Slices, read_slices
from consumer.memory import map_bytes
from consumer.result.filing import filing_of, settle_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from consumer.handover import DownloadIndex, Filing, PhaseFiles


def first_phase(source: DownloadIndex) -> Slices:
    """The slices of the first phase, without pixels. Raises as `read_slices` does."""
    phase, known = source.phases[0], source.first
    if known is None or phase.instances is None:
        found = read_slices(source.phases[:1], source.study_uid, pixels=False)[0]
        first, filing = _parsed(phase, found.numbers[0], found.images[0].frame)
        return replace(found, images=(first, *found.images[1:]), filing=filing)
    first, filing = _parsed(phase, *known.places[0])
    images = [first]
    named = zip(phase.instances, known.places, known.grid.positions, strict=True)
    for (sop_class_uid, sop_instance_uid), (_, frame), position in list(named)[1:]:
        head = _outline(first.head, position)
        head.SOPClassUID, head.SOPInstanceUID = sop_class_uid, sop_instance_uid
        images.append(Image(head, head, frame))
    numbers = tuple(number for number, _ in known.places)
    return Slices(phase, tuple(images), numbers, known.grid, filing)


def _parsed(phase: PhaseFiles, number: int, frame: int | None) -> tuple[Image, Filing]:
    """The first slice as its file has it, but for what is no text; and what it is filed by."""
    offset, length = phase.files[number - 1]
    with map_bytes(phase.path) as memory:
        read = partial(read_file, memory[offset : offset + length], stop_before_pixels=True)
        ds = guarded(phase, number, read)
    # Before anybody looks at a text, and pydicom makes one of its bytes.
    filing = guarded(phase, number, partial(filing_of, ds))
    guarded(phase, number, partial(settle_text, ds))
    images = guarded(phase, number, partial(images_of, ds))
    return (images[0] if frame is None else images[frame - 1]), filing


def _outline(first: Dataset, position: NDArray[np.float64]) -> Dataset:
    """A slice beside the first, by what all slices of a phase have alike and its place."""
    ds = Dataset()
    for keyword in _ALIKE:
        if keyword in first:
            ds.add(first[keyword])
    ds.ImagePositionPatient = [format_number_as_ds(float(value)) for value in position]
    return ds


#: What highdicom reads of a source image beside its UIDs and its place.
_ALIKE = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "PixelSpacing",
    "ImageOrientationPatient",
    "SliceThickness",
    "SamplesPerPixel",
    "PhotometricInterpretation",
)
