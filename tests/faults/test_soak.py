"""Two minutes of the soak, in the suite, with labs that load no torch."""

from __future__ import annotations

from pathlib import Path

from tests.faults.soak import soak
from tests.faults.soak_outcome import Plan, table
from tests.integration.plain_lab import PLAIN_LAB


def test_nothing_is_lost_stuck_doubled_or_disagreeing_after_two_minutes_of_faults(
    tmp_path: Path,
) -> None:
    plan = Plan(requests=60, minutes=2, seed=7, short_tiers=True)
    outcome = soak(plan, tmp_path, print, lab_module=PLAIN_LAB)
    assert outcome.held, table(outcome)
    assert sum(outcome.faults.values()) >= 3, table(outcome)
