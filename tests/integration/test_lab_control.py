"""The control queue on a real broker: what a job thread may rely on before it uploads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from uuid import UUID, uuid4

import pika
import pytest

from consumer.amqp import link
from consumer.amqp.control import CancelSync, ControlQueue
from consumer.amqp.errors import BrokerUnavailable, TopologyMissing
from consumer.errors import LabStopping
from infra.local.process import wait_until
from messages import codec
from messages.control import CancelRequested
from messages.topology import CONTROL_QUEUES, VHOST, control_exchange, control_queues
from tests.integration.lab import Clinic
from tests.integration.nodes import LABS, TestBroker

#: Cancels that are sent just before the lab asks; each one heard too late would show.
ROUNDS = 200

#: Cancels that a lab takes from the broker in one turn.
AT_ONCE = 100


@contextmanager
def listening(
    rabbit: TestBroker, heard: list[UUID], lab: str = "lab1", *, first: bool = True
) -> Iterator[tuple[pika.BlockingConnection, ControlQueue]]:
    def cancel(request_id: UUID) -> bool:
        heard.append(request_id)
        return True

    connection = link.connect(
        [rabbit.url(lab if lab in LABS else "lab1")], heartbeat=30, name="test"
    )
    try:
        yield connection, ControlQueue(connection, lab=lab, pool="lab", cancel=cancel, first=first)
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
            channel.basic_publish(control_exchange("lab"), "", wire.body, properties)
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
        assert control.is_consuming
    assert heard == [request_id]


def test_a_job_thread_waits_for_the_answer_also_over_the_loss_of_a_connection(
    rabbit: TestBroker, clinic: Clinic
) -> None:
    heard: list[UUID] = []
    asked = threading.Event()
    cancel_sync = CancelSync(wake=asked.set)
    seen: list[int] = []
    job = threading.Thread(
        target=lambda: (cancel_sync.wait(), seen.append(len(heard))), daemon=True
    )
    with listening(rabbit, heard) as (connection, control):
        job.start()
        assert asked.wait(10)
        connection.close()
        with pytest.raises(pika.exceptions.AMQPError):
            cancel_sync.answer(control)
        assert job.is_alive()
    with listening(rabbit, heard) as (_, control):
        clinic.cancel(uuid4())
        cancel_sync.answer(control)
        job.join(10)
    assert seen == [1]


def test_whoever_waits_when_the_lab_stops_is_told_so() -> None:
    asked = threading.Event()
    cancel_sync = CancelSync(wake=asked.set)
    ended: list[str] = []

    def wait() -> None:
        try:
            cancel_sync.wait()
        except LabStopping:
            ended.append("stopping")

    job = threading.Thread(target=wait, daemon=True)
    job.start()
    assert asked.wait(10)
    cancel_sync.close()
    job.join(10)
    assert ended == ["stopping"]
    with pytest.raises(LabStopping):
        cancel_sync.wait()


def test_a_lab_name_that_the_permissions_do_not_know_is_one_sentence(rabbit: TestBroker) -> None:
    with (
        pytest.raises(TopologyMissing, match=r"may not read mri\.control\.x\.1: compare LAB_NAME"),
        listening(rabbit, [], lab="x"),
    ):
        pass


def test_each_process_of_a_lab_hears_every_cancel_in_a_queue_of_its_own(
    rabbit: TestBroker, clinic: Clinic
) -> None:
    first: list[UUID] = []
    second: list[UUID] = []
    request_id = uuid4()
    with listening(rabbit, first) as (_, one), listening(rabbit, second) as (_, other):
        assert (one.queue, other.queue) == ("mri.control.lab1.1", "mri.control.lab1.2")
        clinic.cancel(request_id)
        one.catch_up()
        other.catch_up()
    assert first == second == [request_id]


def test_a_process_too_many_says_so_and_the_place_of_one_that_ended_is_free_again(
    rabbit: TestBroker,
) -> None:
    with ExitStack() as processes:
        for _ in range(CONTROL_QUEUES - 1):
            processes.enter_context(listening(rabbit, []))
        with listening(rabbit, []) as (_, last):
            for first, error in ((True, TopologyMissing), (False, BrokerUnavailable)):
                with (
                    pytest.raises(error, match="All 6 control queues of lab1 are in use"),
                    listening(rabbit, [], first=first),
                ):
                    pass
            taken = last.queue

        def free() -> bool:
            # The broker forgets a consumer a moment after its connection.
            try:
                with listening(rabbit, []) as (_, again):
                    return again.queue == taken
            except TopologyMissing:
                return False

        wait_until(free, "have the place back", 30)


def test_a_lab_whose_queues_nobody_installed_says_who_makes_them(rabbit: TestBroker) -> None:
    queues = [queue.name for queue in control_queues("lab2", "lab")]
    for queue in queues:
        rabbit.node.ctl("-q", "-p", VHOST, "delete_queue", queue)
    try:
        with (
            pytest.raises(TopologyMissing, match=r"do not exist \(mri\.control\.lab2\.1 ") as said,
            listening(rabbit, [], lab="lab2"),
        ):
            pass
        assert "`mri-web lab add lab2 --pool lab`" in str(said.value)
        assert "import_definitions /etc/rabbitmq/" in str(said.value)
    finally:
        rabbit.node.ctl("-q", "import_definitions", str(rabbit.node.root / "definitions.json"))
    with listening(rabbit, [], lab="lab2") as (_, control):
        assert control.queue == queues[0]


def test_a_cancel_that_came_while_the_lab_was_away_is_heard_and_only_once(
    rabbit: TestBroker, clinic: Clinic
) -> None:
    request_id = uuid4()
    clinic.cancel(request_id)
    heard: list[UUID] = []
    with listening(rabbit, heard) as (_, control):
        control.catch_up()
    assert heard == [request_id]
    with listening(rabbit, heard) as (_, control):
        control.catch_up()
    assert heard == [request_id]


def test_a_flood_of_cancels_leaves_the_lab_its_turns(rabbit: TestBroker) -> None:
    """From the position of a site that was taken over: nobody else may write to these queues."""
    ended = threading.Event()

    def flood() -> None:
        with closing(pika.BlockingConnection(pika.URLParameters(rabbit.url("web")))) as web:
            channel = web.channel()
            while not ended.is_set():
                wire = codec.encode(CancelRequested(request_id=uuid4()), app_id="test")
                properties = pika.BasicProperties(content_type=wire.content_type, type=wire.type)
                for _ in range(50):
                    channel.basic_publish(control_exchange("lab"), "", wire.body, properties)

    heard: list[UUID] = []
    flooding = threading.Thread(target=flood, daemon=True)
    with listening(rabbit, heard) as (connection, control):
        flooding.start()
        try:
            wait_until(lambda: _ready(rabbit, control.queue) > AT_ONCE, "fill the queue", 30)
            for _ in range(20):
                before = len(heard)
                connection.process_data_events(time_limit=1)
                assert len(heard) - before <= AT_ONCE
                control.acknowledge()
            # It never ends, and this does.
            control.catch_up()
            assert not ended.is_set()
        finally:
            ended.set()
            flooding.join(30)


def _ready(rabbit: TestBroker, queue: str) -> int:
    # Not as the site: from RabbitMQ 4.2.7 on a queue is shown to who has a right on it.
    with closing(pika.BlockingConnection(pika.URLParameters(rabbit.url("admin")))) as admin:
        return int(admin.channel().queue_declare(queue, passive=True).method.message_count)
