"""The table of docs/reliability.md, from what ``make faults`` has written with ``--json``.

``python -m tests.faults.results_table shown.json``
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any


def main() -> int:
    """Print the table as Markdown."""
    if len(sys.argv) != 2:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    sys.stdout.write(results_table(json.loads(Path(sys.argv[1]).read_text())))
    return 0


def results_table(shown: dict[str, Any]) -> str:
    """What was run; one line for each row of the matrix, family by family; what none shows."""
    lines = [head(shown), "", "| fault | how it was injected | ended | recovery |"]
    lines.append("|---|---|---|---|")
    for family, rows in groupby(shown["rows"], key=_family):
        lines.append(f"| **{family}** | | | |")
        lines += [_line(row) for row in rows]
    lines += ["", "Not shown:", ""]
    lines += [f"- {what}: {why}" for what, why in shown["not_shown"]]
    return "\n".join(lines) + "\n"


def head(shown: dict[str, Any]) -> str:
    """The circumstances in a sentence, and how many rows held."""
    versions, rows = shown["versions"], shown["rows"]
    commit = (shown["commit"] or "unknown")[:12] + (" with changes" if shown["dirty"] else "")
    held = sum(row["held"] for row in rows)
    return (
        f"{held} of {len(rows)} rows held. Commit {commit}, {shown['date']}, {shown['cores']} "
        f"cores, RabbitMQ {versions['rabbitmq']}, Orthanc {versions['orthanc']}, Python "
        f"{versions['python']}."
    )


def _family(row: dict[str, Any]) -> str:
    return str(row["row"]).partition("/")[0]


def _line(row: dict[str, Any]) -> str:
    ends = Counter(row["outcomes"])
    ended = ", ".join(f"{count} {state}" if count > 1 else state for state, count in ends.items())
    held = "" if row["held"] else " **did not hold**"
    goal = "" if row["goal_s"] is None else f" (goal {row['goal_s']:g})"
    took = row["recovery_s"]
    recovery = "" if took is None else f"{row['measures']}: {took:.1f} s{goal}"
    cells = (row["fault"], row["injected"], ended + held, recovery)
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


if __name__ == "__main__":
    sys.exit(main())
