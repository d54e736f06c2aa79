"""A copy of an event that nobody remembers: the order of events alone makes it harmless."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from messages.events import InferenceCompleted, RunEvent, Stage
from tests.unit.test_web_changes import (
    AT,
    FOUND,
    MISSING,
    NEW,
    accepted,
    cancelled,
    completed,
    failed,
    progressed,
    retried,
)
from web.inference.changes import change_for
from web.inference.triggers import CancelAsked, CancelSettled, DeadLettered, Published, SentAgain

_NUMBERS = st.integers(0, 2)
_RUNS = {"attempt": st.integers(1, 3), "delivery": _NUMBERS, "sequence": _NUMBERS}
_STEPS = st.builds(progressed, stage=st.just(Stage.INFERRING), **_RUNS)
_TOLD = [st.builds(kind, **_RUNS) for kind in (accepted, retried, failed, cancelled, completed)]
_HERE = st.sampled_from(
    [
        Published(at=AT),
        CancelAsked(at=AT, unsent=False),
        CancelSettled(at=AT),
        DeadLettered(attempt=3, at=AT),
        SentAgain(at=AT),
        SentAgain(at=AT, by_staff=True),
        FOUND,
        MISSING,
    ]
)


#: A run that goes on after it was put off, while its cancel is under way.
_GOES_ON = [
    CancelAsked(at=AT, unsent=False),
    retried(sequence=1),
    progressed(Stage.INFERRING, 2),
]


@settings(max_examples=300)
@example(_GOES_ON)
@given(st.lists(st.one_of(_STEPS, *_TOLD, _HERE), max_size=14))
def test_a_copy_of_what_has_changed_a_request_changes_nothing(
    happenings: list[object],
) -> None:
    row, told = NEW, list[RunEvent]()
    for what in happenings:
        after = change_for(row, what)  # type: ignore[arg-type]
        if after is not None and after != row:
            row = after
            # A report is asked of the row each time, remembered or not.
            if isinstance(what, RunEvent) and not isinstance(what, InferenceCompleted):
                told.append(what)
        for copy in told:
            assert (change_for(row, copy) or row) == row, (copy, row)
