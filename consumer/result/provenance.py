"""Where a result comes from, as its primary object states it and as it is read back from there.

From the archive alone one must be able to say which input, model, weights, version, machine and
when. The primary is the one object that is stored first and once, so it states them, and the
measurement report repeats what the stored primary says: not what the lab that reads it is now.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from pydicom.valuerep import DA, TM

from consumer.bundle import Code
from consumer.result.origin import stored_number
from messages.phases.scale import Scale

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydicom import Dataset

    from consumer.payloads import ResultSpec, StoredModel

#: What joins key and value, and one pair with the next, in a SEG's Algorithm Parameters: highdicom
#: joins with them, so that no value may hold them there.
_ASSIGN, _NEXT = "=", ","

#: Their full-width forms stand for them in what is said.
_WIDE = str.maketrans({_ASSIGN: "＝", _NEXT: "，"})
_PLAIN = str.maketrans({"＝": _ASSIGN, "，": _NEXT})

#: What `consumer.result.segmentation` puts behind a label.
_NUMBER = re.compile(r" [0-9]+\Z")

#: As `messages.input_digest` writes it: somebody else may have written into a stored object.
_DIGEST = re.compile("[0-9a-f]{64}")

#: The number of marks that were left out of the SEG. In a report it is a figure of its own.
LEFT_OUT = "left_out"

#: What it was computed from: `messages.input_digest`.
INPUT = "input_sha256"

#: How the signal of the phases was compared: `messages.phases.scale.Scale`.
SIGNAL_SCALE = "signal_scale"


@cache
def labrelay_version() -> str:
    """The version of this software; empty where it runs without being installed."""
    try:
        return version("labrelay")
    except PackageNotFoundError:
        return ""


def stated(spec: ResultSpec, created: datetime) -> dict[str, str]:
    """What a primary made now states beside its equipment, in this order; `created` has a zone."""
    return {
        "bundle_sha256": spec.model_sha256,
        **{
            f"weights_sha256 {_without_marks(name)}": sha256 for name, sha256 in spec.weights_sha256
        },
        INPUT: spec.input_sha256,
        "request": spec.request_id,
        "lab": spec.lab,
        "device": spec.device,
        "labrelay": labrelay_version(),
        # What the model has seen, and the curves; nothing where the phases have one scale.
        SIGNAL_SCALE: "" if spec.scale is Scale.ONE else spec.scale.value,
        "threshold": f"{spec.threshold:g}",
        "smallest_mm3": f"{spec.min_lesion_mm3:g}",
        "created": created.isoformat(timespec="seconds"),
        "notice": spec.notice,
    }


def as_parameters(facts: Mapping[str, str]) -> dict[str, str]:
    """The facts as highdicom takes the parameters of a segment's algorithm."""
    return {key: _without_marks(value) for key, value in facts.items() if value}


def _without_marks(text: str) -> str:
    return text.translate(_WIDE)


def read_back(seg: Dataset) -> dict[str, str]:
    """What a stored SEG states, from its first segment; one written before states less.

    Raises AttributeError or IndexError where it names no algorithm.
    """
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    pairs = str(algorithm.get("AlgorithmParameters", "")).split(_NEXT)
    stated = [pair.split(_ASSIGN, 1) for pair in pairs if _ASSIGN in pair]
    return {key: value.translate(_PLAIN) for key, value in stated}


def made_by(spec: ResultSpec, model: StoredModel, seg: Dataset) -> ResultSpec:
    """The spec of this run with what a stored SEG says of the run that made it.

    Another lab, or another bundle, may have made it. Only the procedure and the UIDs have no place
    in a SEG. Raises AttributeError or IndexError where the SEG has no segment.
    """
    facts, segment = read_back(seg), seg.SegmentSequence[0]
    return replace(
        spec,
        model_name=model.name,
        model_version=model.version,
        model_sha256=model.sha256,
        lab=facts.get("lab", spec.lab),
        notice=facts.get("notice", spec.notice),
        number=stored_number(seg),
        created=_moment(facts.get("created", "")),
        labels=(_NUMBER.sub("", str(segment.SegmentLabel)), *spec.labels[1:]),
        codes=replace(
            spec.codes,
            category=_stored_code(segment.get("SegmentedPropertyCategoryCodeSequence"))
            or spec.codes.category,
            type=_stored_code(segment.get("SegmentedPropertyTypeCodeSequence")) or spec.codes.type,
            site=_stored_code(segment.get("AnatomicRegionSequence")) or spec.codes.site,
        ),
    )


def _moment(text: str) -> str:
    """What a SEG states as the time of its making, if it is one."""
    try:
        return datetime.fromisoformat(text).isoformat(timespec="seconds")
    except ValueError:
        return ""


def _stored_code(sequence: Sequence[Dataset] | None) -> Code | None:
    if not sequence:
        return None
    item = sequence[0]
    return Code(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))


def stated_input(facts: Mapping[str, str]) -> str:
    """What a stored primary says that it was computed from; empty where it does not, or not so."""
    found = facts.get(INPUT, "")
    return found if _DIGEST.fullmatch(found) else ""


def for_report(facts: Mapping[str, str]) -> dict[str, str]:
    """What the report of a stored SEG repeats of it."""
    return {key: value for key, value in facts.items() if key != LEFT_OUT}


def now_at(origin: Dataset) -> datetime:
    """Now, in the zone that the images declare, or else in that of this machine."""
    now = datetime.now(UTC).astimezone()
    zone = _declared_zone(origin)
    return now if zone is None else now.astimezone(zone)


def stamp(made: Dataset, created: datetime, origin: Dataset) -> None:
    """Say, in place, when the content of an object was created.

    The zone is written only where the images declare theirs. Timezone Offset From UTC (0008,0201)
    speaks of every time in the object, the copied Study Time included (PS3.3 section C.12.1.1.8);
    that is the clinic's, and nobody here knows its zone.
    """
    made.ContentDate, made.ContentTime = DA(created.date()), TM(created.time())
    if _declared_zone(origin) is not None:
        made.TimezoneOffsetFromUTC = f"{created:%z}"


def stamp_alike(made: Dataset, stored: Dataset) -> None:
    """Say, in place, that the content is as old as that of a stored object."""
    for keyword in ("ContentDate", "ContentTime", "TimezoneOffsetFromUTC"):
        if stored.get(keyword):
            setattr(made, keyword, stored[keyword].value)


def _declared_zone(origin: Dataset) -> timezone | None:
    """``+0900`` as a zone; None where nothing or something else is declared."""
    text = str(origin.get("TimezoneOffsetFromUTC") or "").strip()
    if len(text) != 5 or text[0] not in "+-" or not text[1:].isdecimal():
        return None
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[3:]))
    offset = -offset if text[0] == "-" else offset
    # What the standard allows: -1200 to +1400 (PS3.3 section C.12.1).
    if int(text[3:]) >= 60 or not timedelta(hours=-12) <= offset <= timedelta(hours=14):
        return None
    return timezone(offset)
