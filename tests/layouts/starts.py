"""Runs of which it is not said, or said by a number alone, where they begin."""

from __future__ import annotations

from collections.abc import Sequence

from messages.phases import LeftOut, Problem
from tests.layouts.siemens import GRADIENT_ECHO
from tests.layouts.tags import Layout, Tags, stack, times


def study(
    title: str,
    names: Sequence[str],
    *,
    problem: Problem | None = None,
    taken: Sequence[int] = (),
    between: Sequence[int] = (),
) -> Layout:
    """Series of one phase each, a minute apart, by their names."""
    return Layout(
        title,
        tuple(
            stack(f"s{n}", name, [{"AcquisitionTime": at}], **GRADIENT_ECHO)
            for n, (name, at) in enumerate(
                zip(names, times("103000", len(names), 60.0), strict=True)
            )
        ),
        problem=problem,
        phases=tuple((f"s{n}", "", "") for n in taken),
        seconds=tuple(60.0 * n for n in taken),
        left_out={f"s{n}": LeftOut.BETWEEN for n in between},
    )


def _counted_from_two() -> Layout:
    phases: list[Tags] = [
        {"TemporalPositionIdentifier": str(n), "AcquisitionTime": at}
        for n, at in enumerate(times("103000", 4, 60.0), 2)
    ]
    return Layout(
        "One series that counts from 2: the first phase was not sent",
        (stack("dyn", "Ax VIBRANT MPH", phases, **GRADIENT_ECHO),),
        problem=Problem.NO_PRE,
    )


LAYOUTS = (
    study(
        "A static T1, then a run numbered from 0",
        ("t1_vibe_fs_tra", *(f"t1_vibe_dyn_{n}" for n in range(4))),
        problem=Problem.UNCLEAR_START,
    ),
    study(
        "A static T1, then three phases numbered from 0",
        ("t1_vibe_fs_tra", *(f"t1_vibe_dyn_{n}" for n in range(3))),
        problem=Problem.UNCLEAR_START,
    ),
    study(
        "A static T1, then four phases numbered from 1",
        ("Ax T1", *(f"dyn {n}" for n in range(1, 5))),
        problem=Problem.UNCLEAR_START,
    ),
    study(
        "A T1 before the contrast, then three phases numbered from 1",
        ("Ax T1", *(f"dyn {n}" for n in range(1, 4))),
        taken=(0, 1, 2, 3),
    ),
    study(
        "A T1 before the contrast, then phases numbered from 2",
        ("Ax T1", *(f"dyn {n}" for n in range(2, 6))),
        taken=(0, 1, 2, 4),
        between=(3,),
    ),
    study(
        "GE, Ph2 to Ph5 of one run",
        tuple(f"Ph{n}/Ax VIBRANT" for n in range(2, 6)),
        problem=Problem.NO_PRE,
    ),
    study(
        "VIBE dyn 2 to 5",
        tuple(f"VIBE dyn {n}" for n in range(2, 6)),
        problem=Problem.NO_PRE,
    ),
    study(
        "Named by the minutes after the injection",
        tuple(f"T1 {n}min" for n in (1, 2, 3, 5)),
        problem=Problem.NO_PRE,
    ),
    study(
        "Named by the minutes after the injection, from 0 on",
        tuple(f"T1 {n}min" for n in (0, 1, 2, 3)),
        taken=(0, 1, 2, 3),
    ),
    study(
        "GE, a run of six locations",
        tuple(f"Ph{n}/6 LOCS VIBRANT" for n in range(1, 5)),
        taken=(0, 1, 2, 3),
    ),
    _counted_from_two(),
)
