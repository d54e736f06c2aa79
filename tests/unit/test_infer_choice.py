"""Which phase plays which role in a run by hand: as given, as found, or as said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumer.errors import GeometryMismatch, LabError, PhasesOutOfOrder, WrongPhaseCount
from consumer.manual import wording
from consumer.manual.choice import choose, concerns, describe
from consumer.manual.facts import ExaminedSeries
from consumer.manual.options import CannotInfer, PhaseOption, parse_phase_options
from consumer.orthanc.images import ArchiveImage, ImageSeries
from messages.phases import DCE_ROLES, GridFacts, LeftOut, PhaseFacts, Problem, SeriesFacts
from messages.phases.check import Concern, Fault
from messages.phases.parts import ImageFacts, Unclear

#: Two images a phase.
COUNT = 2


def series(
    number: int,
    *times: float | None,
    keyword: str = "TemporalPositionIdentifier",
    description: str = "t1 dyn",
    slices: int = COUNT,
    unclear: Unclear | None = None,
) -> ExaminedSeries:
    """A series with a phase at each of `times`; one phase is the whole series."""
    several = len(times) > 1
    phases = tuple(
        PhaseFacts(
            keyword=keyword if several else "",
            value=str(place) if several else "",
            acquired_at_s=at,
            dated_at_s=at,
            image_count=slices,
            grid=GridFacts(
                256, 256, slices, (1, 0, 0, 0, 1, 0), (0.8, 0.8), (0, 0, 0), (0, 0, 9.0), "1.2"
            ),
        )
        for place, at in enumerate(times, 1)
    )
    values = [{keyword: phase.value} for phase in phases for _ in range(slices)]
    facts = SeriesFacts(
        series_id=f"series{number}",
        modality="MR",
        description=description,
        instance_count=max(len(values), 1),
        phases=() if unclear else phases,
        unclear=unclear,
    )
    images = tuple(ImageFacts((0.0, 0.0, 0.0), value) for value in values)
    return ExaminedSeries(
        ImageSeries(
            "1.2.3",
            f"1.2.3.{number}",
            "MR",
            description,
            len(images),
            tuple(ArchiveImage("x", None, None, {}) for _ in images),
        ),
        facts,
        images,
    )


def said(*texts: str) -> tuple[PhaseOption, ...]:
    return parse_phase_options(texts)


def told(examined: list[ExaminedSeries], *hands: str) -> list[tuple[str, str, str]]:
    return [
        (one.role, one.examined.facts.series_id, one.value)
        for one in choose(examined, DCE_ROLES, said(*hands))
    ]


def test_one_series_a_role_is_taken_in_the_order_in_which_it_was_given() -> None:
    given = [series(number, 100.0 * number) for number in (3, 1, 2, 4)]
    assert [one[1] for one in told(given)] == ["series3", "series1", "series2", "series4"]


def test_phases_inside_one_series_are_found_in_time_order() -> None:
    assert told([series(1, 0.0, 90.0, 180.0, 270.0, 360.0)]) == [
        ("pre", "series1", "1"),
        ("post1", "series1", "2"),
        ("post2", "series1", "3"),
        ("last", "series1", "5"),
    ]


def test_two_series_may_hold_the_phases_between_them() -> None:
    found = choose([series(2, 90.0, 180.0, 270.0), series(1, 0.0)], DCE_ROLES, ())
    assert [(one.role, one.examined.facts.series_id, one.value) for one in found] == [
        ("pre", "series1", ""),
        ("post1", "series2", "1"),
        ("post2", "series2", "2"),
        ("last", "series2", "3"),
    ]
    assert found[0].why == "phase 1 of 4 in time order"
    assert found[3].why == "the last of 4 phases, 270 s after the first"


@pytest.mark.parametrize(
    ("examined", "sentence"),
    [
        ([series(n, 100.0 * n) for n in range(3)], "the model takes 4 series"),
        ([series(n, 100.0 * n) for n in range(5)], "and 5 were given"),
        ([series(1, unclear=Unclear.NOT_SEPARABLE)], "cannot be told apart"),
        ([series(1, 0.0, 90.0)], "fewer dynamic phases"),
        ([series(1, 0.0, 90.0, 180.0, 270.0), series(2, 30.0, slices=7)], "was left out seems"),
        (
            [series(1, 0.0, 90.0, 180.0, 270.0), series(2, 400.0, slices=7, description="fine")],
            "series 2 was given and",
        ),
        (
            [series(1, 0.0, 90.0, 180.0, 270.0), series(2, 30.0, description="t2 tse")],
            "not T1 weighted",
        ),
        (
            [*(series(n, 100.0 * n) for n in range(3)), series(4, 400.0, 500.0)],
            "series 4 was given for one role and holds 2 phases: choose with --phase last=4/",
        ),
    ],
)
def test_what_is_ambiguous_is_said_and_nothing_is_chosen(
    examined: list[ExaminedSeries], sentence: str
) -> None:
    with pytest.raises(WrongPhaseCount) as caught:
        choose(examined, DCE_ROLES, ())
    assert sentence in str(caught.value)


def test_phases_without_an_order_are_not_put_in_one() -> None:
    examined = [series(1, 0.0, 90.0), series(2, 0.0, 90.0)]
    with pytest.raises(PhasesOutOfOrder, match="--phase"):
        choose(examined, DCE_ROLES, ())


def test_a_role_is_said_by_series_and_value() -> None:
    examined = [series(1, 0.0), series(2, 90.0, 180.0, 270.0)]
    hands = [f"{role}=2/TemporalPositionIdentifier:{n}" for role, n in
             (("post1", "3"), ("post2", "2.0"), ("last", "1"))]  # fmt: skip
    assert told(examined, "pre=1", *hands) == [
        ("pre", "series1", ""),
        ("post1", "series2", "3"),
        ("post2", "series2", "2.0"),
        ("last", "series2", "1"),
    ]


@pytest.mark.parametrize(
    "text",
    ["pre", "pre=", "=1", "pre=0", "pre=TemporalPositionIdentifier", "pre=TriggerTime:x",
     "pre=1/", "pre=1/TriggerTime", "pre=1TriggerTime:5", "PRE=1", "pre=PatientName:1"],
)  # fmt: skip
def test_a_phase_that_cannot_be_read_is_wrong_usage(text: str) -> None:
    with pytest.raises(CannotInfer, match="--phase "):
        PhaseOption.parse(text)


@pytest.mark.parametrize(
    ("hands", "error", "sentence"),
    [
        (["pre=1"], CannotInfer, "every role of the model: pre, post1, post2, last"),
        (["pre=1", "pre=1"], CannotInfer, "a role twice"),
        (["pre=1", "post1=2", "post2=3", "last=9"], CannotInfer, "names series 9, and 3 were"),
        (["pre=1", "post1=1", "post2=2", "last=3"], CannotInfer, "two roles the same phase"),
        (
            ["pre=1", "post1=2", "post2=3", "last=TriggerTime:5"],
            CannotInfer,
            "which of the 3 series",
        ),
        (
            ["pre=1", "post1=2", "post2=3", "last=3/TriggerTime:5"],
            WrongPhaseCount,
            "no image of series 3 has the TriggerTime",
        ),
    ],
)
def test_what_is_said_by_hand_must_be_there(
    hands: list[str], error: type[Exception], sentence: str
) -> None:
    examined = [series(n, 100.0 * n) for n in (1, 2, 3)]
    with pytest.raises(error, match=sentence):
        told(examined, *hands)


def test_order_and_grids_are_checked_before_anything_is_downloaded() -> None:
    backwards = [series(n, 400.0 - 100.0 * n) for n in range(4)]
    with pytest.raises(PhasesOutOfOrder, match="post1 was acquired before pre"):
        concerns(choose(backwards, DCE_ROLES, ()))
    longer = [*(series(n, 100.0 * n) for n in range(3)), series(3, 300.0, slices=5)]
    with pytest.raises(GeometryMismatch, match="last has 5 slices, pre has 2"):
        concerns(choose(longer, DCE_ROLES, ()))


def test_doubtful_times_of_phases_that_were_given_are_only_said() -> None:
    late = [*(series(n, 100.0 * n) for n in range(3)), series(3, 90_000.0)]
    assert concerns(choose(late, DCE_ROLES, ())) == ["the phases lie 90000 s apart"]
    silent = [series(n, None) for n in range(4)]
    assert "pre has no acquisition time" in concerns(choose(silent, DCE_ROLES, ()))[0]


def test_what_nobody_knows_of_a_series_is_left_to_the_reader() -> None:
    examined = [*(series(n, 100.0 * n) for n in range(3)), series(3, unclear=Unclear.NO_POSITION)]
    assert concerns(choose(examined, DCE_ROLES, ())) == []


def test_a_series_that_is_still_arriving_is_said_to_be() -> None:
    examined = series(1, 0.0)
    grows = replace(examined, series=replace(examined.series, arriving=True))
    assert describe(1, grows) == "series 1: 2 instances so far, more are still arriving"


def test_a_series_is_described_in_one_line() -> None:
    assert describe(1, series(1, 0.0)) == "series 1: 2 instances"
    assert describe(2, series(1, 0.0, 9.0)) == (
        "series 2: 4 instances, 2 phases by TemporalPositionIdentifier: 1, 2"
    )
    assert "nothing tells them apart" in describe(3, series(1, unclear=Unclear.NOT_SEPARABLE))


def test_every_code_of_the_phases_has_words() -> None:
    for problem in Problem:
        assert isinstance(wording.refusal_of(problem), LabError)
    for reason in LeftOut:
        assert wording.left_out_words(reason)
    for unclear in Unclear:
        assert wording.unclear_words(unclear)
    for fault in Fault:
        _, sentence = wording.fault_words(Concern(fault, ("pre", "last"), 1.0, 2.0))
        assert "{" not in sentence
