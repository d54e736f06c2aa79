"""Runs of which a phase cannot be used, was made twice, or does not belong: nothing is guessed."""

from __future__ import annotations

from collections.abc import Sequence

from messages.phases import LeftOut, Problem
from tests.layouts.siemens import GRADIENT_ECHO
from tests.layouts.tags import Layout, Series, stack, times

#: Names of five phases that are series of their own, by habit.
_NAMES: dict[str, Sequence[str]] = {
    "named": ("dyn pre", "dyn p1", "dyn p2", "dyn p3", "dyn p4"),
    "all of one name": ("eTHRIVE",) * 5,
    "numbered from 0": tuple(f"t1_fl3d_tra_dyn_{n}" for n in range(5)),
}

_TIMES = tuple(times("103000", 5, 60.0))


def _without(title: str, names: Sequence[str], place: int, how: str) -> Layout:
    """Five phases of which the one at `place` is a slice short, has no time, or lies beside."""
    series = []
    for n, name in enumerate(names):
        broken = n == place
        series.append(
            stack(
                f"s{n}",
                name,
                [{} if broken and how == "untimed" else {"AcquisitionTime": _TIMES[n]}],
                slices=11 if broken and how == "short" else 12,
                origin=-61.0 if broken and how == "moved" else -60.0,
                **GRADIENT_ECHO,
            )
        )
    why = {
        "short": LeftOut.OTHER_SLICE_COUNT,
        "untimed": LeftOut.NO_TIME,
        "moved": LeftOut.OTHER_GRID,
    }
    return Layout(
        f"Five phases, {title}: phase {place + 1} is {how}",
        tuple(series),
        problem=Problem.PHASE_LEFT_OUT,
        left_out={f"s{place}": why[how]},
    )


def _run(series_id: str, name: str, start: str, count: int) -> Series:
    phases = [
        {"TemporalPositionIdentifier": str(n), "AcquisitionTime": at}
        for n, at in enumerate(times(start, count, 60.0), 1)
    ]
    return stack(series_id, name, phases, **GRADIENT_ECHO)


def _single(series_id: str, name: str, at: str, **how: int) -> Series:
    return stack(series_id, name, [{"AcquisitionTime": at}], **how, **GRADIENT_ECHO)


LAYOUTS = (
    *(
        _without(title, names, 0, how)
        for title, names in _NAMES.items()
        for how in ("short", "untimed", "moved")
    ),
    _without("all of one name", _NAMES["all of one name"], 1, "short"),
    _without("named", _NAMES["named"], 2, "short"),
    _without("numbered from 0", _NAMES["numbered from 0"], 4, "untimed"),
    Layout(
        "GE, the phase before the contrast a slice short, and a run that would be complete",
        (
            _single("pre", "VIBRANT PRE", "102900", slices=11),
            _run("run", "VIBRANT MULTIPHASE", "103100", 4),
        ),
        problem=Problem.PHASE_LEFT_OUT,
        left_out={"pre": LeftOut.OTHER_SLICE_COUNT},
    ),
    Layout(
        "Philips, a run that was broken off and repeated under another name",
        (_run("first", "dyn eTHRIVE", "103000", 3), _run("again", "dyn eTHRIVE RPT", "105000", 6)),
        problem=Problem.REPEATED_RUN,
    ),
    Layout(
        "Two runs that both count from 1",
        (_run("first", "dyn A", "103000", 3), _run("again", "dyn B", "105000", 6)),
        problem=Problem.REPEATED_RUN,
    ),
    Layout(
        "GE, a static T1 on the same grid after a complete run",
        (_run("run", "Ax VIBRANT", "103000", 5), _single("t1", "Ax T1 3D", "104000")),
        problem=Problem.UNCLEAR_END,
    ),
)
