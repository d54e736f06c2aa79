"""The control queue on a real broker: what a job thread may rely on before it uploads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from uuid import UUID, uuid4

import pika
import pytest

from consumer.amqp import link
from consumer.amqp.control import Control
from consumer.amqp.errors import TopologyMissing
from consumer.amqp.hearing import Hearing
from consumer.errors import LabStopping
from infra.local.process import wait_until
from messages import codec
from messages.control import CancelRequested
from messages.topology import CONTROL
from tests.integration.lab import Clinic
from tests.integration.nodes import TestBroker

#: Cancels that are sent just before the lab asks; each one heard too late would show.
ROUNDS = 200

#: AMQP 0-9-1 reply codes.
NOT_FOUND, RESOURCE_LOCKED = 404, 405


@contextmanager
def listening(
    rabbit: TestBroker, heard: list[UUID], lab: str = "lab1"
) -> Iterator[tuple[pika.BlockingConnection, Control]]:
    def cancel(request_id: UUID) -> bool:
        heard.append(request_id)
        return True

    connection = link.connect([rabbit.url("lab1")], heartbeat=30, name="test")
    try:
        yield connection, Control(connection, lab=lab, cancel=cancel, first=True)
    finally:
        if connection.is_open:
            connection.close()


def test_what_the_broker_had_before_the_lab_asked_is_handled_when_it_has_its_answer(
    rabbit: TestBroker,
) -> None:
    heard: list[UUID] = []
    with (
        listening(rabbit, heard) as (_, control),
        closing(pika.BlockingConnection(pika.URLParameters(rabbit.url("web")))) as web,
    ):
        channel = web.channel()
        channel.confirm_delivery()
        for _ in range(ROUNDS):
            request_id = uuid4()
            wire = codec.encode(CancelRequested(request_id=request_id), app_id="test")
            properties = pika.BasicProperties(content_type=wire.content_type, type=wire.type)
            channel.basic_publish(CONTROL, "", wire.body, properties)
            control.catch_up()
            assert heard[-1:] == [request_id]


def test_what_is_no_cancel_is_dropped_and_the_next_one_is_heard(
    rabbit: TestBroker, clinic: Clinic
) -> None:
    heard: list[UUID] = []
    request_id = uuid4()
    with listening(rabbit, heard) as (_, control):
        clinic.control_raw(b"\x00garbage", type_="what.is.this")
        clinic.control_raw(b"{}", type_="cancel.requested.v2")
        clinic.control_raw(b"{}", type_="lab.heartbeat.v1")
        clinic.cancel(request_id)
        control.catch_up()
        assert control.hears
    assert heard == [request_id]


def test_a_job_thread_waits_for_the_answer_also_over_the_loss_of_a_connection(
    rabbit: TestBroker, clinic: Clinic
) -> None:
    heard: list[UUID] = []
    asked = threading.Event()
    hearing = Hearing(wake=asked.set)
    seen: list[int] = []
    job = threading.Thread(target=lambda: (hearing.ask(), seen.append(len(heard))), daemon=True)
    with listening(rabbit, heard) as (connection, control):
        job.start()
        assert asked.wait(10)
        connection.close()
        with pytest.raises(pika.exceptions.AMQPError):
            hearing.answer(control)
        assert job.is_alive()
    with listening(rabbit, heard) as (_, control):
        clinic.cancel(uuid4())
        hearing.answer(control)
        job.join(10)
    assert seen == [1]


def test_whoever_waits_when_the_lab_stops_is_told_so() -> None:
    asked = threading.Event()
    hearing = Hearing(wake=asked.set)
    ended: list[str] = []

    def ask() -> None:
        try:
            hearing.ask()
        except LabStopping:
            ended.append("stopping")

    job = threading.Thread(target=ask, daemon=True)
    job.start()
    assert asked.wait(10)
    hearing.close()
    job.join(10)
    assert ended == ["stopping"]
    with pytest.raises(LabStopping):
        hearing.ask()


def test_a_lab_name_that_the_permissions_do_not_know_is_one_sentence(rabbit: TestBroker) -> None:
    with (
        pytest.raises(TopologyMissing, match=r"may not make and read the queue mri\.control\.x\."),
        listening(rabbit, [], lab="x"),
    ):
        pass


def test_the_control_queue_goes_with_its_connection(rabbit: TestBroker, clinic: Clinic) -> None:
    with listening(rabbit, []) as (_, control):
        assert refusal(clinic, control.queue) == RESOURCE_LOCKED
    wait_until(lambda: refusal(clinic, control.queue) == NOT_FOUND, "delete the queue", 30)


def refusal(clinic: Clinic, queue: str) -> int:
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
        clinic.ready(queue)
    return int(refused.value.reply_code)
