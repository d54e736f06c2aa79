"""What a stored report (TID 1500) states of each lesion.

Reports that were written before the lesions were measured one by one state the figures of all of
them together, and less of their origin; what a report does not state is None or empty here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from web.orthanc.errors import UnreadableReport
from web.results.content_tree import Code, children, code_of, coded, number, number_in, texts
from web.results.report import LONGEST_DIAMETER, VOLUME
from web.results.report_origin import Origin, origin_of, parameters

#: Containers: the measurements, and one group of them.
_MEASUREMENTS, _GROUP = ("126010", "DCM"), ("125007", "DCM")

#: Only the group of a lesion refers to a segment (TID 1411).
_SEGMENT = ("121191", "DCM")

_TRACKING = ("112039", "DCM")

#: SCT Absent, in the place of a figure.
_ABSENT = ("272519000", "SCT")

_LEFT_OUT = ("LEFTOUT", "99LABRELAY")

#: SCT Long Axis: the longest diameter within one slice, in mm.
_IN_PLANE = ("103339001", "SCT")

#: SCT Finding Site and its modifier SCT Laterality (TID 1411), whose values are of CID 244. Where a
#: lab could not tell the side, the lesion has the latter as an evaluation: SCT Undetermined.
_SITE, _LATERALITY = ("363698007", "SCT"), ("272741003", "SCT")
_BREAST, _UNDETERMINED = ("76752008", "SCT"), ("373068000", "SCT")

#: T1 Weighted Dynamic Contrast Enhanced MR Signal Intensity (CID 4033), and which phase it is of.
_SIGNAL, _PHASE = ("110816", "DCM"), ("109058", "DCM")

_SECONDS = ("AFTERFIRST", "99LABRELAY")

_WASH_IN, _PATTERN = ("RID49530", "RADLEX"), ("RID6058", "RADLEX")


class WashOut(StrEnum):
    """How the signal goes on after its early rise."""

    PERSISTENT = "persistent"
    PLATEAU = "plateau"
    WASHOUT = "washout"


_WASH_OUTS: dict[Code, WashOut] = {
    ("130597", "DCM"): WashOut.PERSISTENT,
    ("130598", "DCM"): WashOut.PLATEAU,
    ("130599", "DCM"): WashOut.WASHOUT,
}


class Laterality(StrEnum):
    """On which side a lesion of the breast is."""

    LEFT = "left"
    RIGHT = "right"
    #: The lab could not tell: both breasts are not in view, or it lies too near to the middle.
    NOT_DETERMINED = "not_determined"
    #: A report of an earlier version.
    NOT_STATED = "not_stated"


_SIDES: dict[Code, Laterality] = {
    ("7771000", "SCT"): Laterality.LEFT,
    ("24028007", "SCT"): Laterality.RIGHT,
}


@dataclass(frozen=True)
class Point:
    """The signal of a lesion in one phase."""

    role: str
    #: Mean of its voxels, in the unit of the images.
    mean: float
    #: After the first phase; None where the images do not tell.
    seconds: float | None


@dataclass(frozen=True)
class Kinetics:
    """The time-intensity curve of a lesion, in channel order."""

    points: tuple[Point, ...]
    wash_in_percent: float | None
    wash_out: WashOut | None


@dataclass(frozen=True)
class ReadLesion:
    """A lesion as the report states it."""

    #: From 1, the largest first.
    number: int
    #: Tracking identifier.
    label: str
    volume_ml: float | None
    longest_diameter_mm: float | None
    longest_in_plane_mm: float | None
    #: None of models that have no contrast phases.
    kinetics: Kinetics | None
    #: None of what is no lesion of the breast.
    laterality: Laterality | None = None


@dataclass(frozen=True)
class ReadReport:
    """A stored report."""

    tumor_detected: bool
    #: Of all lesions together; None where nothing was found.
    volume_ml: float | None
    longest_diameter_mm: float | None
    #: None in a report that measures all of them as one.
    lesions: tuple[ReadLesion, ...] | None
    #: Marks that were too small for a lesion; None where the report does not say.
    left_out: int | None
    origin: Origin
    #: ``VERIFIED`` or ``UNVERIFIED`` (PS3.3 section C.17.2).
    verification: str
    #: SOP Instance UID of the report that this one replaces, or empty.
    predecessor_uid: str
    #: Why there are no curves although the model has phases for them: ``different_scales``, or
    #: empty.
    curves_withheld: str = ""


def read_report(report: Any) -> ReadReport:
    """Read a report; raises `UnreadableReport` for one that is not of ours."""
    try:
        return _read(report)
    except UnreadableReport:
        raise
    except Exception as exc:  # noqa: BLE001 - anybody's object may break the parser in any way
        # Its text may quote what it read.
        raise UnreadableReport(f"the report cannot be read: {type(exc).__name__}") from None


def _read(report: Any) -> ReadReport:
    groups = [g for items in children(report, _MEASUREMENTS) for g in children(items, _GROUP)]
    if not groups:
        raise UnreadableReport("the report has no group of measurements")
    together = [group for group in groups if not _has(group, _SEGMENT)]
    if len(together) > 1 or (not together and len(groups) > 1):
        raise UnreadableReport("the report does not say which group speaks of all lesions")
    summary = together[0] if together else groups[0]
    found = not any(
        item.ValueType == "CODE" and code_of(item.ConceptCodeSequence[0]) == _ABSENT
        for item in children(summary)
    )
    left_out = number(summary, _LEFT_OUT)
    lesions = [group for group in groups if group is not summary]
    # One group that is not of a segment, and something found: no report of ours.
    stated = bool(together) and (bool(lesions) == found)
    return ReadReport(
        tumor_detected=found,
        volume_ml=number(summary, VOLUME),
        longest_diameter_mm=number(summary, LONGEST_DIAMETER),
        lesions=tuple(_lesion(n, group) for n, group in enumerate(lesions, 1)) if stated else None,
        left_out=None if left_out is None else int(left_out),
        origin=origin_of(report, summary),
        verification=str(report.get("VerificationFlag", "")),
        predecessor_uid=_predecessor(report),
        curves_withheld=dict(parameters(summary)).get("curves_withheld", ""),
    )


def _has(item: Any, concept: Code) -> bool:
    return any(True for _ in children(item, concept))


def _lesion(place: int, group: Any) -> ReadLesion:
    return ReadLesion(
        number=place,
        label=next(iter(texts(group, _TRACKING)), ""),
        volume_ml=number(group, VOLUME),
        longest_diameter_mm=number(group, LONGEST_DIAMETER),
        longest_in_plane_mm=number(group, _IN_PLANE),
        kinetics=_kinetics(group),
        laterality=_laterality(group),
    )


def _laterality(group: Any) -> Laterality | None:
    site = next(children(group, _SITE), None)
    if site is None or code_of(site.ConceptCodeSequence[0]) != _BREAST:
        return None
    if coded(group, _LATERALITY) == _UNDETERMINED:
        return Laterality.NOT_DETERMINED
    side = coded(site, _LATERALITY)
    return Laterality.NOT_STATED if side is None else _SIDES.get(side, Laterality.NOT_STATED)


def _kinetics(group: Any) -> Kinetics | None:
    points = tuple(
        Point(
            role=next(iter(texts(item, _PHASE)), ""),
            mean=number_in(item),
            seconds=number(item, _SECONDS),
        )
        for item in children(group, _SIGNAL)
    )
    if not points:
        return None
    pattern = coded(group, _PATTERN)
    return Kinetics(
        points=points,
        wash_in_percent=number(group, _WASH_IN),
        wash_out=None if pattern is None else _WASH_OUTS.get(pattern),
    )


def _predecessor(report: Any) -> str:
    for document in report.get("PredecessorDocumentsSequence", ()):
        for series in document.ReferencedSeriesSequence:
            for instance in series.ReferencedSOPSequence:
                return str(instance.ReferencedSOPInstanceUID)
    return ""
