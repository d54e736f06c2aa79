"""The order of phases in the lab: by date and time, else by what counts them in their series."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest
from pydicom import Dataset

from consumer.dicom.order import began_at, check_order, seconds_after_first
from consumer.errors import PhasesOutOfOrder
from consumer.payloads import PhaseFiles
from messages.phases.check import check_choice
from messages.phases.facts import PhaseFacts
from messages.phases.parts import ImageFacts, Part
from messages.phases.times import dated_at
from tests.bad_inputs.study import raw

START = datetime(2026, 3, 2, 10, 15, tzinfo=UTC)


def phase(role: str, keyword: str, value: str, series_uid: str = "1.2") -> PhaseFiles:
    return PhaseFiles(
        role=role,
        series_uid=series_uid,
        path="",
        files=(),
        instance_count=0,
        selector=(keyword, value),
    )


@pytest.mark.parametrize("keyword", ["TemporalPositionIndex", "AcquisitionNumber", "TriggerTime"])
@pytest.mark.parametrize("began", [None, START])
def test_phases_of_one_time_are_ordered_by_what_counts_them(keyword, began) -> None:
    phases = [phase("pre", keyword, "10.5"), phase("post1", keyword, "9")]
    with pytest.raises(PhasesOutOfOrder, match="post1 is numbered before pre"):
        check_order(phases, [began] * 2)
    check_order(phases[::-1], [began] * 2)


@pytest.mark.parametrize(
    ("seconds", "refused"), [(60, False), (-60, True)], ids=["later", "earlier"]
)
def test_times_that_differ_decide_against_a_count(seconds, refused) -> None:
    phases = [phase("pre", "AcquisitionNumber", "2"), phase("post1", "AcquisitionNumber", "1")]
    with pytest.raises(PhasesOutOfOrder) if refused else nullcontext():
        check_order(phases, [START, START + timedelta(seconds=seconds)])


def test_a_time_that_phases_share_is_told_of_none_of_them() -> None:
    later = START + timedelta(seconds=90)
    assert seconds_after_first([START, later, None]) == (0.0, 90.0, None)
    assert seconds_after_first([START, later, later]) == (0.0, None, None)
    assert seconds_after_first([START, START, later]) == (None, None, None)
    assert seconds_after_first([None, later]) == (None, None)


def test_a_count_orders_no_phases_of_two_series_and_a_clock_time_is_none() -> None:
    keyword = "TemporalPositionIdentifier"
    check_order([phase("pre", keyword, "2"), phase("post1", keyword, "1", "1.3")], [None] * 2)
    clock = "ContentTime"
    check_order([phase("pre", clock, "235900"), phase("post1", clock, "000100")], [START] * 2)


DAY, NEXT_DAY = "20260302", "20260303"
INDEX, NUMBER = "TemporalPositionIndex", "AcquisitionNumber"

#: Of two phases date, time, and what tells them apart in their series ("" in series of their own);
#: and whether they are out of order.
CASES = {
    "a minute later": ((DAY, "101500", "", ""), (DAY, "101600", "", ""), False),
    "a minute earlier": ((DAY, "101500", "", ""), (DAY, "101400", "", ""), True),
    "a second earlier": ((DAY, "101500.5", "", ""), (DAY, "101459.5", "", ""), False),
    "over a second earlier": ((DAY, "101500.5", "", ""), (DAY, "101459.4", "", ""), True),
    "at one time": ((DAY, "101500", "", ""), (DAY, "101500", "", ""), False),
    "past midnight": ((DAY, "235930", "", ""), (NEXT_DAY, "000030", "", ""), False),
    "a day before": ((NEXT_DAY, "000030", "", ""), (DAY, "235930", "", ""), True),
    "colons, earlier": ((DAY, "10:15:00", "", ""), (DAY, "10:14:00.5", "", ""), True),
    "colons, later": ((DAY, "10:15:00", "", ""), (DAY, "101600", "", ""), False),
    "dots in the date": (("2026.03.03", "101500", "", ""), (DAY, "101600", "", ""), True),
    "a leap second": ((DAY, "101560", "", ""), (DAY, "101559.5", "", ""), False),
    "no date": ((DAY, "101500", "", ""), ("", "101400", "", ""), False),
    "no such date": ((DAY, "101500", "", ""), ("20260230", "101400", "", ""), False),
    "no time": ((DAY, "101500", "", ""), (DAY, "", "", ""), False),
    "no such time": ((DAY, "101500", "", ""), (DAY, "noon", "", ""), False),
    "counted down": ((DAY, "101500", INDEX, "2"), (DAY, "101500", INDEX, "1"), True),
    "counted up, a blink earlier": (
        (DAY, "101500.5", INDEX, "1"),
        (DAY, "101500.1", INDEX, "2"),
        False,
    ),
    "counted down, a blink later": (
        (DAY, "101500.1", INDEX, "2"),
        (DAY, "101500.5", INDEX, "1"),
        True,
    ),
    "counted down, without times": (("", "", INDEX, "2"), ("", "", INDEX, "1"), True),
    "counted by two keywords": ((DAY, "101500", INDEX, "2"), (DAY, "101500", NUMBER, "1"), False),
}


def site_refuses(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    chosen = []
    for day, time, keyword, value in (first, second):
        said = ImageFacts(None, {"AcquisitionDate": day, "AcquisitionTime": time})
        (at,) = dated_at([said], [Part(keyword, value, (0,))], DAY)
        chosen.append(PhaseFacts(keyword, value, acquired_at_s=at, dated_at_s=at))
    homes = ("a", "a") if first[2] else ("a", "b")
    return any(one.refuses for one in check_choice(chosen, ("pre", "post1"), homes))


def lab_refuses(first: tuple[str, ...], second: tuple[str, ...]) -> bool:
    phases, began = [], []
    for role, (day, time, keyword, value) in (("pre", first), ("post1", second)):
        ds = Dataset()
        raw("AcquisitionDate", day.encode())(ds)
        raw("AcquisitionTime", time.encode())(ds)
        phases.append(phase(role, keyword, value, "1.2" if keyword else f"1.2.{role}"))
        began.append(began_at([ds]))
    try:
        check_order(phases, began)
    except PhasesOutOfOrder:
        return True
    return False


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("first", "second", "refused"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("refuses", [site_refuses, lab_refuses])
def test_site_and_lab_refuse_the_same_orders(refuses, first, second, refused) -> None:
    assert refuses(first, second) == refused


@pytest.mark.parametrize("dates", [("20260302",) * 3, ("20260302", "20260302", "20260303")])
def test_a_sweep_over_midnight_began_before_it(dates: tuple[str, ...]) -> None:
    heads = []
    for date, at in zip(dates, ("235950", "235957.5", "000005"), strict=True):
        head = Dataset()
        head.AcquisitionDate, head.AcquisitionTime = date, at
        heads.append(head)
    assert began_at(heads[::-1]) == datetime(2026, 3, 2, 23, 59, 50, tzinfo=UTC)
