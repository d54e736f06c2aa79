"""What a stored report (TID 1500) states, as the labs write it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage

from messages.request import InputSeries
from web.archive.errors import UnreadableResult

#: Objects that hold many slices each.
_MULTI_FRAME = frozenset({EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})

#: (code, scheme) of the figures: CID 7472 Volume, in ml, and IBSI's maximum 3D diameter, in mm.
VOLUME, LONGEST_DIAMETER = ("118565006", "SCT"), ("L0JK", "IBSI")


def figure(report: Any, code: tuple[str, str]) -> float:
    """The value of the report's one figure of this kind; raises `UnreadableResult`."""
    found = {
        float(item.MeasuredValueSequence[0].NumericValue)
        for item in _items(report)
        if item.ValueType == "NUM" and _code(item.ConceptNameCodeSequence[0]) == code
    }
    if len(found) != 1 or not math.isfinite(value := found.pop()) or value < 0:
        raise UnreadableResult(f"the report does not state one figure {code[0]}")
    return value


def _code(item: Any) -> tuple[str, str]:
    return (str(item.CodeValue), str(item.CodingSchemeDesignator))


def _items(item: Any) -> Iterator[Any]:
    """Everything below an item of a report's content tree."""
    for child in item.get("ContentSequence", ()):
        yield child
        yield from _items(child)


def slices_of_first(report: Any, inputs: Sequence[InputSeries]) -> int | None:
    """Slices of the first input: those that the report names as evidence.

    Not `instance_count` alone: that is of the series, which may hold several phases. None for
    multi-frame images: a report names their files, and not the frames.
    """
    first = inputs[0].series_uid
    named = {
        str(instance.ReferencedSOPInstanceUID): instance.ReferencedSOPClassUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        if series.SeriesInstanceUID == first
        for instance in series.ReferencedSOPSequence
    }
    if _MULTI_FRAME & set(named.values()):
        return None
    phases = sum(item.series_uid == first for item in inputs)
    if not named:
        return inputs[0].instance_count
    if len(named) % phases:
        raise UnreadableResult("the report names phases of different length")
    return len(named) // phases
