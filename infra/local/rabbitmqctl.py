"""`python -m infra.local.rabbitmqctl …`: rabbitmqctl against the demo's node under var/."""

from __future__ import annotations

import sys
from pathlib import Path

from infra.local.rabbitmq import NodeNotRunning, run_ctl
from infra.local.settings import VAR

#: Where the demo keeps its broker.
DEMO_ROOT = VAR / "rabbitmq"


def main(arguments: list[str] | None = None, root: Path = DEMO_ROOT) -> int:
    """Pass the arguments on as they are and return rabbitmqctl's exit status; 1 without a node."""
    given = tuple(sys.argv[1:] if arguments is None else arguments)
    try:
        return run_ctl(root, given, capture=False).returncode
    except NodeNotRunning as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
