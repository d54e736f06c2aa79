"""Runs rows of the matrix, one after the other, in one world or several."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.faults.fault import Fault, why
from tests.faults.rows import Row
from tests.faults.verdict import verdict
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
    faults: list[Fault] = []
    outcomes: tuple[str, ...] = ()
    try:
        world.begin()
        recovery = row.inject(world)
        world.heal()
        faults += verdict(world, row.allowed, row.letters)
    except Exception as exc:  # noqa: BLE001 - the other rows go on
        faults.append(Fault(f"the row did not come to its end: {why(exc)}"))
    finally:
        outcomes = tuple(world.state(click).get("state", "?") for click in world.clicks)
        faults += _afterwards(world, held=not faults)
    return Shown(row, tuple(faults), recovery, time.monotonic() - began, outcomes)


def _afterwards(world: World, *, held: bool) -> list[Fault]:
    """Leave nothing for the next row; what cannot be cleared away is a fault of this one."""
    found = []
    for step in (world.end,) if held else (world.clear, world.end):
        try:
            step()
        except Exception as exc:  # noqa: BLE001 - the other rows go on
            found.append(Fault(f"after the row: {why(exc)}"))
    return found


def run_rows(
    world: World,
    rows: Sequence[Row],
    say: Callable[[str], None],
    keep: Callable[[Shown], None],
) -> None:
    """Run the rows, say a line for each and hand over what it has shown."""
    for number, one in enumerate(rows, 1):
        say(f"[{number}/{len(rows)}] {one.name}: {one.fault}")
        shown = run_row(world, one)
        keep(shown)
        recovery = "" if shown.recovery is None else f", {one.measures}: {timed(shown)}"
        mark = "held" if shown.held else "DID NOT HOLD"
        say(f"    {mark} in {shown.took:.0f} s{recovery} ({', '.join(shown.outcomes)})")
        for fault in shown.faults:
            say(f"    - {fault}")


def timed(shown: Shown) -> str:
    """The recovery beside its goal, which is shown and never asserted."""
    goal = "" if shown.row.goal is None else f" (goal {shown.row.goal:g})"
    return f"{shown.recovery:.1f} s{goal}"
