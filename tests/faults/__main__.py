"""``make faults``: the matrix, on private processes on loopback.

``python -m tests.faults [ROW or FAMILY]...`` runs a part; ``--list`` names the rows;
``--json FILE`` writes what was shown. Exit status 0 when every row held.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import groupby
from pathlib import Path

from tests.faults import matrix
from tests.faults.rows import FAMILIES, Row
from tests.faults.run import Shown, run_rows
from tests.faults.world import running_world


def main() -> int:
    """Run what the command line names."""
    arguments = _arguments()
    rows = [r for r in matrix.rows() if not arguments.rows or _named(r, arguments.rows)]
    if arguments.list:
        _say("\n".join(f"{r.name}: {r.fault}" for r in rows))
        return 0
    shown: list[Shown] = []
    # A world for each family: what one does to its data, the next does not meet.
    for place, members in groupby(rows, key=lambda r: r.world):
        with tempfile.TemporaryDirectory(prefix="labrelay-faults-") as directory:
            _say(f"== {place}")
            running = matrix.WORLDS.get(place, running_world)
            with running(Path(directory), _say) as world:
                shown += run_rows(world, list(members), _say)
    if arguments.json:
        arguments.json.write_text(json.dumps([_record(s) for s in shown], indent=2) + "\n")
    failed = [s for s in shown if not s.held]
    _say(f"{len(shown)} rows, {len(shown) - len(failed)} held")
    return 1 if failed or not shown else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", help=f"rows, or families: {', '.join(FAMILIES)}")
    parser.add_argument("--list", action="store_true", help="name the rows and run none")
    parser.add_argument("--json", type=Path, help="write what was shown to this file")
    return parser.parse_args()


def _named(row: Row, names: list[str]) -> bool:
    return row.name in names or row.family in names


def _record(shown: Shown) -> dict[str, object]:
    return {
        "row": shown.row.name,
        "fault": shown.row.fault,
        "injected": shown.row.injected,
        "held": shown.held,
        "faults": [str(fault) for fault in shown.faults],
        "measures": shown.row.measures,
        "recovery_s": shown.recovery,
        "took_s": round(shown.took, 1),
        "outcomes": shown.outcomes,
    }


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
