"""Two minutes of the soak, in the suite."""

from __future__ import annotations

from pathlib import Path

from tests.faults.soak import soak
from tests.faults.soak_outcome import Plan, table


def test_nothing_is_lost_stuck_doubled_or_disagreeing_after_two_minutes_of_faults(
    tmp_path: Path,
) -> None:
    outcome = soak(Plan(requests=60, minutes=2, seed=7, short_tiers=True), tmp_path, print)
    assert outcome.held, table(outcome)
    assert sum(outcome.faults.values()) >= 3, table(outcome)
