"""The codes of `messages.phases` in the words of an engineer."""

from __future__ import annotations

from consumer.errors import (
    GeometryMismatch,
    LabError,
    MixedPhase,
    PhasesOutOfOrder,
    WrongPhaseCount,
)
from messages.phases import LeftOut, Problem
from messages.phases.check import Concern, Fault
from messages.phases.parts import Unclear

_UNCLEAR = {
    Unclear.NO_POSITION: "an image does not say where it lies",
    Unclear.NOT_SEPARABLE: "slices lie on the same places and nothing tells them apart",
    Unclear.INCOMPLETE_PHASE: "one of its phases lacks slices",
    Unclear.VALUE_NOT_CARRIED: "its phases are named by values that a request cannot carry",
    Unclear.SEVERAL_KINDS: "it holds images of several kinds at the same places, not phases of one",
    Unclear.OTHER_COUNT: "the numbering of its images makes another number of phases than it says",
    Unclear.TOO_MANY_IMAGES: "it holds too many images to look into",
    Unclear.TOO_MANY_AT_ONE_PLACE: "too many images lie at one place to look into",
    Unclear.TOO_LONG: "its images say too much to look into",
    Unclear.TOO_SLOW: "the archive took too long to look into it",
}

_LEFT_OUT = {
    LeftOut.NOT_MR: "no MR image",
    LeftOut.LOCALIZER: "a localizer",
    LeftOut.SUBTRACTION: "a subtraction",
    LeftOut.PROJECTION: "a projection or reformat",
    LeftOut.OTHER_WEIGHTING: "not T1 weighted",
    LeftOut.DIFFUSION: "diffusion",
    LeftOut.PARAMETER_MAP: "a map of computed values",
    LeftOut.PHASE_IMAGE: "phase, real or imaginary part of the signal",
    LeftOut.OTHER_CONTRAST: "another fat saturation or echo time",
    LeftOut.DIXON_PART: "a part of a Dixon scan whose water images are there",
    LeftOut.TILED: "several slices in one frame",
    LeftOut.LOSSY: "compressed with loss",
    LeftOut.TURNED: "rows stored the other way round than the header says",
    LeftOut.MISSING_ATTRIBUTE: "an attribute that a volume needs is missing",
    LeftOut.MALFORMED: "an attribute that a volume needs cannot be read",
    LeftOut.IMPLAUSIBLE: "of a size that no MR scanner makes",
    LeftOut.NOT_DYNAMIC: "not dynamic",
    LeftOut.DERIVED: "computed from other images",
    LeftOut.UNCLEAR: "its phases cannot be told apart",
    LeftOut.OTHER_SLICE_COUNT: "another number of slices",
    LeftOut.OTHER_GRID: "another grid",
    LeftOut.NO_TIME: "no acquisition time",
    LeftOut.BETWEEN: "between the phases that the model uses",
}

_BY_HAND = "say what each role is with --phase"

_REFUSALS: dict[Problem, tuple[type[LabError], str]] = {
    Problem.TOO_FEW: (
        WrongPhaseCount,
        "the series hold fewer dynamic phases than the model has roles",
    ),
    Problem.UNEQUAL_GRIDS: (GeometryMismatch, "too few of the phases lie on one grid"),
    Problem.SEVERAL_GRIDS: (
        GeometryMismatch,
        f"the series hold several groups of phases that differ in grid or contrast: {_BY_HAND}",
    ),
    Problem.UNCLEAR_PARTS: (
        WrongPhaseCount,
        f"a series holds several phases that cannot be told apart: {_BY_HAND}",
    ),
    Problem.NOT_LOOKED_INTO: (
        WrongPhaseCount,
        f"a series that may be dynamic could not be looked into: {_BY_HAND}",
    ),
    Problem.UNCLEAR_START: (
        WrongPhaseCount,
        f"it is not clear which phase is the first without contrast: {_BY_HAND}",
    ),
    Problem.UNCLEAR_END: (
        WrongPhaseCount,
        f"it is not clear whether the last series is a phase of the run before it: {_BY_HAND}",
    ),
    Problem.PHASE_LEFT_OUT: (
        WrongPhaseCount,
        f"a series that was left out seems to be a phase of the run: {_BY_HAND}",
    ),
    Problem.NO_PRE: (
        WrongPhaseCount,
        f"the phase before the contrast is missing by how the phases are numbered: {_BY_HAND}",
    ),
    Problem.COUNT_DISAGREES: (
        PhasesOutOfOrder,
        f"a series counts its phases in another order than it times them: {_BY_HAND}",
    ),
    Problem.REPEATED_RUN: (
        WrongPhaseCount,
        f"the dynamic run seems to have been started again: {_BY_HAND}",
    ),
    Problem.SAME_TIME: (
        PhasesOutOfOrder,
        f"two phases have the same acquisition time, so their order is not known: {_BY_HAND}",
    ),
    Problem.TOO_CLOSE: (
        PhasesOutOfOrder,
        f"the phases follow so fast that the first may all be before the contrast: {_BY_HAND}",
    ),
    Problem.IMPLAUSIBLE_TIME: (
        PhasesOutOfOrder,
        f"the phases lie too far apart in time for one contrast agent: {_BY_HAND}",
    ),
    Problem.NAMES_DISAGREE: (
        PhasesOutOfOrder,
        f"the descriptions of the series contradict their acquisition times: {_BY_HAND}",
    ),
}

