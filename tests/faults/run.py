"""Runs rows of the matrix, one after the other, in one world or several."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.rows import Row
from tests.faults.verdict import Fault, verdict
from tests.faults.world import World


@dataclass(frozen=True)
class Shown:
    """What a row has shown."""

    row: Row
    #: What did not hold; empty: everything did.
    faults: tuple[Fault, ...]
    #: Seconds to the recovery, where the row measures it.
    recovery: float | None
    #: Seconds that the row took.
    took: float
    #: How its requests ended.
    outcomes: tuple[str, ...]

    @property
    def held(self) -> bool:
        """Whether everything held."""
        return not self.faults


def run_row(world: World, row: Row) -> Shown:
    """Inject the fault, let everything come to rest, and look."""
    began = time.monotonic()
    recovery: float | None = None
    try:
        world.begin()
        recovery = row.inject(world)
        world.heal()
        faults = verdict(world, row.allowed, row.letters)
    except Exception as exc:  # noqa: BLE001 - the other rows go on
        faults = [Fault(f"the row did not come to its end: {exc}")]
    outcomes = tuple(world.state(click).get("state", "?") for click in world.clicks)
    world.end()
    return Shown(row, tuple(faults), recovery, time.monotonic() - began, outcomes)


def run_rows(world: World, rows: Sequence[Row], say: Callable[[str], None]) -> list[Shown]:
    """Run the rows and say a line for each."""
    shown = []
    for number, one in enumerate(rows, 1):
        say(f"[{number}/{len(rows)}] {one.name}: {one.fault}")
        result = run_row(world, one)
        shown.append(result)
        recovery = "" if result.recovery is None else f", {one.measures}: {result.recovery:.1f} s"
        mark = "held" if result.held else "DID NOT HOLD"
        say(f"    {mark} in {result.took:.0f} s{recovery} ({', '.join(result.outcomes)})")
        for fault in result.faults:
            say(f"    - {fault}")
    return shown
