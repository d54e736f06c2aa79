"""What the page draws over the slices of a completed request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from messages.phases.frames import numbers, text_of
from messages.phases.values import integer
from web.orthanc.archive import Orthanc, archive
from web.orthanc.errors import TooLargeResult, UnreadableResult
from web.orthanc.heavy import large
from web.orthanc.keeping import Keeping
from web.orthanc.stored_file import stored_file
from web.orthanc.time_budget import seconds_left, within
from web.phases.phase_names import PhaseName
from web.phases.stack import Stack, corresponding, stack_of
from web.results.masks import Masks
from web.results.outline import edge_count, outline_path
from web.results.segmentation import marked_in, place_referred

#: Letters of outlines that a process keeps; those of a tumour are some tens of thousands.
KEPT_WEIGHT = 32_000_000

#: Sides of pixels that outlines run along, of all slices together: a tumour has some ten thousand,
#: a whole brain in 256 slices half a million. Each is some hundred bytes while it is chained.
MAX_EDGES = 1_000_000


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
    of the first phase. In `web.orthanc.time_budget.PAGE_SECONDS` altogether. Raises the errors of
    `web.orthanc.errors`.
    """
    with within():
        return _overlay(orthanc or archive(), study_id, inputs, seg_instance_id)


def _overlay(
    source: Orthanc, study_id: str, inputs: Sequence[PhaseName], seg_instance_id: str | None
) -> Overlay:
    # Not as they are kept: the page asks for the slices by what is told here.
    stacks = {
        str(one): stack_of(study_id, one.series_id, phase=one.phase, orthanc=source)
        for one in inputs
    }
    drawn = _Drawn(0, None, {}, {}, {})
    if seg_instance_id is not None:
        offered = tuple(stacks[str(one)] for one in inputs)
        drawn = _kept.or_read(
            (source, seg_instance_id, offered), lambda: _outlines(source, seg_instance_id, offered)
        )
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


_kept: Keeping[tuple[Orthanc, str, tuple[Stack, ...]], _Drawn] = Keeping(
    KEPT_WEIGHT,
    # A thousand characters are about an image of a stack that it is kept by.
    lambda one: 1000 + sum(map(len, one.outlines.values())),
)


def _outlines(orthanc: Orthanc, seg_instance_id: str, stacks: tuple[Stack, ...]) -> _Drawn:
    with large():
        seg = stored_file(orthanc.result_file(seg_instance_id))
        place = place_referred(seg, stacks)
        rows, columns, _spacing = _grid(orthanc, stacks[place])
        found = marked_in(seg, stacks[place], (rows, columns))
        _require_drawable(found.masks)
        outlines, areas = {}, {}
        for index in found.masks:
            seconds_left()
            mask = found.masks.of(index)
            outlines[index] = outline_path(mask)
            areas[index] = int(np.count_nonzero(mask))
        return _Drawn(place, found.masks.size, outlines, areas, found.largest)


def _require_drawable(masks: Masks) -> None:
    """Raise `TooLargeResult` for masks of which each pixel has a border of its own."""
    edges = 0
    for index in masks:
        edges += edge_count(masks.of(index))
        if edges > MAX_EDGES:
            raise TooLargeResult("the outlines of the segmentation are too long")


def _grid(orthanc: Orthanc, stack: Stack) -> tuple[int, int, tuple[float, float]]:
    image = stack.at(0)
    tags = orthanc.tags(image.instance_id)
    rows, columns = integer(text_of(tags, "Rows")), integer(text_of(tags, "Columns"))
    spacing = image.spacing or numbers(text_of(tags, "PixelSpacing"), 2)
    if rows is None or columns is None or spacing is None:
        raise UnreadableResult("the images do not say their size")
    return rows, columns, (spacing[0], spacing[1])
