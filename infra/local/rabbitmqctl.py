"""`python -m infra.local.rabbitmqctl …`: rabbitmqctl against the private broker under var/."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from infra.local.cluster import node_directories
from infra.local.rabbitmq import NodeNotRunning, is_running, run_ctl
from infra.local.settings import VAR

#: Where the demo keeps its broker, and `make cluster` its three.
DEMO_ROOT, CLUSTER_ROOT = VAR / "rabbitmq", VAR / "cluster"


def main(arguments: list[str] | None = None, root: Path | None = None) -> int:
    """Pass the arguments on as they are and return rabbitmqctl's exit status; 1 without a node.

    To the demo's broker or else the first node of the cluster that runs. Its nodes share a
    cookie: `-n NAME` reaches each of the others.
    """
    given = tuple(sys.argv[1:] if arguments is None else arguments)
    roots = (DEMO_ROOT, *node_directories(CLUSTER_ROOT)) if root is None else (root,)
    try:
        return run_ctl(_running(roots), given, capture=False).returncode
    except NodeNotRunning as error:
        print(error, file=sys.stderr)
        return 1


def _running(roots: Sequence[Path]) -> Path:
    return next(filter(is_running, roots), roots[0])


if __name__ == "__main__":
    sys.exit(main())