#: What the lab would refuse, with its error, and what is only said (None): who names the phases
#: by hand may know better than their times.
_FAULTS: dict[Fault, tuple[type[LabError] | None, str]] = {
    Fault.COUNT: (WrongPhaseCount, "the model has another number of roles"),
    Fault.OUT_OF_ORDER: (PhasesOutOfOrder, "{1} was acquired before {0}"),
    Fault.DOUBTFUL_ORDER: (None, "{1} was acquired before {0}, by times without a date"),
    Fault.SAME_TIME: (None, "{0} and {1} have the same acquisition time"),
    Fault.TOO_FAR_APART: (None, "the phases lie {found:.0f} s apart"),
    Fault.TOO_CLOSE: (None, "{1} follows {0} within {found:.0f} s"),
    Fault.SLICE_COUNT: (
        GeometryMismatch,
        "{1} has {found:.0f} slices, {0} has {expected:.0f}",
    ),
    Fault.MATRIX: (
        GeometryMismatch,
        "{1} has {found:.0f} rows or columns, {0} has {expected:.0f}",
    ),
    Fault.ORIENTATION: (GeometryMismatch, "{0} and {1} differ in orientation"),
    Fault.SPACING: (
        GeometryMismatch,
        "{1} has pixels {found:.3f} mm apart, {0} {expected:.3f} mm",
    ),
    Fault.POSITION: (
        GeometryMismatch,
        "the slices of {1} lie {found:.2f} mm away from those of {0}",
    ),
    Fault.FRAME_OF_REFERENCE: (GeometryMismatch, "{0} and {1} have different frames of reference"),
    Fault.NO_TIME: (None, "{0} has no acquisition time, so its order is not checked"),
    Fault.NO_GRID: (None, "the grid of {0} is not known yet"),
    Fault.MIXED: (MixedPhase, "slice {found:.0f} of {0} has another {keyword} than the others"),
    Fault.SLICES_NOT_READ: (None, "the single slices of {0} were not looked at yet"),
    Fault.DIFFERENT_SCALES: (
        None,
        "the phases are stored on different scales, and not all state by how much",
    ),
    Fault.ONLY_NUMBERED: (
        None,
        "only the numbering of the images tells {0} apart: its order and time are not checked",
    ),
}


def fault_words(concern: Concern) -> tuple[type[LabError] | None, str]:
    """The error that a concern ends the run with, or None, and its sentence."""
    kind, sentence = _FAULTS[concern.fault]
    return kind, sentence.format(
        *concern.roles, found=concern.found, expected=concern.expected, keyword=concern.keyword
    )


def unclear_words(reason: Unclear) -> str:
    """Why the phases of a series cannot be told apart."""
    return _UNCLEAR[reason]


def left_out_words(reason: LeftOut) -> str:
    """Why a series takes no part."""
    return _LEFT_OUT[reason]


def refusal_of(problem: Problem) -> LabError:
    """What the run ends with when the phases cannot be chosen."""
    kind, sentence = _REFUSALS[problem]
    return kind(sentence)
