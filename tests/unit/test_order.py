"""The order of phases in the lab: by date and time, else by what counts them in their series."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import pytest

from consumer.children.order import check_order
from consumer.errors import PhasesOutOfOrder
from consumer.handover import PhaseFiles
from messages.phases.check import check_choice
from messages.phases.facts import PhaseFacts

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


def test_a_count_orders_no_phases_of_two_series_and_a_clock_time_is_none() -> None:
    keyword = "TemporalPositionIdentifier"
    check_order([phase("pre", keyword, "2"), phase("post1", keyword, "1", "1.3")], [None] * 2)
    clock = "ContentTime"
    check_order([phase("pre", clock, "235900"), phase("post1", clock, "000100")], [START] * 2)


@pytest.mark.parametrize("seconds", [-60.0, -1.5, -0.4, 0.0, 0.4, 60.0])
def test_the_lab_refuses_what_the_site_refuses(seconds: float) -> None:
    began = [START, START + timedelta(seconds=seconds)]
    dated = [PhaseFacts(acquired_at_s=s, dated_at_s=s) for s in (0.0, seconds)]
    refused = [one for one in check_choice(dated, ("pre", "post1")) if one.refuses]
    phases = [phase("pre", "ContentTime", "1"), phase("post1", "ContentTime", "1", "1.3")]
    with pytest.raises(PhasesOutOfOrder) if refused else nullcontext():
        check_order(phases, began)
    assert bool(refused) == (seconds < -1.0)
