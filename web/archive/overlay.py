"""What the page draws over the slices of a completed request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from messages.phases.frames import numbers, text_of
from messages.phases.values import integer
from web.archive.errors import UnreadableResult
from web.archive.orthanc import Orthanc, archive
from web.archive.outline import outline_path
from web.archive.phase_names import PhaseName
from web.archive.segmentation import marked_in, place_referred
from web.archive.stack import Stack, corresponding, stack_of

#: Results whose outlines a process keeps; one is some tens of kilobytes of text.
_KEPT_RESULTS = 32


@dataclass(frozen=True)
class Overlay:
    """Outlines by slice of the phase that a result refers to, and where others have that slice."""

    series_id: str
    #: The phase that the result refers to, as `PhaseName` writes it.
    phase: str
    slices: int
    rows: int
    columns: int
    #: Millimetres between rows, and between columns.
    spacing: tuple[float, float]
    #: Path by slice index, only for slices with a tumour.
    outlines: dict[int, str]
    #: Marked pixels by slice index, only for slices with a tumour.
    areas: dict[int, int]
    #: By number of a lesion, the slice in which most of its pixels are: its middle.
    lesions: dict[int, int]
    #: By phase: the slice index in it for each slice index of the phase that is referred to.
    orders: dict[str, tuple[int, ...]]
    #: By phase: its number of slices, which the page names when it asks for one of them.
    counts: dict[str, int]

    def as_json(self) -> dict[str, object]:
        """The body of ``overlay.json``."""
        return {
            "series_id": self.series_id,
            "phase": self.phase,
            "slices": self.slices,
            "rows": self.rows,
            "columns": self.columns,
            "spacing": list(self.spacing),
            "outlines": {str(index): path for index, path in self.outlines.items()},
            "areas": {str(index): area for index, area in self.areas.items()},
            "lesions": {str(number): index for number, index in self.lesions.items()},
            "slices_with_tumor": sorted(self.outlines),
            "orders": {phase: list(order) for phase, order in self.orders.items()},
            "counts": self.counts,
        }


@dataclass(frozen=True)
class _Drawn:
    """What an overlay has of the segmentation; named as there."""

    #: Which of the phases it refers to.
    place: int
    #: (rows, columns); None without a segmentation.
    size: tuple[int, int] | None
    outlines: dict[int, str]
    areas: dict[int, int]
    lesions: dict[int, int]


def overlay_of(
    study_id: str,
    inputs: Sequence[PhaseName],
    seg_instance_id: str | None,
    *,
    orthanc: Orthanc | None = None,
) -> Overlay:
    """Return the outlines of a result over its input phases, one of which it refers to.

    Without a segmentation (nothing was found) the overlay has no outlines, and its slices are those
    of the first phase. Raises the errors of `web.archive.errors`.
    """
    source = orthanc or archive()
    # Not as they are kept: the page asks for the slices by what is told here.
    stacks = {
        str(one): stack_of(study_id, one.series_id, phase=one.phase, orthanc=source)
        for one in inputs
    }
    drawn = _Drawn(0, None, {}, {}, {})
    if seg_instance_id is not None:
        drawn = _outlines(source, seg_instance_id, tuple(stacks[str(one)] for one in inputs))
    referred = stacks[str(inputs[drawn.place])]
    rows, columns, spacing = _grid(source, referred)
    if drawn.size not in {None, (rows, columns)}:
        raise UnreadableResult("the segmentation has another size than the images")
    return Overlay(
        series_id=referred.series_id,
        phase=str(inputs[drawn.place]),
        slices=len(referred.slices),
        rows=rows,
        columns=columns,
        spacing=spacing,
        outlines=drawn.outlines,
        areas=drawn.areas,
        lesions=drawn.lesions,
        orders={name: corresponding(referred, stack) for name, stack in stacks.items()},
        counts={name: len(stack.slices) for name, stack in stacks.items()},
    )


@lru_cache(maxsize=_KEPT_RESULTS)
def _outlines(orthanc: Orthanc, seg_instance_id: str, stacks: tuple[Stack, ...]) -> _Drawn:
    file = orthanc.result_file(seg_instance_id)
    place = place_referred(file, stacks)
    found = marked_in(file, stacks[place])
    volume = found.volume
    marked = [int(index) for index in np.flatnonzero(volume.any(axis=(1, 2)))]
    return _Drawn(
        place,
        (volume.shape[1], volume.shape[2]),
        {index: outline_path(volume[index]) for index in marked},
        {index: int(volume[index].sum()) for index in marked},
        found.largest,
    )


def _grid(orthanc: Orthanc, stack: Stack) -> tuple[int, int, tuple[float, float]]:
    image = stack.at(0)
    tags = orthanc.tags(image.instance_id)
    rows, columns = integer(text_of(tags, "Rows")), integer(text_of(tags, "Columns"))
    spacing = image.spacing or numbers(text_of(tags, "PixelSpacing"), 2)
    if rows is None or columns is None or spacing is None:
        raise UnreadableResult("the images do not say their size")
    return rows, columns, (spacing[0], spacing[1])
