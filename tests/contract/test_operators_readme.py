"""What an operator copies from the broker's README is what the topology means."""

from __future__ import annotations

import json

from infra.local.settings import REPOSITORY
from messages import topology

README = (REPOSITORY / "infra" / "rabbitmq" / "README.md").read_text("utf-8")


def test_the_permissions_are_those_of_the_topology() -> None:
    for rights in (topology.site_permissions(), topology.lab_permissions("lab1", "lab")):
        for right in ("configure", "write", "read"):
            assert f"'{rights[right]}'" in README
    for topic in topology.lab_topic_permissions("lab1", "lab"):
        tier = topic["exchange"].replace("mri.retry.lab.", "mri.retry.lab.$")
        named = '"mri.retry.lab.$tier"' if "$" in tier else topic["exchange"]
        assert f"set_topic_permissions -p mri lab1 {named} '{topic['write']}' '^$'" in README


def test_the_limits_and_the_number_of_queues_are_those_of_the_topology() -> None:
    assert f"set_user_limits lab1 '{json.dumps(dict(topology.USER_LIMITS))}'" in README
    assert f"# {len(topology.queues())} queues; six more for each lab" in README
    assert topology.CONTROL_QUEUES == 6
