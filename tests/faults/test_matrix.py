"""One row of each family, in the suite; `make faults` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import matrix
from tests.faults.rows import Row
from tests.faults.run import run_row
from tests.faults.world import running_world


@pytest.mark.parametrize("row", [r for r in matrix.rows() if r.in_suite], ids=lambda r: r.name)
def test_after_the_fault_there_is_one_outcome_and_everybody_is_told_the_same(
    row: Row, tmp_path: Path
) -> None:
    with matrix.WORLDS.get(row.world, running_world)(tmp_path, print) as world:
        shown = run_row(world, row)
    assert shown.held, "\n".join(map(str, shown.faults))
