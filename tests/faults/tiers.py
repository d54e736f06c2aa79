"""Retry tiers that wait seconds instead of minutes, for rows that pass all of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

from infra.local.private_files import write_private
from messages import topology
from tests.faults.world import World

#: Seconds by tier: their order stays, and each is long against what a broker needs to notice.
SHORT = {"30s": 2, "2m": 4, "10m": 6}


def shorten(world: World) -> None:
    """Give the retry queues the policies of `SHORT`: an operator's change, without a deploy.

    What the broker imports at each start is changed too, so a restart keeps it.
    """
    node = world.stack.rabbitmq
    definitions = deepcopy(dict(node.definitions))
    for policy in definitions["policies"]:
        tier = policy["name"].removeprefix("mri-retry-")
        if tier in SHORT:
            policy["definition"]["message-ttl"] = SHORT[tier] * 1000
    node.definitions = definitions
    _import(world)


@contextmanager
def short_tiers(world: World) -> Iterator[None]:
    """Shortened inside the block; as the topology has them after it."""
    before = world.stack.rabbitmq.definitions
    shorten(world)
    try:
        yield
    finally:
        world.stack.rabbitmq.definitions = before
        _import(world)


def _import(world: World) -> None:
    node = world.stack.rabbitmq
    path = node.root / "definitions.json"
    write_private(path, json.dumps(node.definitions, indent=2) + "\n")
    node.ctl("-q", "import_definitions", str(path))


def waiting_in_tiers(world: World, pool: str = "lab") -> int:
    """Messages that wait in the pool's retry queues."""
    queues = world.queues()
    waiting = set(topology.work_queues(pool)) - {
        topology.requests_queue(pool),
        topology.rules_queue(pool),
    }
    return sum(queues[name][0] for name in waiting)
