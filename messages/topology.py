"""Every exchange, queue, binding, policy, user and permission, as frozen data.

This file declares; applications only check. ``python -m messages.topology`` prints the
definitions that ``infra/rabbitmq/definitions.json`` holds and a broker imports.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

VHOST: Final = "mri"

#: A pool is a set of labs that serve the same bundles. ``server`` is the web machine's own CPU.
POOLS: Final = ("lab", "server")

REQUESTS: Final = "mri.requests"
DEAD: Final = "mri.dead"
DEAD_QUEUE: Final = "mri.dead"

#: First word of the routing key of a request that a rule asked for, and no reader. It matches no
#: binding of a version that knows no such queue.
RULES: Final = "rules"

#: Retry tiers in the order in which a request passes them: name and waiting time in seconds.
RETRY_TIERS: Final[Mapping[str, int]] = {"30s": 30, "2m": 120, "10m": 600}

#: Events that decide something; `mri.replies.<pool>` keeps them until the site has written them.
OUTCOME_KEYS: Final = (
    "request.accepted",
    "request.retry_scheduled",
    "request.completed",
    "request.failed",
    "request.cancelled",
)

#: Hints: newest wins, loss is harmless.
HINT_KEYS: Final = ("request.progressed", "lab.heartbeat", "lab.model")

#: Milliseconds that a delivery may stay unacknowledged (3.12+; 3.10 and 3.11: rabbitmq.conf).
CONSUMER_TIMEOUT_MS: Final = 2 * 60 * 60 * 1000


#: Control queues of a lab, one for each of its processes: as many may run at once, and one more is
#: free while the broker still holds the consumer of a connection that was lost.
CONTROL_QUEUES: Final = 6

#: Milliseconds that a cancel waits for a lab. The site repeats it when a lab accepts the request,
#: and for what a heartbeat lists.
CONTROL_TTL_MS: Final = 10 * 60 * 1000


def requests_queue(pool: str) -> str:
    """The work queue of a pool: what readers ask for."""
    return f"{REQUESTS}.{pool}"


def rules_queue(pool: str) -> str:
    """The second work queue of a pool: what rules ask for. It waits while a reader waits."""
    return f"mri.rules.{pool}"


def retry_exchange(pool: str, tier: str) -> str:
    """The exchange of a pool's retry tier. Of the pool: what a lab may write bounds it."""
    return f"mri.retry.{pool}.{tier}"


def retry_queue(pool: str, tier: str) -> str:
    """Where what readers ask of a pool waits in a tier."""
    return f"mri.retry.{pool}.{tier}"


def rules_retry_queue(pool: str, tier: str) -> str:
    """Where what rules ask of a pool waits in a tier."""
    return f"mri.retry.{pool}.{tier}.rules"


def events_exchange(pool: str) -> str:
    """Where the labs of a pool publish events, heartbeats and their models."""
    return f"mri.events.{pool}"


def replies_queue(pool: str) -> str:
    """The outcomes of a pool's requests, until the site has written them down."""
    return f"mri.replies.{pool}"


def progress_queue(pool: str) -> str:
    """The hints of a pool's labs."""
    return f"mri.progress.{pool}"


def control_exchange(pool: str) -> str:
    """Where the site tells all labs of a pool what to stop."""
    return f"mri.control.{pool}"


def control_queue(lab: str, number: int) -> str:
    """Where one process of a lab hears it; `number` counts from 1 to `CONTROL_QUEUES`."""
    return f"mri.control.{lab}.{number}"


def readers_queues(pool: str) -> tuple[str, ...]:
    """Every queue in which what a reader asked of the pool can wait."""
    return (requests_queue(pool), *(retry_queue(pool, tier) for tier in RETRY_TIERS))


def work_queues(pool: str) -> tuple[str, ...]:
    """Every queue in which a request of the pool can wait."""
    retry = (
        queue(pool, tier) for tier in RETRY_TIERS for queue in (retry_queue, rules_retry_queue)
    )
    return (requests_queue(pool), rules_queue(pool), *retry)


