"""The exchanges and queues of the version before: bridged for one version, then taken away."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pika
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pika.adapters.blocking_connection import BlockingChannel

from messages import topology
from messages import topology_before as before
from tests.integration.nodes import TestBroker, running_rabbit
from web.broker.retire import NotRetired
from web.broker.retire import retire as retired

VHOST = topology.VHOST


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBroker]:
    with running_rabbit(tmp_path_factory.mktemp("upgraded") / "rabbit") as broker:
        yield broker


@pytest.fixture
def upgraded(broker: TestBroker, tmp_path: Path) -> TestBroker:
    """A broker that holds both topologies, as one that was there before does."""
    file = tmp_path / "upgrade.json"
    file.write_text(before.rendered(), "utf-8")
    broker.node.ctl("import_definitions", str(file))
    return broker


@pytest.fixture
def admin(upgraded: TestBroker) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(upgraded.url("admin")))
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    connection.close()


def names(broker: TestBroker, kind: str) -> set[str]:
    return set(broker.node.ctl("-q", "-p", VHOST, f"list_{kind}", "name").split())


def retire(broker: TestBroker, tmp_path: Path, user: str = "admin") -> str:
    file = tmp_path / "url"
    file.write_text(broker.url(user) + "\n", "utf-8")
    out = io.StringIO()
    call_command("retire_topology", str(file), pause=0.05, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("pool", topology.POOLS)
def test_an_old_site_hears_new_labs_and_new_labs_an_old_site(
    admin: BlockingChannel, pool: str
) -> None:
    control = topology.control_exchange(pool)
    heard = admin.queue_declare("", exclusive=True).method.queue
    old = admin.queue_declare("", exclusive=True).method.queue
    admin.queue_bind(heard, control)
    admin.queue_bind(old, before.CONTROL)
    for exchange in (control, before.CONTROL):
        admin.basic_publish(exchange, "", b"{}", mandatory=True)
        # Once each, though two ways lead there.
        for queue in (heard, old):
            assert admin.basic_get(queue, auto_ack=True)[0] is not None
            assert admin.basic_get(queue, auto_ack=True)[0] is None
    for key, new_queue, old_queue in (
        ("request.completed", topology.replies_queue(pool), before.REPLIES_QUEUE),
        ("lab.heartbeat", topology.progress_queue(pool), before.PROGRESS_QUEUE),
    ):
        admin.basic_publish(topology.events_exchange(pool), key, b"{}", mandatory=True)
        for queue in (new_queue, old_queue):
            assert admin.basic_get(queue, auto_ack=True)[0] is not None
            assert admin.basic_get(queue, auto_ack=True)[0] is None


@pytest.mark.django_db(transaction=True)
def test_it_refuses_while_messages_lie_there_and_then_takes_all_away(
    upgraded: TestBroker, admin: BlockingChannel, tmp_path: Path
) -> None:
    old_queues, old_exchanges = set(before.queue_names()), set(before.exchange_names())
    assert old_queues <= names(upgraded, "queues")
    admin.basic_publish(before.retry_exchange("10m"), "lab.m", b"{}", mandatory=True)
    with pytest.raises(CommandError, match=r"mri\.retry\.10m\.lab \(1\)"):
        retire(upgraded, tmp_path)
    admin.queue_purge(before.retry_queue("10m", "lab"))
    # From RabbitMQ 4.2.7 on it is refused sooner: the queue is not even shown to it.
    with pytest.raises(CommandError, match=r"may not (delete exchange|see queue) mri\."):
        retire(upgraded, tmp_path, user="lab1")
    assert old_queues <= names(upgraded, "queues")
    assert old_exchanges <= names(upgraded, "exchanges")
    said = retire(upgraded, tmp_path)
    assert set(said.split()) >= old_queues | old_exchanges
    assert not old_queues & names(upgraded, "queues")
    assert not old_exchanges & names(upgraded, "exchanges")
    assert {q.name for q in topology.queues()} <= names(upgraded, "queues")
    assert retire(upgraded, tmp_path) == "there was nothing of the version before\n"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("queue", [before.REPLIES_QUEUE, before.PROGRESS_QUEUE])
def test_it_refuses_while_somebody_listens_who_may_hold_what_no_count_shows(
    upgraded: TestBroker, admin: BlockingChannel, tmp_path: Path, queue: str
) -> None:
    admin.basic_publish(before.EVENTS, "request.failed", b"{}", mandatory=True)
    admin.basic_publish(before.EVENTS, "lab.heartbeat", b"{}", mandatory=True)
    for name in (before.REPLIES_QUEUE, before.PROGRESS_QUEUE):
        if name != queue:
            admin.queue_purge(name)
    taken: list[bytes] = []
    admin.basic_consume(queue, lambda *message: taken.append(message[-1]))
    while not taken:
        admin.connection.process_data_events(time_limit=1)
    try:
        with pytest.raises(CommandError, match=rf"listens to {queue}, .*stop every process"):
            retire(upgraded, tmp_path)
        assert queue in names(upgraded, "queues")
    finally:
        for tag in admin.consumer_tags:
            admin.basic_cancel(tag)
        if queue in names(upgraded, "queues"):
            admin.basic_nack(0, multiple=True, requeue=False)


def test_it_looks_more_than_once_for_what_comes_back_into_a_queue(
    upgraded: TestBroker, admin: BlockingChannel
) -> None:
    queue = before.PROGRESS_QUEUE
    admin.basic_publish(before.EVENTS, "lab.heartbeat", b"{}", mandatory=True)
    taken = admin.basic_get(queue)
    with ThreadPoolExecutor(1) as aside:
        # Held without a consumer, it is in no number until it is handed back.
        looking = aside.submit(
            asyncio.run,
            retired(upgraded.url("admin"), topology.POOLS, looks=20, pause=0.2),
        )
        time.sleep(1.5)
        assert not looking.done()
        admin.basic_nack(taken[0].delivery_tag, requeue=True)
        with pytest.raises(NotRetired, match=r"mri\.progress \(1\)"):
            looking.result(60)
    assert queue in names(upgraded, "queues")
    admin.queue_purge(queue)


def test_no_address_is_an_argument_and_a_wrong_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("retire_topology", str(tmp_path / "missing"))
    wrong = tmp_path / "wrong"
    wrong.write_text(json.dumps({}), "utf-8")
    with pytest.raises(CommandError, match="must hold one amqp"):
        call_command("retire_topology", str(wrong))
