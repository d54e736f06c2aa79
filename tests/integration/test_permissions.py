"""What a lab's user may not do, asked of the real broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker

from messages import topology
from tests.integration.nodes import TestBroker


@pytest.fixture
def channel(rabbit: TestBroker) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(rabbit.url("lab1")))
    channel = connection.channel()
    channel.confirm_delivery()
    yield channel
    if connection.is_open:
        connection.close()


def publish(exchange: str, key: str, **properties: Any) -> Callable[[BlockingChannel], object]:
    return lambda channel: channel.basic_publish(
        exchange, key, b"{}", pika.BasicProperties(**properties), mandatory=True
    )


def consume(queue: str) -> Callable[[BlockingChannel], object]:
    return lambda channel: channel.basic_get(queue)


FORBIDDEN: dict[str, Callable[[BlockingChannel], object]] = {
    "read replies": consume(topology.REPLIES_QUEUE),
    "read progress": consume(topology.PROGRESS_QUEUE),
    "read dead letters": consume(topology.DEAD_QUEUE),
    "read another pool's work": consume(topology.requests_queue("server")),
    "read a retry tier": consume(topology.retry_queue("30s", "lab")),
    "write requests": publish(topology.REQUESTS, "lab.m"),
    "write another pool through a tier": publish(topology.retry_exchange("30s"), "server.m"),
    "write dead letters": publish(topology.DEAD, "lab.m"),
    "write past the exchanges": publish("", topology.requests_queue("server")),
    "cancel others' work": publish(topology.CONTROL, ""),
    "speak as another user": publish(topology.EVENTS, "request.accepted", user_id="web"),
    "declare a durable queue": lambda c: c.queue_declare("mine", durable=True),
    "declare a durable exchange": lambda c: c.exchange_declare("mine", "topic", durable=True),
    "delete its pool's queue": lambda c: c.queue_delete(topology.requests_queue("lab")),
    "purge its pool's queue away from others": lambda c: c.queue_purge(
        topology.requests_queue("server")
    ),
    "take another lab's control queue": lambda c: c.queue_declare(
        "mri.control.lab2.x", exclusive=True
    ),
}


@pytest.mark.parametrize("deed", FORBIDDEN, ids=str)
def test_a_lab_may_not(channel: BlockingChannel, deed: str) -> None:
    with pytest.raises(ChannelClosedByBroker) as refusal:
        FORBIDDEN[deed](channel)
    # 403 ACCESS_REFUSED; 406 PRECONDITION_FAILED is the broker's answer to a false user_id.
    assert refusal.value.reply_code == (406 if deed == "speak as another user" else 403)


def test_a_lab_may_do_what_its_work_needs(channel: BlockingChannel, rabbit: TestBroker) -> None:
    control = channel.queue_declare("mri.control.lab1.test", exclusive=True).method.queue
    channel.queue_bind(control, topology.CONTROL)
    channel.queue_declare(topology.requests_queue("lab"), passive=True)
    publish(topology.EVENTS, "lab.heartbeat", user_id="lab1")(channel)
    publish(topology.retry_exchange("10m"), "lab.m", user_id="lab1")(channel)
    rabbit.node.ctl("-q", "-p", topology.VHOST, "purge_queue", topology.PROGRESS_QUEUE)
    rabbit.node.ctl("-q", "-p", topology.VHOST, "purge_queue", topology.retry_queue("10m", "lab"))


def test_there_is_no_guest(rabbit: TestBroker) -> None:
    url = rabbit.node.url("guest", "guest")
    with pytest.raises(AMQPConnectionError):
        pika.BlockingConnection(pika.URLParameters(url))
