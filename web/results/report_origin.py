"""Where a result comes from, as its stored report (TID 1500) states it: see `report_details`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from web.results.content_tree import texts

#: "key=value", many of them (PS3.16 TID 4019).
_PARAMETER = ("111002", "DCM")


@dataclass(frozen=True)
class ReportedPhase:
    """Which series, or which part of one, was read as which phase."""

    role: str
    series_uid: str
    #: DICOM keyword and value of the phase within its series; empty for the whole series.
    selector: str


@dataclass(frozen=True)
class Origin:
    """What made the result, of what, where and when."""

    model: str
    version: str
    bundle_sha256: str
    #: File and SHA-256 of each file of weights that the bundle names.
    weights_sha256: tuple[tuple[str, str], ...]
    phases: tuple[ReportedPhase, ...]
    lab: str
    device: str
    #: Version of this software.
    labrelay: str
    threshold: str
    smallest_mm3: str
    #: `messages.input_digest` of what it was computed from.
    input_sha256: str
    #: ISO 8601; without an offset where the report states none.
    created: str
    #: In the words of the bundle.
    notice: str
    #: ``first_phase`` where the phases were brought to the scale of the first, ``different`` where
    #: they have several and not all state theirs; empty where nothing says that they differ.
    signal_scale: str = ""


def origin_of(report: Any, summary: Any) -> Origin:
    """The origin that a report states; `summary` is its group about all lesions together."""
    pairs = list(parameters(summary))
    facts = dict(pairs)
    version, sha256 = report.SoftwareVersions
    return Origin(
        model=str(report.ManufacturerModelName),
        version=str(version),
        bundle_sha256=str(sha256),
        weights_sha256=tuple(
            (key.partition(" ")[2], value)
            for key, value in pairs
            if key.startswith("weights_sha256 ")
        ),
        phases=tuple(_phase(key, value) for key, value in pairs if key.startswith("input ")),
        lab=facts.get("lab", str(report.get("DeviceSerialNumber", ""))),
        device=facts.get("device", ""),
        labrelay=facts.get("labrelay", ""),
        threshold=facts.get("threshold", ""),
        smallest_mm3=facts.get("smallest_mm3", ""),
        input_sha256=facts.get("input_sha256", ""),
        created=facts.get("created", "") or _content_time(report),
        notice=facts.get("notice", ""),
        signal_scale=facts.get("signal_scale", ""),
    )


def parameters(summary: Any) -> Iterator[tuple[str, str]]:
    """Key and value of each parameter of the analysis."""
    for parameter in texts(summary, _PARAMETER):
        key, joined, value = parameter.partition("=")
        if joined:
            yield key.strip(), value.strip()


def _phase(key: str, value: str) -> ReportedPhase:
    series_uid, _blank, selector = value.partition(" ")
    return ReportedPhase(role=key.partition(" ")[2], series_uid=series_uid, selector=selector)


def _content_time(report: Any) -> str:
    """ContentDate and ContentTime to the second, in nobody's time zone; empty where unreadable."""
    text = f"{report.get('ContentDate', '')}{str(report.get('ContentTime', ''))[:6]}"
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").isoformat()  # noqa: DTZ007 - none is known
    except ValueError:
        return ""
