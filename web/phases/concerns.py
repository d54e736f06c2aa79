"""What speaks against a choice of phases: a code, and a sentence that names what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from messages.failures import FailureCode
from messages.phases.check import Concern, Fault
from web.phases.proposal import role_label
from web.refusals import NotAsked

#: What a lab would say of the same fault. What it has no word for does not refuse; its own does.
_CODES = {
    Fault.COUNT: FailureCode.WRONG_PHASE_COUNT,
    Fault.OUT_OF_ORDER: FailureCode.PHASES_OUT_OF_ORDER,
    Fault.SLICE_COUNT: FailureCode.GEOMETRY_MISMATCH,
    Fault.MATRIX: FailureCode.GEOMETRY_MISMATCH,
    Fault.ORIENTATION: FailureCode.GEOMETRY_MISMATCH,
    Fault.SPACING: FailureCode.GEOMETRY_MISMATCH,
    Fault.POSITION: FailureCode.GEOMETRY_MISMATCH,
    Fault.FRAME_OF_REFERENCE: FailureCode.GEOMETRY_MISMATCH,
    Fault.MIXED: FailureCode.MIXED_PHASE,
}

#: What a reader calls the attributes in which slices of one phase may differ.
ATTRIBUTES: dict[str, Promise] = {
    "ImageType": gettext_lazy("kind of image"),
    "ComplexImageComponent": gettext_lazy("part of the signal (magnitude or phase)"),
    "EchoTime": gettext_lazy("echo time"),
    "EchoNumbers": gettext_lazy("echo number"),
    "DiffusionBValue": gettext_lazy("b-value"),
    "FlipAngle": gettext_lazy("flip angle"),
    "SequenceName": gettext_lazy("name of the pulse sequence"),
    "ScanOptions": gettext_lazy("scan options"),
    "TemporalPositionIdentifier": gettext_lazy("temporal position"),
    "TemporalPositionIndex": gettext_lazy("temporal position"),
    "AcquisitionNumber": gettext_lazy("acquisition number"),
    "AcquisitionTime": gettext_lazy("acquisition time"),
    "TriggerTime": gettext_lazy("trigger time"),
    "ContentTime": gettext_lazy("content time"),
}

#: `first` and `second` are roles, `found` and `expected` what they have.
_SENTENCES: dict[Fault, Promise] = {
    Fault.COUNT: gettext_lazy(
        "This model needs exactly %(expected)s phases; %(found)s were chosen."
    ),
    Fault.OUT_OF_ORDER: gettext_lazy(
        'The phases are not in the order of their acquisition times: "%(second)s" was acquired '
        'before "%(first)s".'
    ),
    Fault.SAME_TIME: gettext_lazy(
        '"%(first)s" and "%(second)s" have the same acquisition time, so their order is unknown.'
    ),
    Fault.TOO_FAR_APART: gettext_lazy(
        "The phases lie %(found)s min apart. An examination with one dose of contrast medium is "
        "shorter."
    ),
    Fault.SLICE_COUNT: gettext_lazy(
        '"%(second)s" has %(found)s slices and "%(first)s" has %(expected)s.'
    ),
    Fault.MATRIX: gettext_lazy(
        'The images of "%(second)s" have another number of rows or columns than those of '
        '"%(first)s": %(found)s instead of %(expected)s.'
    ),
    Fault.ORIENTATION: gettext_lazy(
        'The slices of "%(second)s" have another direction than those of "%(first)s".'
    ),
    Fault.SPACING: gettext_lazy(
        'The pixels of "%(second)s" are %(found)s mm apart and those of "%(first)s" '
        "%(expected)s mm."
    ),
    Fault.POSITION: gettext_lazy(
        'The slices of "%(second)s" lie %(found)s mm away from those of "%(first)s".'
    ),
    Fault.FRAME_OF_REFERENCE: gettext_lazy(
        '"%(second)s" and "%(first)s" lie in different frames of reference: the patient may have '
        "been moved."
    ),
    Fault.DOUBTFUL_ORDER: gettext_lazy(
        'By their times "%(second)s" was acquired before "%(first)s", but the images carry no date.'
    ),
    Fault.TOO_CLOSE: gettext_lazy(
        '"%(second)s" was acquired only %(found)s s after "%(first)s". It may be before the '
        "contrast medium."
    ),
    Fault.NO_TIME: gettext_lazy("No acquisition time, so the order cannot be checked: %(roles)s."),
    Fault.NO_GRID: gettext_lazy(
        "The place of the slices is not known here; the lab will check it: %(roles)s."
    ),
    Fault.MIXED: gettext_lazy(
        'Slice %(found)s of "%(first)s", counted by position, has another %(attribute)s than the '
        "other slices: images of another acquisition or of another kind are mixed in."
    ),
    Fault.SLICES_NOT_READ: gettext_lazy(
        "Not every slice could be looked at here; the lab will check whether all belong to one "
        "acquisition: %(roles)s."
    ),
    Fault.DIFFERENT_SCALES: gettext_lazy(
        "The phases are stored on different scales, and the images do not say by how much: the "
        "model compares unlike signals, and no curves will be stated."
    ),
    Fault.ONLY_NUMBERED: gettext_lazy(
        "Only the numbering of the images tells these phases apart, so neither their order nor "
        "their times can be checked: %(roles)s."
    ),
}


@dataclass(frozen=True)
class WordedConcern:
    """A concern for a reader: its code, a sentence in their language, and whether it refuses."""

    code: str
    sentence: str
    refuses: bool


def worded(concerns: Sequence[Concern]) -> tuple[WordedConcern, ...]:
    """The concerns, those that refuse first; what is said of single roles in one sentence."""
    found: dict[tuple[Fault, tuple[str, ...]], Concern] = {}
    for concern in sorted(concerns, key=lambda one: not one.refuses):
        # Of what differs inside a role each has its own sentence.
        alone = len(concern.roles) == 1 and not concern.keyword
        key = (concern.fault, () if alone else concern.roles)
        earlier = found.get(key)
        roles = (*earlier.roles, *concern.roles) if earlier and alone else concern.roles
        found[key] = replace(concern, roles=roles)
    return tuple(
        WordedConcern(_code(concern), _sentence(concern), concern.refuses)
        for concern in found.values()
    )


def refusal_of(concern: Concern) -> NotAsked:
    """The refusal for a concern that refuses, in the reader's language."""
    return NotAsked(_code(concern), _sentence(concern))


def _code(concern: Concern) -> str:
    return str(_CODES.get(concern.fault, concern.fault.value))


def _sentence(concern: Concern) -> str:
    roles = [role_label(role) for role in concern.roles]
    first, second = [*roles, "", ""][:2]
    # Times in seconds are told in minutes.
    share = 60.0 if concern.fault is Fault.TOO_FAR_APART else 1.0
    return str(_SENTENCES[concern.fault]) % {
        "first": first,
        "second": second,
        "roles": ", ".join(roles),
        "attribute": ATTRIBUTES.get(concern.keyword, ""),
        "found": _figure(concern.found, share),
        "expected": _figure(concern.expected, share),
    }


def _figure(number: float | None, share: float) -> str:
    return _("unknown") if number is None else f"{number / share:.4g}"
