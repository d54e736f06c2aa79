"""Private nodes for tests: real RabbitMQ and Orthanc on free ports, in directories of their own.

`tests/conftest.py` offers them as the session's `rabbit` and `orthanc`; a test that kills or
restarts its node starts one of its own from here, so that the others keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.orthanc import OrthancNode
from infra.local.passwords import stored_passwords
from infra.local.ports import free_ports
from infra.local.rabbitmq import RabbitNode
from messages import topology
from tests.dciodvfy import assert_valid, results_below

#: Name and pool of the labs that every test broker knows.
LABS = {"lab1": "lab", "lab2": "lab", "server1": "server"}


@dataclass(frozen=True)
class TestBroker:
    """A ready broker and the passwords of its users: admin, web and each of `LABS`."""

    __test__ = False

    node: RabbitNode
    passwords: dict[str, str]

    def url(self, user: str) -> str:
        return self.node.url(user, self.passwords[user])


@contextmanager
def running_rabbit(
    root: Path, *, advanced: str = "[].", retry_seconds: int | None = None
) -> Iterator[TestBroker]:
    """Start a broker with the project's whole topology; ended with all its processes.

    `retry_seconds` shortens every retry tier by its policy, as an operator could.
    """
    passwords = stored_passwords(root / "secrets.json", ["admin", "web", *LABS])
    amqp, dist, epmd = free_ports(3)
    node = RabbitNode(
        root,
        amqp_port=amqp,
        dist_port=dist,
        epmd_port=epmd,
        definitions=_with_tiers(topology.with_users(passwords, LABS), retry_seconds),
        advanced=advanced,
    )
    try:
        node.start()
        node.wait_ready()
        yield TestBroker(node, passwords)
    finally:
        node.stop()


def _with_tiers(definitions: dict[str, Any], seconds: int | None) -> dict[str, Any]:
    if seconds is not None:
        for policy in definitions["policies"]:
            if policy["name"].startswith("mri-retry"):
                policy["definition"]["message-ttl"] = seconds * 1000
    return definitions


@contextmanager
def running_orthanc(root: Path, **options: Any) -> Iterator[OrthancNode]:
    """Start an empty archive with these options of Orthanc; ended with all its processes.

    dciodvfy then looks at every SEG, SR and SC that a lab has stored in it.
    """
    password = stored_passwords(root / "secrets.json", ["orthanc"])["orthanc"]
    (port,) = free_ports(1)
    node = OrthancNode(root, http_port=port, user="labrelay", password=password, options=options)
    try:
        node.start()
        node.wait_ready()
        yield node
    finally:
        node.stop()
    assert_valid(results_below(root / "storage"), root)
