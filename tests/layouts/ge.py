"""GE: one acquisition time for a whole run; TriggerTime is the time into it in ms.

AcquisitionNumber is 1 throughout. Newer software adds TemporalPositionIdentifier. VIBRANT is the
breast scan; "MPH" is multi-phase. Series that the console splits by phase are named Ph1/, Ph2/.
Screen saves and reformats carry DERIVED and SECONDARY. Some runs lack TriggerTime as well, and the
numbers of their images alone tell the phases apart: all of a phase and then the next one, or all
phases of a slice. NumberOfTemporalPositions says how many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from messages.phases import LeftOut, Problem
from messages.phases.check import Fault
from tests.layouts.tags import SAGITTAL, Layout, Series, Tags, stack, times

GRADIENT_ECHO = {"ScanningSequence": "GR", "SequenceVariant": "SS\\SP", "EchoTime": "2.1"}
#: 3-plane localizer, ASSET calibration, T2 and a reformat, with what is said of them.
OTHERS = {
    "loc": LeftOut.LOCALIZER,
    "cal": LeftOut.NOT_DYNAMIC,
    "t2": LeftOut.OTHER_WEIGHTING,
    "rfmt": LeftOut.PROJECTION,
    "capture": LeftOut.DERIVED,
}


def others() -> tuple[Series, ...]:
    """What stands around a dynamic scan."""
    at: list[Tags] = [{"AcquisitionTime": "090500"}]
    derived = "DERIVED\\SECONDARY\\REFORMATTED\\AVERAGE"
    return (
        stack("loc", "3-plane Loc", at, slices=9),
        stack("cal", "ASSET Cal", at, slices=20),
        stack("t2", "Ax T2 FSE IDEAL", at, ScanningSequence="SE", EchoTime="88"),
        stack("rfmt", "Processed Images", at, orientation=SAGITTAL, ImageType=derived),
        stack("capture", "Screen", at, slices=2, ImageType="DERIVED\\SECONDARY"),
    )


def run(count: int, step_ms: int, *, counted: bool) -> list[Tags]:
    """The phases of one run, with TemporalPositionIdentifier where they are `counted`."""
    return [
        {
            "AcquisitionNumber": "1",
            "AcquisitionTime": "091500",
            "ContentTime": "091500",
            "TriggerTime": str(step_ms * n),
            **({"TemporalPositionIdentifier": str(n + 1)} if counted else {}),
        }
        for n in range(count)
    ]


def _trigger_time() -> Layout:
    dynamic = stack("dyn", "Ax VIBRANT MPH", run(5, 88_704, counted=False), **GRADIENT_ECHO)
    return Layout(
        "GE, all phases in one series by TriggerTime",
        (*others(), dynamic),
        phases=tuple(("dyn", "TriggerTime", n) for n in ("0", "88704", "177408", "354816")),
        seconds=(0.0, 88.704, 177.408, 354.816),
        left_out=OTHERS,
    )


def _temporal_position() -> Layout:
    dynamic = stack("dyn", "Ax VIBRANT-Flex MPH", run(6, 90_000, counted=True), **GRADIENT_ECHO)
    return Layout(
        "GE, all phases in one series by TemporalPositionIdentifier",
        (*others(), dynamic),
        phases=tuple(("dyn", "TemporalPositionIdentifier", n) for n in "1236"),
        seconds=(0.0, 90.0, 180.0, 450.0),
        left_out=OTHERS,
    )


def _pre_and_post() -> Layout:
    pre: Tags = {"AcquisitionNumber": "1", "AcquisitionTime": "091150", "TriggerTime": "0"}
    return Layout(
        "GE, a series before the contrast and one of four phases after it",
        (
            *others(),
            stack("post", "Ax VIBRANT +C MPH", run(4, 90_000, counted=False), **GRADIENT_ECHO),
            stack("pre", "Ax VIBRANT PRE", [pre], **GRADIENT_ECHO),
        ),
        phases=(
            ("pre", "", ""),
            ("post", "TriggerTime", "0"),
            ("post", "TriggerTime", "90000"),
            ("post", "TriggerTime", "270000"),
        ),
        seconds=(0.0, 190.0, 280.0, 460.0),
        left_out=OTHERS,
    )


def _per_phase() -> Layout:
    phases = [
        stack(
            f"ph{n}",
            f"Ph{n}/Ax VIBRANT",
            [{"AcquisitionTime": at, "TemporalPositionIdentifier": str(n)}],
            **GRADIENT_ECHO,
        )
        for n, at in enumerate(times("091500", 5, 75.0), 1)
    ]
    subtractions = [
        stack(
            f"sub{n}",
            f"(Ph{n}/Ax VIBRANT)-(Ph1/Ax VIBRANT) SUB",
            [{"AcquisitionTime": at}],
            ImageType="DERIVED\\SECONDARY\\PROCESSED",
        )
        for n, at in enumerate(times("091615", 4, 75.0), 2)
    ]
    return Layout(
        "GE, one series for each phase",
        (*others(), *phases, *subtractions),
        phases=tuple((f"ph{n}", "", "") for n in (1, 2, 3, 5)),
        seconds=(0.0, 75.0, 150.0, 300.0),
        left_out={
            **OTHERS,
            "ph4": LeftOut.BETWEEN,
            **{f"sub{n}": LeftOut.SUBTRACTION for n in range(2, 6)},
        },
    )


def _post_alone() -> Layout:
    return Layout(
        "GE, the series before the contrast was not sent",
        (
            *others(),
            stack("post", "Ax VIBRANT POST MPH", run(4, 90_000, counted=True), **GRADIENT_ECHO),
        ),
        problem=Problem.NAMES_DISAGREE,
        left_out=OTHERS,
    )


def _sagittal() -> Layout:
    sides = [
        stack(
            side,
            f"Sag VIBRANT {side}",
            run(5, 90_000, counted=True),
            orientation=SAGITTAL,
            origin=origin,
            **GRADIENT_ECHO,
        )
        for side, origin in (("RT", -110.0), ("LT", 60.0))
    ]
    return Layout(
        "GE, sagittal, left and right breast in series of their own",
        (*others(), *sides),
        problem=Problem.SEVERAL_GRIDS,
        left_out=OTHERS,
    )


#: A run of ten phases of fifteen slices.
NUMBERED, NUMBERED_SLICES = 10, 15


def numbered(
    number: Callable[[int, int], int], *, count: str = str(NUMBERED), phases: int = NUMBERED
) -> Series:
    """A run whose images differ in their numbers alone; `number` gives that of phase and slice.

    `count` is how many phases the series says that it holds.
    """
    one: Tags = {"AcquisitionNumber": "1", "AcquisitionTime": "091500", "ContentTime": "091500"}
    if count:
        one["NumberOfTemporalPositions"] = count
    made = stack("dyn", "Ax VIBRANT MPH", [one] * phases, slices=NUMBERED_SLICES, **GRADIENT_ECHO)
    images = [
        tags | {"InstanceNumber": str(number(*divmod(at, NUMBERED_SLICES)))}
        for at, tags in enumerate(made.images)
    ]
    return replace(made, images=tuple(images))


def by_phase(phase: int, place: int) -> int:
    """All of a phase, then the next one."""
    return NUMBERED_SLICES * phase + place + 1


def by_place(phase: int, place: int) -> int:
    """All phases of a slice, then the next one; the slices from above."""
    return NUMBERED * (NUMBERED_SLICES - 1 - place) + phase + 1


def _crossed(phase: int, place: int) -> int:
    """Neither: the phases of the second half of the slices are numbered behind all others."""
    half = NUMBERED_SLICES // 2
    if place < half:
        return half * phase + place + 1
    return NUMBERED * half + (NUMBERED_SLICES - half) * phase + place - half + 1


def _numbered(title: str, number: Callable[[int, int], int]) -> Layout:
    return Layout(
        f"GE, ten phases told apart by the numbers of their images, {title}",
        (*others(), numbered(number)),
        phases=tuple(("dyn", "InstanceNumber", f"{n}:10") for n in (1, 2, 3, 10)),
        seconds=(None, None, None, None),
        left_out=OTHERS,
        doubts=frozenset({Fault.ONLY_NUMBERED}),
    )


def _not_numbered(title: str, series: Series) -> Layout:
    return Layout(
        f"GE, numbered images, {title}",
        (series,),
        problem=Problem.UNCLEAR_PARTS,
        left_out={"dyn": LeftOut.UNCLEAR},
    )


def hole() -> Series:
    """A slice of the fourth phase is missing."""
    run = numbered(by_phase)
    return replace(run, images=run.images[:50] + run.images[51:])


def double() -> Series:
    """Two images share a number, and the one behind them is missing."""
    run = numbered(by_phase)
    twice = run.images[51] | {"InstanceNumber": run.images[50]["InstanceNumber"]}
    return replace(run, images=(*run.images[:51], twice, *run.images[52:]))


def _no_numbers() -> Series:
    run = numbered(by_phase)
    bare = [{k: v for k, v in tags.items() if k != "InstanceNumber"} for tags in run.images]
    return replace(run, images=tuple(bare))


_NOT_NUMBERED = (
    _not_numbered("one of which is missing", hole()),
    _not_numbered("one number twice", double()),
    _not_numbered("without numbers", _no_numbers()),
    _not_numbered(
        "a whole phase missing between the others",
        numbered(lambda phase, place: by_phase(phase + (phase > 3), place), count="9", phases=9),
    ),
    _not_numbered("fewer phases than the series says", numbered(by_phase, phases=9)),
    _not_numbered("and nothing says that they are phases", numbered(by_phase, count="")),
    _not_numbered("every second slice in the other order", numbered(_crossed)),
)

LAYOUTS = (
    _numbered("phase after phase", by_phase),
    _numbered("slice after slice", by_place),
    *_NOT_NUMBERED,
    _trigger_time(),
    _temporal_position(),
    _pre_and_post(),
    _per_phase(),
    _post_alone(),
    _sagittal(),
)
