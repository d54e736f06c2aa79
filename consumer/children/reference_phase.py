"""The phase to which a result refers: which of the inputs it is, and its slices.

A new result refers to the phase on which it is read; one that is stored, to the phase that its own
SEG names: the bundle may name another by now, and SEGs of earlier versions name the first input.

Reading the headers of all slices costs more than all else of a result. A run that has read them
hands on where they lie (`consumer.payloads.SliceIndex`), and then the first slice alone is parsed:
patient and study come from it. All others become what a result needs of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from pydicom import Dataset
from pydicom.valuerep import format_number_as_ds

from consumer.dicom.enhanced import Image, images_of
from consumer.dicom.files import read_file
from consumer.dicom.series import EVIDENCE_TAGS, by_series, guarded, parse
from consumer.dicom.slices import Slices, read_slices
from consumer.memory import map_bytes
from consumer.result.filing import filing_of, settle_text
from consumer.result.kinetics import reading_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from consumer.payloads import DownloadIndex, Filing, PhaseFiles, ResultSpec

#: An image by its SOP Instance UID, and its frame from 1; None of a classic instance.
_Named: TypeAlias = "tuple[str, int | None]"


def place_to_read(source: DownloadIndex, spec: ResultSpec) -> int:
    """The place of the phase on which a new result is read."""
    return reading_place([phase.role for phase in source.phases], spec.reading_phase)


def place_referred(seg: Dataset, source: DownloadIndex) -> int:
    """The place of the phase to which a stored SEG refers; of one that names none, the first.

    Where several phases lie in the series that it names, the one whose images its frames name
    most. Raises as `parse` does, and what pydicom raises on a foreign object.
    """
    series = {str(one.SeriesInstanceUID) for one in seg.get("ReferencedSeriesSequence") or ()}
    offered = [at for at, phase in enumerate(source.phases) if phase.series_uid in series]
    if len(offered) <= 1:
        return offered[0] if offered else 0
    named = set(_sources(seg))
    phases = [source.phases[at] for at in offered]
    counts = [0] * len(phases)
    for group in by_series(phases):
        images = _images_of([phases[at] for at in group], source.study_uid)
        for at, own in zip(group, images, strict=True):
            counts[at] = len(named & own)
    # The first of those that are named alike.
    return offered[counts.index(max(counts))]


def phase_at(source: DownloadIndex, place: int) -> Slices:
    """The slices of the phase at `place`, without pixels. Raises as `read_slices` does."""
    phase = source.phases[place]
    known = phase.slice_index
    if known is None or phase.instances is None:
        found = read_slices([phase], source.study_uid, pixels=False)[0]
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


def _sources(seg: Dataset) -> Iterator[_Named]:
    """The images that the frames of a SEG name."""
    for group in seg.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence") or ():
            for item in derivation.get("SourceImageSequence") or ():
                frame = item.get("ReferencedFrameNumber")
                yield str(item.ReferencedSOPInstanceUID), None if frame is None else int(frame)


def _images_of(phases: Sequence[PhaseFiles], study_uid: str) -> list[set[_Named]]:
    """The images of each phase of one series; parsed only where no run has read them."""
    seen: list[set[_Named]] = []
    for phase in phases:
        if phase.instances is None or phase.slice_index is None:
            parsed = parse(phases, study_uid, tags=EVIDENCE_TAGS)
            return [{(str(one.head.SOPInstanceUID), one.frame) for _, one in of} for of in parsed]
        pairs = zip(phase.instances, phase.slice_index.places, strict=True)
        seen.append({(uid, frame) for (_, uid), (_, frame) in pairs})
    return seen


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
