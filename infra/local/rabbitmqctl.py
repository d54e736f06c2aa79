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

    To the demo's broker, or the first node of the cluster that runs: ``--demo`` and ``--cluster``
    as the first argument say which, and must where both run. The cluster's nodes share a cookie:
    `-n NAME` reaches each of the others.
    """
    given = tuple(sys.argv[1:] if arguments is None else arguments)
    places = {"--demo": (DEMO_ROOT,), "--cluster": tuple(node_directories(CLUSTER_ROOT))}
    if root is not None:
        places = {"--demo": (root,)}
    elif given[:1] and given[0] in places:
        places, given = {given[0]: places[given[0]]}, given[1:]
    running = [found for roots in places.values() if (found := _running(roots)) is not None]
    if len(running) > 1:
        # A purge that was meant for one must not reach the other.
        print("Demo and cluster both run: begin ARGS with --demo or --cluster.", file=sys.stderr)
        return 1
    # Never another place than the one that was meant.
    every = [place for roots in places.values() for place in roots]
    try:
        return run_ctl([*running, *every, CLUSTER_ROOT][0], given, capture=False).returncode
    except NodeNotRunning as error:
        print(error, file=sys.stderr)
        return 1


def _running(roots: Sequence[Path]) -> Path | None:
    return next(filter(is_running, roots), None)


if __name__ == "__main__":
    sys.exit(main())
