"""``make faults``: the matrix, on private processes on loopback.

``python -m tests.faults [ROW or FAMILY]...`` runs a part; ``--list`` names the rows, and what
none of them shows; ``--json FILE`` writes what was shown, after each row. Exit status 0 when
every row held.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import groupby
from pathlib import Path

from tests.faults import matrix
from tests.faults.fault import Fault, why
from tests.faults.record import Record
from tests.faults.rows import FAMILIES, Row
from tests.faults.run import Shown, run_rows
from tests.faults.running import running_world
from tests.faults.world import World

#: Starts a world under a directory, and says what it does.
Running = Callable[[Path, Callable[[str], None]], AbstractContextManager[World]]


def main() -> int:
    """Run what the command line names."""
    arguments = _arguments()
    rows = [r for r in matrix.rows() if not arguments.rows or _named(r, arguments.rows)]
    if arguments.list:
        _say("\n".join(f"{r.name}: {r.fault}" for r in rows))
        _say("\nNot shown:")
        _say("\n".join(f"{what}: {reason}" for what, reason in matrix.not_shown()))
        return 0
    record = Record(arguments.json, matrix.not_shown())
    # A world for each family: what one does to its data, the next does not meet.
    for place, members in groupby(rows, key=lambda r: r.world):
        _say(f"== {place}")
        run_world(matrix.WORLDS.get(place, running_world), list(members), record, _say)
    shown = record.shown
    failed = [one for one in shown if not one.held]
    _say(f"{len(shown)} shown of {len(rows)} rows, {len(shown) - len(failed)} held")
    for one in failed:
        _say(f"did not hold: {one.row.name}")
    return 1 if failed or not shown else 0


def run_world(
    running: Running, rows: list[Row], record: Record, say: Callable[[str], None]
) -> None:
    """Run rows of one world; one that does not start, or leaves something, costs no other row."""
    begun = len(record.shown)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="labrelay-faults-") as directory,
            running(Path(directory), say) as world,
        ):
            record.met(world)
            run_rows(world, rows, say, record.keep)
    except Exception as exc:  # noqa: BLE001 - the other worlds go on
        missing = [row.name for row in rows[len(record.shown) - begun :]]
        faults = [Fault(why(exc)), *(Fault(f"{name} was not run") for name in missing)]
        record.keep(Shown(_world_itself(rows[0]), tuple(faults), None, 0.0, ()))
        for fault in faults:
            say(f"    - {fault}")


def _world_itself(row: Row) -> Row:
    """Stands for the world of the row in what is shown."""

    def its_world(_: World) -> None:
        """Nothing is injected."""

    return Row(
        family=row.family,
        fault=f"the world of {row.world}",
        injected="started, and stopped after its rows",
        inject=its_world,
        allowed=frozenset(),
        letters=0,
        measures="",
        goal=None,
        in_suite=False,
        world=row.world,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"rows, or families: {', '.join(FAMILIES)}")
    parser.add_argument("--list", action="store_true", help="name the rows and run none")
    parser.add_argument("--json", type=Path, help="write what was shown to this file")
    return parser.parse_args()


def _named(row: Row, names: list[str]) -> bool:
    return row.name in names or row.family in names


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
