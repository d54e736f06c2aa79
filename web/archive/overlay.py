"""What the page draws over the slices of a completed request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from web.archive.errors import UnreadableResult
from web.archive.orthanc import Orthanc, archive
from web.archive.outline import outline_path
from web.archive.segmentation import masks
from web.archive.stack import Stack, corresponding, stack_of

#: Results whose outlines a process keeps; one is some tens of kilobytes of text.
_KEPT_RESULTS = 32


@dataclass(frozen=True)
class Overlay:
    """Outlines by slice index of the first series, and where the other series have that slice."""

    series_id: str
    slices: int
    rows: int
    columns: int
    #: Millimetres between rows, and between columns.
    spacing: tuple[float, float]
    #: Path by slice index, only for slices with a tumour.
    outlines: dict[int, str]
    #: Marked pixels by slice index, only for slices with a tumour.
    areas: dict[int, int]
    #: By series id: the slice index in that series for each slice index of the first series.
    orders: dict[str, tuple[int, ...]]
    #: By series id: its number of slices, which the page names when it asks for one of them.
    counts: dict[str, int]

    def as_json(self) -> dict[str, object]:
        """The body of ``overlay.json``."""
        return {
            "series_id": self.series_id,
            "slices": self.slices,
            "rows": self.rows,
            "columns": self.columns,
            "spacing": list(self.spacing),
            "outlines": {str(index): path for index, path in self.outlines.items()},
            "areas": {str(index): area for index, area in self.areas.items()},
            "slices_with_tumor": sorted(self.outlines),
            "orders": {series: list(order) for series, order in self.orders.items()},
            "counts": self.counts,
        }


def overlay_of(
    study_id: str,
    series_ids: Sequence[str],
    seg_instance_id: str | None,
    *,
    orthanc: Orthanc | None = None,
) -> Overlay:
    """Return the outlines of a result over its input series, the first of which it refers to.

    Without a segmentation (nothing was found) the overlay has no outlines. Raises the errors of
    `web.archive.errors`.
    """
    source = orthanc or archive()
    # Not as they are kept: the page asks for the slices by what is told here.
    stacks = [stack_of(study_id, series_id, orthanc=source) for series_id in series_ids]
    first = stacks[0]
    rows, columns, spacing = _grid(source, first)
    outlines: dict[int, str] = {}
    areas: dict[int, int] = {}
    if seg_instance_id is not None:
        outlines, areas = _outlines(source, seg_instance_id, first, rows, columns)
    return Overlay(
        series_id=first.series_id,
        slices=len(first.slices),
        rows=rows,
        columns=columns,
        spacing=spacing,
        outlines=outlines,
        areas=areas,
        orders={stack.series_id: corresponding(first, stack) for stack in stacks},
        counts={stack.series_id: len(stack.slices) for stack in stacks},
    )


@lru_cache(maxsize=_KEPT_RESULTS)
def _outlines(
    orthanc: Orthanc, seg_instance_id: str, stack: Stack, rows: int, columns: int
) -> tuple[dict[int, str], dict[int, int]]:
    volume = masks(orthanc.content("instances", seg_instance_id, "/file"), stack)
    if volume.shape[1:] != (rows, columns):
        raise UnreadableResult("the segmentation has another size than the images")
    marked = [int(index) for index in np.flatnonzero(volume.any(axis=(1, 2)))]
    return (
        {index: outline_path(volume[index]) for index in marked},
        {index: int(volume[index].sum()) for index in marked},
    )


def _grid(orthanc: Orthanc, stack: Stack) -> tuple[int, int, tuple[float, float]]:
    tags = orthanc.json("instances", stack.at(0).instance_id, "/simplified-tags")
    try:
        between_rows, between_columns = (float(v) for v in tags["PixelSpacing"].split("\\"))
        return int(tags["Rows"]), int(tags["Columns"]), (between_rows, between_columns)
    except (KeyError, ValueError, AttributeError) as exc:
        raise UnreadableResult("the images do not say their size") from exc
