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
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

VHOST: Final = "mri"

#: A pool is a set of labs that serve the same bundles. ``server`` is the web machine's own CPU.
POOLS: Final = ("lab", "server")

REQUESTS: Final = "mri.requests"
EVENTS: Final = "mri.events"
CONTROL: Final = "mri.control"
DEAD: Final = "mri.dead"
REPLIES_QUEUE: Final = "mri.replies"
PROGRESS_QUEUE: Final = "mri.progress"
DEAD_QUEUE: Final = "mri.dead"

#: Retry tiers in the order in which a request passes them: name and waiting time in seconds.
RETRY_TIERS: Final[Mapping[str, int]] = {"30s": 30, "2m": 120, "10m": 600}

#: Events that decide something; `mri.replies` keeps them until the web has written them down.
OUTCOME_KEYS: Final = (
    "request.accepted",
    "request.retry_scheduled",
    "request.completed",
    "request.failed",
    "request.cancelled",
)

#: Hints: newest wins, loss is harmless.
HINT_KEYS: Final = ("request.progressed", "lab.heartbeat")

#: Milliseconds that a delivery may stay unacknowledged (3.12+; 3.10 and 3.11: rabbitmq.conf).
CONSUMER_TIMEOUT_MS: Final = 2 * 60 * 60 * 1000


def requests_queue(pool: str) -> str:
    """The work queue of a pool."""
    return f"{REQUESTS}.{pool}"


def retry_exchange(tier: str) -> str:
    """The exchange of a retry tier; it keeps the routing key."""
    return f"mri.retry.{tier}"


def retry_queue(tier: str, pool: str) -> str:
    """Where a pool's requests wait in a tier."""
    return f"mri.retry.{tier}.{pool}"


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

EXCHANGES: Final = (
    Exchange(REQUESTS),
    *(Exchange(retry_exchange(tier)) for tier in RETRY_TIERS),
    Exchange(EVENTS),
    Exchange(CONTROL, kind="fanout"),
    Exchange(DEAD),
)

QUEUES: Final = (
    *(
        Queue(
            requests_queue(pool),
            bindings=((REQUESTS, f"{pool}.#"),),
            arguments={"x-consumer-timeout": CONSUMER_TIMEOUT_MS},
        )
        for pool in POOLS
    ),
    *(
        Queue(retry_queue(tier, pool), bindings=((retry_exchange(tier), f"{pool}.#"),))
        for tier in RETRY_TIERS
        for pool in POOLS
    ),
    Queue(REPLIES_QUEUE, bindings=tuple((EVENTS, key) for key in OUTCOME_KEYS)),
    Queue(PROGRESS_QUEUE, bindings=tuple((EVENTS, key) for key in HINT_KEYS), kind="classic"),
    Queue(DEAD_QUEUE, bindings=((DEAD, "#"),)),
)

POLICIES: Final = (
    Policy(
        "mri-requests",
        r"^mri\.requests\.",
        {
            "delivery-limit": 20,
            "dead-letter-exchange": DEAD,
            "max-length": 10_000,
            **_AT_LEAST_ONCE,
        },
    ),
    *(
        Policy(
            f"mri-retry-{tier}",
            rf"^mri\.retry\.{tier}\.",
            {
                "message-ttl": seconds * 1000,
                "dead-letter-exchange": REQUESTS,
                # Nothing consumes here, but 4.x would give a default of 20 and then drop.
                "delivery-limit": 1_000_000,
                **_AT_LEAST_ONCE,
            },
        )
        for tier, seconds in RETRY_TIERS.items()
    ),
    Policy(
        "mri-replies",
        r"^mri\.replies$",
        {"delivery-limit": 1_000_000, "dead-letter-exchange": DEAD, **_AT_LEAST_ONCE},
    ),
    Policy(
        "mri-progress",
        r"^mri\.progress$",
        {"message-ttl": 60_000, "max-length": 10_000, "overflow": "drop-head"},
    ),
    Policy(
        "mri-dead",
        r"^mri\.dead$",
        {"delivery-limit": 1_000_000, "max-length": 100_000, "overflow": "reject-publish"},
    ),
)


def definitions() -> dict[str, Any]:
    """The topology as RabbitMQ imports it: no users and no passwords."""
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
            for exchange in EXCHANGES
        ],
        "queues": [
            {
                "name": queue.name,
                "vhost": VHOST,
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": queue.kind, **queue.arguments},
            }
            for queue in QUEUES
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
            for queue in QUEUES
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


def _user(name: str, password: str, *tags: str) -> dict[str, Any]:
    return {
        "name": name,
        "password_hash": _password_hash(password),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": list(tags),
        "limits": {},
    }


def _permission(user: str, *, configure: str, write: str, read: str) -> dict[str, str]:
    return {"user": user, "vhost": VHOST, "configure": configure, "write": write, "read": read}


def _any_of(*patterns: str) -> str:
    return "^(" + "|".join(patterns) + ")$"


def lab_permissions(lab: str, pool: str) -> dict[str, str]:
    """What a lab may do: its pool's work, the events, the tiers and its own control queue."""
    control = rf"{re.escape(CONTROL)}\.{re.escape(lab)}\..+"
    tiers = [re.escape(retry_exchange(tier)) for tier in RETRY_TIERS]
    return _permission(
        lab,
        configure=_any_of(control),
        write=_any_of(re.escape(EVENTS), *tiers, control),
        read=_any_of(re.escape(requests_queue(pool)), re.escape(CONTROL), control),
    )


def lab_topic_permissions(lab: str, pool: str) -> list[dict[str, str]]:
    """Routing keys that a lab may write: without them a tier would lead into any pool."""
    allowed = {retry_exchange(tier): rf"^{re.escape(pool)}\." for tier in RETRY_TIERS}
    allowed[EVENTS] = r"^(request|lab)\."
    return [
        {"user": lab, "vhost": VHOST, "exchange": exchange, "write": write, "read": "^$"}
        for exchange, write in allowed.items()
    ]


def with_users(
    passwords: Mapping[str, str], labs: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The definitions with users and permissions for one installation.

    `passwords` maps ``admin``, ``web`` and every lab's name to its password; `labs` maps the name
    of a lab to its pool. Raises `KeyError` for a user without a password.
    """
    labs = {"lab1": "lab"} if labs is None else labs
    return {
        **definitions(),
        "users": [
            _user("admin", passwords["admin"], "administrator"),
            _user("web", passwords["web"]),
            *(_user(lab, passwords[lab]) for lab in labs),
        ],
        "permissions": [
            _permission("admin", configure=".*", write=".*", read=".*"),
            _permission(
                "web",
                configure="^$",
                write=_any_of(*map(re.escape, (REQUESTS, CONTROL))),
                read=_any_of(*map(re.escape, (REPLIES_QUEUE, PROGRESS_QUEUE, DEAD_QUEUE))),
            ),
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
