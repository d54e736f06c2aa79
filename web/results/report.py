"""What a stored report (TID 1500) states, as the labs write it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage

from messages.request import InputSeries
from web.orthanc.errors import UnreadableResult

#: Objects that hold many slices each.
_MULTI_FRAME = frozenset({EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})

#: (code, scheme) of the figures: CID 7472 Volume, in ml, and IBSI's maximum 3D diameter, in mm.
VOLUME, LONGEST_DIAMETER = ("118565006", "SCT"), ("L0JK", "IBSI")

#: A measurement group of TID 1500, and what refers to a segment in it.
_GROUP, _SEGMENT = ("125007", "DCM"), ("121191", "DCM")


def figure(report: Any, code: tuple[str, str]) -> float:
    """The value of the report's one figure of this kind over all lesions, in the unit above.

    It stands in the group that refers to no segment; in a report written before there is one
    group, of all lesions. Raises `UnreadableResult`.
    """
    found = {
        float(item.MeasuredValueSequence[0].NumericValue)
        for item in _summary(report).get("ContentSequence", ())
        if item.ValueType == "NUM" and _code(item.ConceptNameCodeSequence[0]) == code
    }
    if len(found) != 1 or not math.isfinite(value := found.pop()) or value < 0:
        raise UnreadableResult(f"the report does not state one figure {code[0]}")
    return value


def _summary(report: Any) -> Any:
    groups = [item for item in _items(report) if _named(item) == _GROUP]
    whole = [
        group
        for group in groups
        if all(_named(item) != _SEGMENT for item in group.get("ContentSequence", ()))
    ]
    if len(whole) == 1:
        return whole[0]
    if len(groups) == 1:
        return groups[0]
    raise UnreadableResult("the report has no group for all lesions")


def _named(item: Any) -> tuple[str, str] | None:
    """The concept of an item, if it has one."""
    names = item.get("ConceptNameCodeSequence")
    return _code(names[0]) if names else None


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
