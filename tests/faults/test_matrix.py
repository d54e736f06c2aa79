"""One row of each family, in the suite, with a lab that loads no torch.

`make faults` runs them all, with the lab as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.faults import matrix
from tests.faults.rows import Row
from tests.faults.run import run_row
from tests.faults.running import running_world
from tests.faults.world import World
from tests.integration.plain_lab import PLAIN_LAB

#: Those of one kind of world together: they share it, and one world at a time is enough.
ROWS = sorted((r for r in matrix.rows() if r.in_suite), key=lambda r: r.world in matrix.WORLDS)


@pytest.fixture(scope="module")
def world_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Row], World]]:
    with ExitStack() as open_:
        now: list[Any] = [None, None]

        def world(row: Row) -> World:
            running = matrix.WORLDS.get(row.world, running_world)
            if running is not now[0]:
                open_.close()
                root = tmp_path_factory.mktemp("world")
                begun = open_.enter_context(running(root, print, lab_module=PLAIN_LAB))
                now[:] = [running, begun]
            found: World = now[1]
            return found

        yield world


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_after_the_fault_there_is_one_outcome_and_everybody_is_told_the_same(
    row: Row, world_of: Callable[[Row], World]
) -> None:
    shown = run_row(world_of(row), row)
    assert shown.held, "\n".join(map(str, shown.faults))
