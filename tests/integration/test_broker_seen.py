"""What checks and starts say of a broker that shows one user less than another.

Up to RabbitMQ 4.2.5 everybody sees whether a queue is there; 4.2.7, 4.3.1 and newer tell only who
has a right on it. The same tests hold on both: `make newer-servers`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from consumer.amqp import link, probe
from consumer.amqp.errors import TopologyMissing
from consumer.amqp.intake import Intake
from consumer.checks import broker as lab_check
from consumer.settings import LabSettings
from messages import topology
from messages.brokers import UNUSABLE, Seen
from messages.repair import IMPORT_SENTENCE
from tests.integration.nodes import TestBroker
from web.broker import tasks
from web.broker.connection import Needs, why_not
from web.broker.probe import Probe
from web.checks import broker as site_check

#: Users of these tests, and their rights: configure, write, read.
SITE = topology.with_users({"admin": "", "web": ""}, {})["permissions"][1]
USERS = {
    # May do nothing.
    "blind": ("^$", "^$", "^$"),
    # The site before RabbitMQ 4.2.7: it may do its work, and has no right on what waits for labs.
    "unsure": ("^$", r"^mri\.(requests|control.*)$", SITE["read"]),
    "seeing": ("^$", rf"{SITE['write']}|^mri\.(requests|rules|retry)\..+$", SITE["read"]),
    # May do everything, under any name.
    "posing": (".*", ".*", ".*"),
}
PASSWORD = "of-a-test"

ABSENT = "mri.requests.absent"


@pytest.fixture(scope="module", autouse=True)
def _users(rabbit: TestBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    passwords = dict.fromkeys(("admin", "web", *USERS), PASSWORD)
    hashed = topology.with_users(passwords, dict.fromkeys(USERS, "lab"))
    users = [user for user in hashed["users"] if user["name"] in USERS]
    users[-1]["tags"] = ["impersonator"]
    permissions = [
        {"user": user, "vhost": topology.VHOST, "configure": c, "write": w, "read": r}
        for user, (c, w, r) in USERS.items()
    ]
    file: Path = tmp_path_factory.mktemp("users") / "users.json"
    labs = topology.definitions(("lab",), {"posing": "lab"})
    file.write_text(json.dumps({**labs, "users": users, "permissions": permissions}))
    rabbit.node.ctl("-q", "import_definitions", str(file))
    yield
    for queue in topology.control_queues("posing", "lab"):
        rabbit.node.ctl("-q", "-p", topology.VHOST, "delete_queue", queue.name)
    for user in USERS:
        rabbit.node.ctl("-q", "delete_user", user)


@contextmanager
def announced(rabbit: TestBroker, version: str) -> Iterator[None]:
    """The broker says that it is of that version."""
    properties = "application:set_env(rabbit, server_properties, [{}])."
    rabbit.node.ctl("-q", "eval", properties.format(f'{{version, "{version}"}}'))
    try:
        yield
    finally:
        rabbit.node.ctl("-q", "eval", properties.format(""))


def url(rabbit: TestBroker, user: str) -> str:
    return rabbit.node.url(user, PASSWORD) if user in USERS else rabbit.url(user)


def hides(rabbit: TestBroker) -> bool:
    """Whether this broker shows a queue only to who has a right on it."""
    with closing(probe.Probe(url(rabbit, "admin"), name="test")) as asked:
        version = tuple(int(part) for part in asked.version.split(".")[:3])
    return version >= (4, 2, 7)


def site_lines(rabbit: TestBroker, user: str) -> list[str]:
    return [str(line) for line in asyncio.run(site_check.check([url(rabbit, user)]))]


def lab_lines(rabbit: TestBroker, user: str) -> list[str]:
    settings = LabSettings(
        rabbitmq_url=url(rabbit, user), orthanc_url="http://127.0.0.1:1", lab_name=user
    )
    return [str(line) for line in lab_check.check(settings)]


def line_of(lines: list[str], noun: str) -> str:
    return next(line for line in lines if line[2:].startswith(f"{noun}: "))


async def site_seen(rabbit: TestBroker, user: str, queue: str) -> Seen:
    asked = Probe(url(rabbit, user))
    await asked.connect()
    try:
        return await asked.queue(queue)
    finally:
        await asked.close()


def lab_seen(rabbit: TestBroker, user: str, queue: str) -> Seen:
    with closing(probe.Probe(url(rabbit, user), name="test")) as asked:
        return asked.queue(queue)


@contextmanager
def start_of_lab(rabbit: TestBroker, user: str, pool: str) -> Iterator[None]:
    """What a lab of that pool does first on a connection."""
    intake = Intake([url(rabbit, user)], pool, prefetch=1, heartbeat=30, name="test")
    connection = link.connect(intake.urls, heartbeat=30, name="test")
    try:
        intake.check_topology(connection, first=True)
        yield
    finally:
        connection.close()


def test_a_queue_that_is_not_shown_is_never_called_there(rabbit: TestBroker) -> None:
    work = topology.requests_queue("lab")
    there, absent = (Seen.HIDDEN, Seen.HIDDEN) if hides(rabbit) else (Seen.THERE, Seen.MISSING)
    for user, expected in {
        "admin": {work: Seen.THERE, ABSENT: Seen.MISSING},
        "blind": {work: there, ABSENT: absent},
    }.items():
        for queue, seen in expected.items():
            assert asyncio.run(site_seen(rabbit, user, queue)) is seen
            assert lab_seen(rabbit, user, queue) is seen


def test_what_a_user_should_see_and_does_not_is_red_in_both_checks(rabbit: TestBroker) -> None:
    sign = "✗" if hides(rabbit) else "✓"
    site, lab = site_lines(rabbit, "blind"), lab_lines(rabbit, "blind")
    for lines in (site, lab):
        queues = line_of(lines, "queues")
        assert queues[0] == sign
        if sign == "✗":
            assert "missing, or without a right for blind: " in queues
            assert "set_permissions -p mri blind" in queues
        # On every version it is said which right it is.
        assert line_of(lines, "permissions")[0] == "✗"


def test_an_unknown_depth_is_red_and_says_what_it_costs(rabbit: TestBroker) -> None:
    depth = line_of(site_lines(rabbit, "unsure"), "depth")
    if hides(rabbit):
        assert depth.startswith("✗ depth: unsure cannot see what waits in queue mri.requests.lab, ")
        assert "lost requests are sent again late" in depth
        assert "set_permissions -p mri unsure" in depth
    else:
        assert depth[0] == "✓"
    assert line_of(site_lines(rabbit, "seeing"), "depth")[0] == "✓"


def test_a_missing_queue_is_called_missing_where_the_user_may_ask(rabbit: TestBroker) -> None:
    needs = Needs(queues=(ABSENT,))
    sentence = asyncio.run(why_not([url(rabbit, "admin")], needs))
    assert sentence == f"queue {ABSENT} is missing: {IMPORT_SENTENCE}"
    with (
        pytest.raises(TopologyMissing, match=f"The queue {ABSENT} is missing: on the broker"),
        start_of_lab(rabbit, "admin", "absent"),
    ):
        pass


def test_a_pool_that_staff_have_added_is_looked_at_like_those_that_ship(
    rabbit: TestBroker,
) -> None:
    lines = asyncio.run(site_check.check([url(rabbit, "web")], (*topology.POOLS, "added")))
    said = line_of([str(line) for line in lines], "queues")
    assert said.startswith("✗ ")
    for name in (topology.rules_queue("added"), topology.replies_queue("added")):
        assert name in said


def test_where_the_user_may_not_ask_both_possibilities_are_said(rabbit: TestBroker) -> None:
    sentence = asyncio.run(why_not([url(rabbit, "blind")], Needs(queues=(ABSENT,)))) or ""
    with pytest.raises(TopologyMissing) as refusal, start_of_lab(rabbit, "blind", "absent"):
        pass
    both = "is missing, or" if hides(rabbit) else "is missing"
    assert f"queue {ABSENT} {both}" in sentence
    assert f"The queue {ABSENT} {both}" in str(refusal.value)


@pytest.mark.parametrize("version", UNUSABLE)
def test_a_version_that_cannot_be_used_is_named_with_the_one_that_can(
    rabbit: TestBroker, version: str
) -> None:
    with announced(rabbit, version):
        sentence = asyncio.run(why_not([url(rabbit, "web")], tasks.needs("lab"))) or ""
        with pytest.raises(TopologyMissing) as refusal, start_of_lab(rabbit, "lab1", "lab"):
            pass
        lines = [site_lines(rabbit, "web"), lab_lines(rabbit, "lab1")]
    for said in (sentence, str(refusal.value)):
        assert said.startswith(f"RabbitMQ {version} cannot be used")
        assert f"use {UNUSABLE[version]} or newer" in said
    for found in lines:
        assert found[0].startswith("✗ broker: ")
        assert f"RabbitMQ {version} cannot be used" in found[0]
        assert f"fix: use {UNUSABLE[version]} or newer" in found[0]
        assert "- queues: skipped, needs another broker" in found
    assert asyncio.run(why_not([url(rabbit, "web")], tasks.needs("lab"))) is None


def test_a_right_to_write_is_told_from_none_whatever_is_looked_at_first(rabbit: TestBroker) -> None:
    events, own = lab_write(rabbit, "lab")
    _, others = lab_write(rabbit, "server")
    for (exchange, key), may in {
        (events, "lab.check"): True,
        # By the topic permission alone.
        (events, "check.check"): False,
        (own, "lab.check"): True,
        (own, "server.check"): False,
        (topology.REQUESTS, "lab.check"): False,
        (others, "server.check"): False,
    }.items():
        with closing(probe.Probe(url(rabbit, "lab1"), name="test")) as asked:
            assert asked.may_write(exchange, key) is may, (exchange, key)
        assert asyncio.run(site_may_write(rabbit, "lab1", exchange, key)) is may, (exchange, key)


def lab_write(rabbit: TestBroker, pool: str) -> tuple[str, str]:
    """Exchanges of events and of the first retry tier, as this pool's labs may write them."""
    exchanges = [right["exchange"] for right in topology.lab_topic_permissions("lab1", pool)]
    (events,) = (name for name in exchanges if name.startswith("mri.events"))
    return events, next(name for name in exchanges if name.startswith("mri.retry"))


async def site_may_write(rabbit: TestBroker, user: str, exchange: str, key: str) -> bool:
    asked = Probe(url(rabbit, user))
    await asked.connect()
    try:
        return await asked.may_write(exchange, key)
    finally:
        await asked.close()


def test_a_user_who_may_speak_as_another_is_red_and_nothing_is_published(
    rabbit: TestBroker,
) -> None:
    def messages() -> str:
        return rabbit.node.ctl("-q", "-p", topology.VHOST, "list_queues", "name", "messages")

    before = messages()
    for lines in (site_lines(rabbit, "posing"), lab_lines(rabbit, "posing")):
        identity = line_of(lines, "identity")
        assert identity.startswith("✗ identity: posing may speak as any other user")
        assert "rabbitmqctl set_user_tags posing" in identity
        assert "- permissions: skipped, needs identity" in lines
    assert messages() == before
