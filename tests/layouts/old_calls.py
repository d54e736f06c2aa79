"""Studies whose four series the old front end names in their order.

Their tags cannot confirm it: nothing is proposed of them, or another order. A person gave it, and
so it is taken.
"""

from __future__ import annotations

from messages.phases import LeftOut, Problem
from tests.layouts.ge import GRADIENT_ECHO
from tests.layouts.tags import Layout, stack, times

#: The series in the order in which they are named.
NAMED = ("a", "b", "c", "d")


def _study(name: str, clock: list[str], problem: Problem, date: str = "") -> Layout:
    return Layout(
        name,
        tuple(
            stack(
                key,
                "Ax VIBRANT",
                [{"AcquisitionTime": at}] if at else [{}],
                **{**GRADIENT_ECHO, "AcquisitionDate": date},
            )
            for key, at in zip(NAMED, clock, strict=True)
        ),
        problem=problem,
        left_out={} if any(clock) else dict.fromkeys(NAMED, LeftOut.NO_TIME),
    )


#: (a)
SPLIT_RUN = _study(
    "GE, a run split into four series that keep its one acquisition time",
    ["091500"] * 4,
    Problem.SAME_TIME,
    "20260302",
)
#: (b)
UNDATED_MIDNIGHT = _study(
    "Past midnight, without acquisition dates",
    list(times("235800", 4, 60.0)),
    Problem.IMPLAUSIBLE_TIME,
)
#: (c)
ODD_TIMES = Layout(
    "Times of which two are swapped, without acquisition dates",
    tuple(
        stack(
            key,
            "Ax VIBRANT",
            [{"AcquisitionTime": at}],
            **{**GRADIENT_ECHO, "AcquisitionDate": ""},
        )
        for key, at in zip(NAMED, ("091500", "091700", "091600", "091800"), strict=True)
    ),
    phases=tuple((key, "", "") for key in "acbd"),
    seconds=(0.0, 60.0, 120.0, 180.0),
)
#: (d)
LATE_PHASE = _study(
    "The last phase after two and a half hours",
    ["091500", "091600", "091700", "114500"],
    Problem.IMPLAUSIBLE_TIME,
    "20260302",
)
#: (e)
UNTIMED = _study("No acquisition times at all", [""] * 4, Problem.TOO_FEW)

LAYOUTS = (SPLIT_RUN, UNDATED_MIDNIGHT, ODD_TIMES, LATE_PHASE, UNTIMED)
