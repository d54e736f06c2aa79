"""The names of the version before, for one version: what was not per pool, and the bridges to it.

An import removes nothing: on a broker that was there before, the old exchanges and queues are
there still, and what lies in them is worked off. `upgrade` adds the bridges over which old labs
and an old site hear the new ones and are heard. ``python -m messages.topology_before`` prints what
``infra/rabbitmq/upgrade.json`` holds, with ``--pool`` also for pools of one's own; with the name of
a lab and its pool, the rights of a lab whose program may be the old or the new one. A new broker
needs none of it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

from messages import topology
from messages.envelope import NAME_PATTERN
from messages.topology import (
    HINT_KEYS,
    OUTCOME_KEYS,
    POOLS,
    RETRY_TIERS,
    VHOST,
    control_exchange,
    events_exchange,
)

EVENTS: Final = "mri.events"
CONTROL: Final = "mri.control"
REPLIES_QUEUE: Final = "mri.replies"
PROGRESS_QUEUE: Final = "mri.progress"


def retry_exchange(tier: str) -> str:
    """The exchange of a retry tier of all pools."""
    return f"mri.retry.{tier}"


def retry_queue(tier: str, pool: str) -> str:
    """Where a pool's requests waited in a tier."""
    return f"mri.retry.{tier}.{pool}"


def exchange_names() -> tuple[str, ...]:
    """Every exchange of before that has no place any more."""
    return (EVENTS, CONTROL, *(retry_exchange(tier) for tier in RETRY_TIERS))


def queue_names(pools: Iterable[str] = POOLS) -> tuple[str, ...]:
    """Every queue of before that has no place any more."""
    tiers = (retry_queue(tier, pool) for tier in RETRY_TIERS for pool in pools)
    return (REPLIES_QUEUE, PROGRESS_QUEUE, *tiers)


def lab_permissions(lab: str, pool: str) -> dict[str, str]:
    """What a lab may do while its program may be the old or the new one: what either may.

    It reaches other pools then, as it did before. Once its program is the new one, it gets
    `messages.topology.lab_permissions`.
    """
    new = topology.lab_permissions(lab, pool)
    control = rf"{re.escape(CONTROL)}\.{re.escape(lab)}\..+"
    tiers = "|".join(re.escape(retry_exchange(tier)) for tier in RETRY_TIERS)
    old = {
        "configure": control,
        "write": rf"{re.escape(EVENTS)}|{tiers}|{control}",
        "read": rf"{re.escape(CONTROL)}|{control}",
    }
    union = {right: rf"({new[right]})|^({pattern})$" for right, pattern in old.items()}
    return {**new, **union, "configure": rf"^({control})$"}


def upgrade(pools: Iterable[str] = POOLS) -> dict[str, Any]:
    """The old exchanges and queues with bridges to the new ones, as RabbitMQ imports it."""
    pools = tuple(pools)
    tiers = [(tier, pool) for tier in RETRY_TIERS for pool in pools]
    queues = [(REPLIES_QUEUE, "quorum"), (PROGRESS_QUEUE, "classic")]
    queues += [(retry_queue(tier, pool), "quorum") for tier, pool in tiers]
    bindings = [(EVENTS, REPLIES_QUEUE, "queue", key) for key in OUTCOME_KEYS]
    bindings += [(EVENTS, PROGRESS_QUEUE, "queue", key) for key in HINT_KEYS if key != "lab.model"]
    bindings += [
        (retry_exchange(tier), retry_queue(tier, pool), "queue", f"{pool}.#")
        for tier, pool in tiers
    ]
    for pool in pools:
        # An old site hears new labs, new labs an old site, and old labs a new one. The broker
        # gives a queue each message once, whichever ways lead there.
        bindings += [
            (events_exchange(pool), EVENTS, "exchange", "request.#"),
            (events_exchange(pool), EVENTS, "exchange", "lab.heartbeat"),
            (control_exchange(pool), CONTROL, "exchange", ""),
            (CONTROL, control_exchange(pool), "exchange", ""),
        ]
    return {
        "vhosts": [{"name": VHOST}],
        "exchanges": [
            {
                "name": name,
                "vhost": VHOST,
                "type": "fanout" if name == CONTROL else "topic",
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for name in exchange_names()
        ],
        "queues": [
            {
                "name": name,
                "vhost": VHOST,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": kind},
            }
            for name, kind in queues
        ],
        "bindings": [
            {
                "source": source,
                "vhost": VHOST,
                "destination": destination,
                "destination_type": kind,
                "routing_key": key,
                "arguments": {},
            }
            for source, destination, kind, key in bindings
        ],
    }


def rendered(pools: Iterable[str] = POOLS) -> str:
    """The text of ``infra/rabbitmq/upgrade.json``."""
    return json.dumps(upgrade(pools), indent=2) + "\n"


def _command(lab: str, pool: str) -> str:
    """The line that gives a lab the rights of both versions."""
    rights = lab_permissions(lab, pool)
    patterns = " ".join(f"'{rights[right]}'" for right in ("configure", "write", "read"))
    return f"rabbitmqctl set_permissions -p {VHOST} {lab} {patterns}\n"


def _name(text: str) -> str:
    if re.fullmatch(NAME_PATTERN, text) is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a lab or pool: small letters, digits, - and _, 63 at most"
        )
    return text


def output(arguments: Sequence[str]) -> str:
    """What the command prints; it ends the program with a sentence at wrong arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m messages.topology_before",
        usage="%(prog)s [--pool POOL ...] | %(prog)s LAB POOL",
        description="Print the bridges between old and new exchanges, or the rights of a lab "
        "whose program may be the old or the new one.",
    )
    parser.add_argument("lab", nargs="*", type=_name, metavar="LAB POOL")
    parser.add_argument(
        "--pool",
        action="append",
        default=[],
        type=_name,
        help="Bridge this pool too, beside those that every broker has; may be repeated.",
    )
    given = parser.parse_args(arguments)
    if not given.lab:
        return rendered(dict.fromkeys([*POOLS, *given.pool]))
    if len(given.lab) != 2 or given.pool:
        parser.error("give a lab and its pool, or --pool once for each pool, and not both")
    return _command(*given.lab)


if __name__ == "__main__":
    sys.stdout.write(output(sys.argv[1:]))
