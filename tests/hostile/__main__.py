"""``make hostile MINUTES=10 SEED=7``: a lab in the wrong hands, while another pool works.

Exit status 0 when every click of the other pool completed, every page answered and the site's
memory stayed within its bound. How long clicks took, against the same machine in quiet, is said.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.hostile.trial import running


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--quiet-clicks", type=int, default=30)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="labrelay-hostile-") as root,
        running(Path(root), _say) as trial,
    ):
        outcome = trial.run(
            quiet_clicks=arguments.quiet_clicks,
            seconds=arguments.minutes * 60,
            seed=arguments.seed,
        )
    _say(outcome.table())
    for fault in outcome.faults:
        _say(f"FAILED: {fault}")
    return 1 if outcome.faults else 0


def _say(text: str) -> None:
    print(f"[hostile] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
