"""Some seconds of a lab in the wrong hands, in the suite; ten minutes: make hostile."""

from __future__ import annotations

from pathlib import Path

from tests.hostile.trial import running


def test_one_pools_readers_are_served_while_a_lab_of_another_does_what_it_can(
    tmp_path: Path,
) -> None:
    with running(tmp_path, print) as trial:
        outcome = trial.run(quiet_clicks=3, seconds=15, seed=7)
    print(outcome.table())
    assert outcome.faults == []
