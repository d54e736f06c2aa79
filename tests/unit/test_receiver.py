"""What is learnt of a delivery from the broker's headers, and where an unread one comes back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pika
import pytest
from pika.spec import Basic

from consumer.amqp.acks import AckTable, LegalAck
from consumer.amqp.in_flight import InFlight, WorkItem
from consumer.amqp.intake import Intake, Receiver
from messages import codec
from messages.envelope import ACQUIRED_COUNT_HEADER, DELIVERY_COUNT_HEADER, Wire
from messages.request import InferenceRequested
from messages.topology import queues
from tests.unit.job_bench import request

#: Far in the future: a message of a newer version waits for a newer lab.
LATER = 4_000_000_000


@dataclass
class Channel:
    rejected: list[tuple[int, bool]] = field(default_factory=list)

    def basic_ack(self, delivery_tag: int) -> None:
        raise AssertionError("nothing is settled here")

    def basic_reject(self, delivery_tag: int, requeue: bool) -> None:
        self.rejected.append((delivery_tag, requeue))


class Bench:
    def __init__(self) -> None:
        self.channel, self.acks, self.in_flight = Channel(), AckTable(), InFlight(at_once=1)
        self.acks.begin(self.channel)
        self.deferred: list[str] = []
        self.reception = Receiver(
            Intake(urls=[], pool="lab", prefetch=1, heartbeat=30, name="bench"),
            acks=self.acks,
            in_flight=self.in_flight,
            job=lambda *_: LegalAck.STORED,
            defer=self._defer,
            sync_cancels=lambda: None,
        )

    def _defer(self, _: Wire, key: str) -> LegalAck:
        self.deferred.append(key)
        return LegalAck.DEFERRED

    def receive(self, asked: InferenceRequested, headers: dict[str, Any]) -> WorkItem:
        wire = codec.encode(asked, app_id="test")
        properties = pika.BasicProperties(
            type=wire.type, content_type=wire.content_type, headers=headers
        )
        method = Basic.Deliver("tag", 1, False, "mri.requests", "lab.retried")
        self.reception.on_message(None, method, properties, wire.body)  # type: ignore[arg-type]
        (item,) = self.in_flight.not_begun
        return item


@pytest.mark.parametrize(
    ("headers", "count", "deaths"),
    [
        ({}, 0, 0),
        ({DELIVERY_COUNT_HEADER: 2}, 2, 2),
        # RabbitMQ 4.3: given out four times before, and once lost with its lab.
        ({DELIVERY_COUNT_HEADER: 1, ACQUIRED_COUNT_HEADER: 4}, 4, 1),
        ({ACQUIRED_COUNT_HEADER: 4}, 4, 0),
        ({DELIVERY_COUNT_HEADER: 3, ACQUIRED_COUNT_HEADER: 2}, 3, 3),
        # A sender may write into headers what it likes.
        ({DELIVERY_COUNT_HEADER: "many", ACQUIRED_COUNT_HEADER: True}, 0, 0),
        ({DELIVERY_COUNT_HEADER: -1, ACQUIRED_COUNT_HEADER: 2**63}, 1_000_000, 0),
    ],
)
def test_a_run_tells_under_the_larger_count_and_is_a_suspect_by_its_deaths(
    headers: dict[str, Any], count: int, deaths: int
) -> None:
    item = Bench().receive(request(), headers)
    assert (item.count, item.deaths) == (count, deaths)


@pytest.mark.parametrize("by_rule", [False, True])
def test_an_unread_message_comes_back_to_the_queue_that_it_came_from(by_rule: bool) -> None:
    bench = Bench()
    properties = pika.BasicProperties(type="inference.requested.v9", timestamp=LATER)
    if by_rule:
        bench.reception.on_rule(7, properties, b"{}")
    else:
        # Its routing key says nothing: everything that comes back from a tier has such a one.
        method = Basic.Deliver("tag", 7, False, "mri.requests", "rules.lab.retried")
        bench.reception.on_message(None, method, properties, b"{}")  # type: ignore[arg-type]
    (item,) = bench.in_flight.not_begun
    item.work()
    (key,) = bench.deferred
    prefix = "rules.lab." if by_rule else "lab."
    assert key.startswith(prefix)
    bound = [
        key
        for queue in queues(("lab",))
        if queue.name == f"mri.retry.lab.2m{'.rules' if by_rule else ''}"
        for _, key in queue.bindings
    ]
    assert bound == [f"{prefix}#"]


def test_a_request_for_another_pool_is_rejected_from_either_queue() -> None:
    bench = Bench()
    wire = codec.encode(request(pool="server"), app_id="test")
    properties = pika.BasicProperties(type=wire.type, content_type=wire.content_type)
    method = Basic.Deliver("tag", 1, False, "mri.requests", "lab.m")
    bench.reception.on_message(None, method, properties, wire.body)  # type: ignore[arg-type]
    bench.reception.on_rule(2, properties, wire.body)
    assert bench.channel.rejected == [(1, False), (2, False)]
    assert not len(bench.in_flight)


@pytest.mark.parametrize(
    "field",
    [
        {"attempt": 2**63},
        {"deadline_s": 2**31},
        {"retries": 10**7},
        {"model": "x" * 64},
        {"threshold": float("nan")},
        {"inputs": []},
        {"number": 0},
    ],
    ids=str,
)
def test_a_request_out_of_bounds_is_rejected_and_nothing_is_taken_in_hand(
    field: dict[str, Any],
) -> None:
    bench = Bench()
    body = json.dumps({**request().model_dump(mode="json", exclude_none=True), **field}).encode()
    properties = pika.BasicProperties(type="inference.requested.v1")
    bench.reception.on_rule(1, properties, body)
    assert bench.channel.rejected == [(1, False)]
    assert not len(bench.in_flight)
