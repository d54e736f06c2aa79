"""What a series and its phases are by the tags of the first image of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from messages.phases.facts import GridFacts, PhaseFacts, SeriesFacts
from messages.phases.flaws import (
    LOSS_KEYWORD,
    NEEDED_KEYWORDS,
    PIXELS_KEYWORD,
    Flaw,
    FlawKind,
    flaw_of,
)
from messages.phases.grid import COSINE_TOLERANCE, ends
from messages.phases.kind import SCAN_KEYWORDS, kind_of, same_contrast
from messages.phases.parts import FRAME_PHASE_KEYWORDS, ImageFacts, Part, Parts, Unclear
from messages.phases.plausible import implausible
from messages.phases.positions import SAME_PLACE_MM, Position
from messages.phases.times import TIME_KEYWORDS, began_at, dated_at, timed
from messages.phases.values import number_of

#: Attributes of the first image of a phase that are looked at.
HEAD_KEYWORDS: tuple[str, ...] = (
    *FRAME_PHASE_KEYWORDS,
    *TIME_KEYWORDS,
    "SOPClassUID",
    "StudyDate",
    "ImageType",
    "AcquisitionMatrix",
    "SliceThickness",
    LOSS_KEYWORD,
    *(keyword for keyword in NEEDED_KEYWORDS if keyword != PIXELS_KEYWORD),
    *SCAN_KEYWORDS,
)

#: Rows and columns are a US: 16 bits.
_MOST_PIXELS = 65_535


class Placed(Protocol):
    """Where an image lies; None where that is not known."""

    @property
    def position(self) -> Position | None:
        """ImagePositionPatient (LPS, mm)."""

    @property
    def orientation(self) -> tuple[float, ...] | None:
        """ImageOrientationPatient: six direction cosines."""

    @property
    def spacing(self) -> tuple[float, ...] | None:
        """PixelSpacing: mm between rows, between columns."""


def facts_of(
    series: SeriesFacts,
    images: Sequence[Placed],
    parts: Parts,
    heads: Sequence[Mapping[str, str]],
) -> SeriesFacts:
    """The series with all that its images tell.

    `parts` are indices into `images`. `heads` are `HEAD_KEYWORDS` of the first image of each part,
    as text, what a frame says itself before what its object says; where there are fewer of them,
    the last phases have neither time nor grid. Of an unclear series one is enough, of any image.
    """
    heads = [timed(head) for head in heads]
    flaws = [flaw_of(head) for head in heads]
    unclear = parts.unclear or (None if _one_kind(heads) else Unclear.SEVERAL_KINDS)
    known = replace(series, image_count=len(images), unclear=unclear)
    if heads:
        known = _most_dynamic(known, heads)
    if not unclear:
        phases = _phases(images, parts.parts, heads, flaws)
        known, flaws = replace(known, phases=phases), [phase.flaw for phase in phases]
    return replace(known, flaw=next((flaw for flaw in flaws if flaw is not None), None))


def _one_kind(heads: Sequence[Mapping[str, str]]) -> bool:
    """Whether all phases are of one kind of image; what one of them does not say counts as equal.

    A Dixon scan or a series with subtractions at its end has its images at the same places, with
    times of their own: what looks like phases are contrasts.
    """
    types = {tuple(text.upper().split("\\")) for head in heads if (text := head.get("ImageType"))}
    scans = [_scan_of(head) for head in heads]
    components = {scan.get("ComplexImageComponent", "").strip().upper() for scan in scans}
    if len(components - {"", "MIXED"}) > 1:
        return False
    return len(types) < 2 and all(same_contrast(scans[0], scan) for scan in scans[1:])


def _most_dynamic(series: SeriesFacts, heads: Sequence[Mapping[str, str]]) -> SeriesFacts:
    """The series with image type and scan of the first head that speaks for a dynamic scan.

    Of several kinds one may be dynamic: the series must not be left out for another one.
    """
    all_kinds = [
        replace(
            series,
            image_type=tuple(part for part in head.get("ImageType", "").split("\\") if part),
            scan=_scan_of(head),
        )
        for head in heads
    ]
    return next((kind for kind in all_kinds if kind_of(kind) is None), all_kinds[0])


def _scan_of(head: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name in SCAN_KEYWORDS if (text := head.get(name))}


def _phases(
    images: Sequence[Placed],
    parts: Sequence[Part],
    heads: Sequence[Mapping[str, str]],
    flaws: Sequence[Flaw | None],
) -> tuple[PhaseFacts, ...]:
    firsts = [
        ImageFacts(images[part.images[0]].position, head)
        for part, head in zip(parts, heads, strict=False)
    ]
    alone = [Part(part.keyword, part.value, (i,)) for i, part in enumerate(parts[: len(firsts)])]
    study_date = heads[0].get("StudyDate", "") if heads else ""
    unread = [None] * (len(parts) - len(firsts))
    grids = [
        _grid([images[i] for i in part.images], head)
        for part, head in zip(parts, heads, strict=False)
    ]
    sizes = [_flaw_of_size(grid, head) for grid, head in zip(grids, heads, strict=False)]
    return tuple(
        PhaseFacts(
            keyword=part.keyword,
            value=part.value,
            acquired_at_s=began,
            dated_at_s=dated,
            image_count=len(part.images),
            grid=grid,
            flaw=flaw or size,
        )
        for part, began, dated, grid, flaw, size in zip(
            parts,
            (*began_at(firsts, alone, study_date), *unread),
            (*dated_at(firsts, alone, study_date), *unread),
            (*grids, *unread),
            (*flaws[: len(parts)], *unread),
            (*sizes, *unread),
            strict=True,
        )
    )


def _grid(images: Sequence[Placed], head: Mapping[str, str]) -> GridFacts | None:
    """Where the voxels of a phase lie, or None where that is not told or is not one grid."""
    positions = [image.position for image in images if image.position is not None]
    # Of a classic instance the index of an archive may not hold the orientation.
    turned = images[0].orientation or _numbers(head.get("ImageOrientationPatient", ""), 6)
    spacing = images[0].spacing or _numbers(head.get("PixelSpacing", ""), 2)
    rows, columns = _count(head.get("Rows", "")), _count(head.get("Columns", ""))
    if len(positions) < len(images) or not (turned and spacing and rows and columns):
        return None
    if not all(_same_direction(images[0].orientation, image.orientation) for image in images[1:]):
        return None
    first, last, slices = ends(positions, turned)
    return GridFacts(
        rows=rows,
        columns=columns,
        slices=slices,
        orientation=turned,
        pixel_spacing=(spacing[0], spacing[1]),
        first=first,
        last=last,
        frame_of_reference_uid=head.get("FrameOfReferenceUID", ""),
    )


def _flaw_of_size(grid: GridFacts | None, head: Mapping[str, str]) -> Flaw | None:
    """A size that no scanner makes, of slices that are one grid as far as their ends tell."""
    if grid is None:
        return None
    many = grid.slices > 1
    gap: float | None = math.dist(grid.first, grid.last) / max(grid.slices - 1, 1)
    if many and gap is not None and gap <= SAME_PLACE_MM:
        # They lie beside each other and are no stack: that is no matter of size.
        gap = None
    thickness = number_of(head.get("SliceThickness", ""))
    size = implausible(
        rows=grid.rows,
        columns=grid.columns,
        slices=grid.slices,
        orientation=grid.orientation,
        pixel_spacing=grid.pixel_spacing,
        # The lab refuses a slice without thickness by another name.
        gap=gap if many else thickness or None,
    )
    return None if size is None else Flaw(FlawKind.IMPLAUSIBLE, size=size)


def _same_direction(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= COSINE_TOLERANCE for a, b in zip(one, other, strict=True))


def _numbers(text: str, count: int) -> tuple[float, ...] | None:
    """`count` finite numbers between backslashes, or None."""
    try:
        values = tuple(float(part) for part in text.split("\\"))
    except ValueError:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None


def _count(text: str) -> int:
    """Rows or columns, or 0."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0
    return number if number <= _MOST_PIXELS else 0