@dataclass(frozen=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: str = "topic"


@dataclass(frozen=True)
class Queue:
    """A durable queue with its bindings: (exchange, routing key) pairs."""

    name: str
    bindings: tuple[tuple[str, str], ...]
    kind: str = "quorum"
    arguments: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Policy:
    """Limits of the queues whose name matches; an operator can change them without a deploy."""

    name: str
    pattern: str
    definition: Mapping[str, int | str]


#: Keeps a message until the target has confirmed it; needs `reject-publish` (RabbitMQ docs,
#: "Safer dead lettering"), otherwise the broker silently falls back to at-most-once.
_AT_LEAST_ONCE: Final[Mapping[str, int | str]] = {
    "dead-letter-strategy": "at-least-once",
    "overflow": "reject-publish",
}

#: Last word of the routing key under which a request leaves a retry tier.
RETRIED: Final = "retried"

#: For queues that nothing consumes, or that must lose nothing: 4.x would give a default of 20 and
#: then drop.
_NEVER_DROPPED: Final = 1_000_000


def exchanges(pools: Iterable[str] = POOLS) -> tuple[Exchange, ...]:
    """Every exchange of an installation with these pools."""
    pools = tuple(pools)
    return (
        Exchange(REQUESTS),
        *(Exchange(retry_exchange(pool, tier)) for pool in pools for tier in RETRY_TIERS),
        *(Exchange(events_exchange(pool)) for pool in pools),
        *(Exchange(control_exchange(pool), kind="fanout") for pool in pools),
        Exchange(DEAD),
    )


def queues(
    pools: Iterable[str] = POOLS, labs: Mapping[str, str] | None = None
) -> tuple[Queue, ...]:
    """Every queue of an installation with these pools and labs (pool by the name of the lab)."""
    return (
        *(queue for pool in pools for queue in _pool_queues(pool)),
        *(queue for lab, pool in (labs or {}).items() for queue in control_queues(lab, pool)),
        Queue(DEAD_QUEUE, bindings=((DEAD, "#"),)),
    )


def control_queues(lab: str, pool: str) -> tuple[Queue, ...]:
    """The control queues of one lab."""
    return tuple(
        Queue(
            control_queue(lab, number),
            bindings=((control_exchange(pool), ""),),
            kind="classic",
        )
        for number in range(1, CONTROL_QUEUES + 1)
    )


def _pool_queues(pool: str) -> Iterator[Queue]:
    for name, key in (
        (requests_queue(pool), f"{pool}.#"),
        (rules_queue(pool), f"{RULES}.{pool}.#"),
    ):
        yield Queue(
            name,
            bindings=((REQUESTS, key),),
            arguments={"x-consumer-timeout": CONSUMER_TIMEOUT_MS},
        )
    for tier in RETRY_TIERS:
        # Each names the key under which its messages leave. They would otherwise leave under all
        # the keys that their sender gave them, those of the header CC too: into any pool
        # (RabbitMQ docs, "Sender-selected Distribution", "Dead Letter Exchanges").
        for name, key in (
            (retry_queue(pool, tier), pool),
            (rules_retry_queue(pool, tier), f"{RULES}.{pool}"),
        ):
            yield Queue(
                name,
                bindings=((retry_exchange(pool, tier), f"{key}.#"),),
                arguments={
                    "x-dead-letter-exchange": REQUESTS,
                    "x-dead-letter-routing-key": f"{key}.{RETRIED}",
                },
            )
    events = events_exchange(pool)
    yield Queue(replies_queue(pool), bindings=tuple((events, key) for key in OUTCOME_KEYS))
    yield Queue(
        progress_queue(pool), bindings=tuple((events, key) for key in HINT_KEYS), kind="classic"
    )


#: Bytes that a work or retry queue holds. A request is about 4 KB: ten thousand fit in. Counted in
#: messages alone, a lab could fill the disk of the broker with ten thousand of a megabyte, and a
#: full disk stops everybody.
WORK_BYTES: Final = 64 * 1024 * 1024

#: Limits of the queues. The patterns also match the names of before (`messages.topology_before`),
#: whose limits must not end with an import.
POLICIES: Final = (
    Policy(
        "mri-requests",
        r"^mri\.(requests|rules)\.",
        {
            "delivery-limit": 20,
            "dead-letter-exchange": DEAD,
            "max-length": 10_000,
            "max-length-bytes": WORK_BYTES,
            **_AT_LEAST_ONCE,
        },
    ),
    *(
        Policy(
            f"mri-retry-{tier}",
            rf"^mri\.retry\.({tier}\.[^.]+|[^.]+\.{tier}(\.rules)?)$",
            {
                "message-ttl": seconds * 1000,
                # The queues of before name none of their own.
                "dead-letter-exchange": REQUESTS,
                "delivery-limit": _NEVER_DROPPED,
                "max-length": 10_000,
                "max-length-bytes": WORK_BYTES,
                **_AT_LEAST_ONCE,
            },
        )
        for tier, seconds in RETRY_TIERS.items()
    ),
    Policy(
        "mri-replies",
        r"^mri\.replies(\..+)?$",
        {
            "delivery-limit": _NEVER_DROPPED,
            "dead-letter-exchange": DEAD,
            # Full, it refuses: its own pool's labs wait, and nobody's outcome is dropped.
            "max-length": 20_000,
            "max-length-bytes": 64 * 1024 * 1024,
            **_AT_LEAST_ONCE,
        },
    ),
    Policy(
        "mri-progress",
        r"^mri\.progress(\..+)?$",
        {
            "message-ttl": 60_000,
            # Hints: the newest win.
            "max-length": 10_000,
            "max-length-bytes": 16 * 1024 * 1024,
            "overflow": "drop-head",
        },
    ),
    Policy(
        "mri-control",
        r"^mri\.control\.[^.]+\.[0-9]+$",
        {
            "message-ttl": CONTROL_TTL_MS,
            "max-length": 1_000,
            "overflow": "drop-head",
            # A classic queue lies on one node of a cluster, and is away with it: a lab then takes
            # another one. On 3.10 and 3.11, where this is for other kinds, rabbitmq.conf says so.
            "queue-leader-locator": "balanced",
        },
    ),
    Policy(
        "mri-dead",
        r"^mri\.dead$",
        {
            "delivery-limit": _NEVER_DROPPED,
            "max-length": 100_000,
            "max-length-bytes": 512 * 1024 * 1024,
            "overflow": "reject-publish",
        },
    ),
)

#: What one lab may have open at once: a process has two connections with a few channels each, and
#: a check two more. A lab that wants more costs the broker memory that others need.
USER_LIMITS: Final[Mapping[str, int]] = {"max-connections": 24, "max-channels": 120}


def definitions(
    pools: Iterable[str] = POOLS, labs: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The topology as RabbitMQ imports it, with these pools and the control queues of these labs.

    No users and no passwords.
    """
    pools = tuple(dict.fromkeys((*pools, *(labs or {}).values())))
    declared = queues(pools, labs)
    return {
        "vhosts": [{"name": VHOST}],
        "exchanges": [
            {
                "name": exchange.name,
                "vhost": VHOST,
                "type": exchange.kind,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for exchange in exchanges(pools)
        ],
        "queues": [
            {
                "name": queue.name,
                "vhost": VHOST,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": queue.kind, **queue.arguments},
            }
            for queue in declared
        ],
        "bindings": [
            {
                "source": source,
                "vhost": VHOST,
                "destination": queue.name,
                "destination_type": "queue",
                "routing_key": key,
                "arguments": {},
            }
            for queue in declared
            for source, key in queue.bindings
        ],
        "policies": [
            {
                "name": policy.name,
                "vhost": VHOST,
                "pattern": policy.pattern,
                "apply-to": "queues",
                "priority": 0,
                "definition": dict(policy.definition),
            }
            for policy in POLICIES
        ],
    }


def _password_hash(password: str) -> str:
    # RabbitMQ docs, "Credentials and Passwords": base64(salt + sha256(salt + password)).
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _user(
    name: str, password: str, *tags: str, limits: Mapping[str, int] | None = None
) -> dict[str, Any]:
    return {
        "name": name,
        "password_hash": _password_hash(password),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": list(tags),
        "limits": dict(limits or {}),
    }


def _permission(user: str, *, configure: str, write: str, read: str) -> dict[str, str]:
    return {"user": user, "vhost": VHOST, "configure": configure, "write": write, "read": read}


def _any_of(*patterns: str) -> str:
    return "^(" + "|".join(patterns) + ")$"


def lab_permissions(lab: str, pool: str) -> dict[str, str]:
    """What a lab may do: declare nothing, write its pool's events and tiers, read its pool's work.

    And its own control queues. Whatever kind of thing has one of these names: the broker compares
    the name alone.
    """
    tiers = [re.escape(retry_exchange(pool, tier)) for tier in RETRY_TIERS]
    return _permission(
        lab,
        configure="^$",
        write=_any_of(re.escape(events_exchange(pool)), *tiers),
        read=_any_of(
            re.escape(requests_queue(pool)),
            re.escape(rules_queue(pool)),
            rf"mri\.control\.{re.escape(lab)}\.[0-9]+",
        ),
    )


def lab_topic_permissions(lab: str, pool: str) -> list[dict[str, str]]:
    """Routing keys that a lab may write: what goes elsewhere is no message of its pool."""
    key = rf"^({RULES}\.)?{re.escape(pool)}\."
    allowed = {retry_exchange(pool, tier): key for tier in RETRY_TIERS}
    allowed[events_exchange(pool)] = r"^(request|lab)\."
    return [
        {"user": lab, "vhost": VHOST, "exchange": exchange, "write": write, "read": "^$"}
        for exchange, write in allowed.items()
    ]


def site_permissions(user: str = "web") -> dict[str, str]:
    """What the site may do: write requests and cancels, read events and dead letters, of any pool.

    Its right to write on the work and retry queues lets it see how much waits there: from RabbitMQ
    4.2.7 and 4.3.1 on a passive declare needs a right on the queue. It gives nothing else: neither
    to read, purge or delete one, nor to publish past the exchanges. `mri.control` is the exchange
    of before.
    """
    queues_it_sees = (r"mri\.requests\..+", r"mri\.rules\..+", r"mri\.retry\..+")
    return _permission(
        user,
        configure="^$",
        write=_any_of(re.escape(REQUESTS), r"mri\.control(\.[^.]+)?", *queues_it_sees),
        # With the queues of before, as long as they are there.
        read=_any_of(r"mri\.replies(\..+)?", r"mri\.progress(\..+)?", re.escape(DEAD_QUEUE)),
    )


def lab_definitions(lab: str, pool: str, password: str) -> dict[str, Any]:
    """Everything that one more lab needs, of its pool too, as RabbitMQ imports it."""
    return {
        **definitions((pool,), {lab: pool}),
        "users": [_user(lab, password, limits=USER_LIMITS)],
        "permissions": [lab_permissions(lab, pool)],
        "topic_permissions": lab_topic_permissions(lab, pool),
    }


def with_users(
    passwords: Mapping[str, str], labs: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The definitions with users and permissions for one installation.

    `passwords` maps ``admin``, ``web`` and every lab's name to its password; `labs` maps the name
    of a lab to its pool. Raises `KeyError` for a user without a password.
    """
    labs = {"lab1": "lab"} if labs is None else labs
    return {
        **definitions(POOLS, labs),
        "users": [
            _user("admin", passwords["admin"], "administrator"),
            _user("web", passwords["web"]),
            *(_user(lab, passwords[lab], limits=USER_LIMITS) for lab in labs),
        ],
        "permissions": [
            _permission("admin", configure=".*", write=".*", read=".*"),
            site_permissions(),
            *(lab_permissions(lab, pool) for lab, pool in labs.items()),
        ],
        "topic_permissions": [
            permission
            for lab, pool in labs.items()
            for permission in lab_topic_permissions(lab, pool)
        ],
    }


def rendered() -> str:
    """The text of ``infra/rabbitmq/definitions.json``."""
    return json.dumps(definitions(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(rendered())
