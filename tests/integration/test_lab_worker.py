"""The consuming connection on a real broker, with jobs that do what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pika
import pytest
from structlog.testing import capture_logs

from consumer.amqp import link
from consumer.amqp.acks import LegalAck
from consumer.amqp.in_flight import WorkItem
from consumer.amqp.intake import Intake
from consumer.amqp.publisher import Publisher
from consumer.amqp.worker import Worker
from consumer.errors import LabStopping
from infra.local.process import wait_until
from messages import codec
from messages.control import CancelRequested
from messages.envelope import Wire
from messages.request import InferenceRequested, InputSeries
from messages.topology import REQUESTS, VHOST, events_exchange
from tests.integration.lab import QUEUE, Clinic
from tests.integration.nodes import TestBroker

#: Seconds of grace, and of a wait, that no test uses up.
LONG = 120.0

#: Deliveries of a suspect.
SUSPECT = 3


def request(*, by_rule: bool = False) -> InferenceRequested:
    series = InputSeries(
        role="image", series_id="-".join(["0123abcd"] * 5), series_uid="1.2.3", instance_count=1
    )
    return InferenceRequested(
        request_id=uuid4(),
        attempt=1,
        pool="lab",
        model="m",
        study_uid="1.2",
        inputs=(series,),
        deadline_s=60,
        by_rule=by_rule,
    )


@dataclass
class Bench:
    """A worker in a thread. A job does what `scripts` has for its request."""

    broker: TestBroker
    scripts: dict[UUID, Callable[[WorkItem], LegalAck]] = field(default_factory=dict)
    #: (request, delivery count) in the order in which jobs began.
    began: list[tuple[UUID, int]] = field(default_factory=list)
    defer: Callable[[Wire, str], LegalAck] = lambda *_: LegalAck.DEFERRED
    healthy: bool = True
    prefetch: int = 2
    lab: str = "lab1"
    draining: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        intake = Intake(
            urls=[self.broker.url(self.lab)],
            pool="lab",
            prefetch=self.prefetch,
            heartbeat=30,
            name="bench",
        )
        self.worker = Worker(
            intake,
            lab=self.lab,
            job=self._job,
            defer=self._defer,
            may_take=lambda: self.healthy,
            draining=self.draining,
        )
        self.thread = threading.Thread(
            target=self.worker.run,
            kwargs={"on_turn": lambda: None, "grace_seconds": LONG},
            daemon=True,
        )

    def _job(self, asked: InferenceRequested, held: WorkItem) -> LegalAck:
        self.began.append((asked.request_id, held.count))
        return self.scripts[asked.request_id](held)

    def _defer(self, wire: Wire, routing_key: str) -> LegalAck:
        return self.defer(wire, routing_key)

    def has_begun(self, asked: InferenceRequested) -> bool:
        return asked.request_id in {request_id for request_id, _ in self.began}

    def holds(self, *asked: InferenceRequested) -> bool:
        return {one.request_id for one in asked} == {*self.worker.in_flight.request_ids}

    def cut(self) -> None:
        """Close the worker's connection from the broker's side."""
        before = self.worker.generation
        self.broker.node.ctl("close_all_connections", "-p", VHOST, "a test")
        wait_until(lambda: self.worker.generation > before, "connect again", LONG)

    def consumers(self) -> int:
        """Consumers of the readers' queue."""
        with publishing(self.broker) as channel:
            return int(channel.queue_declare(QUEUE, passive=True).method.consumer_count)

    def ended(self) -> bool:
        return not self.thread.is_alive()


@contextmanager
def working(broker: TestBroker, **changes: Any) -> Iterator[Bench]:
    """A bench; its worker, if a test has started it, ends with the block."""
    bench = Bench(broker, **changes)
    try:
        yield bench
    finally:
        bench.worker.stop()
        bench.draining.set()
        if bench.thread.ident is not None:
            bench.thread.join(LONG)
        assert bench.ended()


@pytest.fixture
def bench(rabbit: TestBroker, clinic: Clinic) -> Iterator[Bench]:
    with working(rabbit) as bench:
        yield bench


def after(event: threading.Event, reason: LegalAck) -> Callable[[WorkItem], LegalAck]:
    def script(_: WorkItem) -> LegalAck:
        assert event.wait(LONG)
        return reason

    return script


def test_a_lab_that_stops_and_hears_no_cancels_lets_the_others_end_in_their_grace(
    bench: Bench, clinic: Clinic
) -> None:
    stored, asks, release, ask = request(), request(), threading.Event(), threading.Event()
    left: list[str] = []

    def ask_for_cancels(held: WorkItem) -> LegalAck:
        assert ask.wait(LONG)
        try:
            held.sync_cancels()
        except LabStopping:
            left.append("stopping")
            raise
        return LegalAck.STORED

    bench.scripts = {
        stored.request_id: after(release, LegalAck.STORED),
        asks.request_id: ask_for_cancels,
    }
    bench.thread.start()
    clinic.ask(stored)
    clinic.ask(asks)
    try:
        wait_until(lambda: len(bench.began) == 2, "begin both", LONG)
        with capture_logs() as logs:
            bench.worker.stop()
            wait_until(lambda: any(e["action"] == "broker.paused" for e in logs), "stop", LONG)
            consumed = bench.broker.node.ctl("-q", "-p", VHOST, "list_consumers", "queue_name")
            (control,) = [name for name in consumed.split() if name.startswith("mri.control.lab1.")]
            bench.broker.node.ctl("-p", VHOST, "delete_queue", control)
            ask.set()
            wait_until(lambda: bool(left), "end who can hear nothing", LONG)
            assert not bench.ended()
    finally:
        ask.set()
        release.set()
        put_back = bench.broker.node.root / "definitions.json"
        bench.broker.node.ctl("-q", "import_definitions", str(put_back))
    wait_until(bench.ended, "end", LONG)
    wait_until(lambda: clinic.ready(QUEUE) == 1, "have settled the other", LONG)
    assert bench.worker.unfinished == 1


def test_what_has_not_begun_when_the_connection_is_lost_begins_as_the_broker_gives_it(
    bench: Bench, clinic: Clinic
) -> None:
    suspect, neighbour, release = request(), request(), threading.Event()
    bench.scripts = {
        suspect.request_id: lambda _: LegalAck.STORED,
        neighbour.request_id: after(release, LegalAck.STORED),
    }
    clinic.ask(suspect)
    clinic.wear(QUEUE, "lab1", SUSPECT)
    clinic.ask(neighbour)
    bench.thread.start()
    wait_until(lambda: bench.has_begun(neighbour), "begin the neighbour", LONG)
    wait_until(lambda: bench.holds(suspect, neighbour), "hold both", LONG)
    # Nobody settles it: it ends while the broker has it again.
    release.set()
    bench.healthy = False
    bench.cut()
    bench.healthy = True
    wait_until(lambda: bench.has_begun(suspect), "begin the suspect", LONG)
    (count,) = {count for request_id, count in bench.began if request_id == suspect.request_id}
    assert count > SUSPECT
    bench.worker.stop()
    wait_until(bench.ended, "end", LONG)
    wait_until(lambda: clinic.ready(QUEUE) == 0, "have settled both", LONG)


def test_a_message_that_is_put_off_is_put_off_once_however_often_the_broker_gives_it(
    bench: Bench, clinic: Clinic
) -> None:
    calls: list[str] = []
    release = threading.Event()

    def defer(wire: Wire, _: str) -> LegalAck:
        calls.append(wire.message_id)
        assert release.wait(LONG)
        return LegalAck.DEFERRED

    bench.defer = defer
    bench.thread.start()
    with publishing(bench.broker) as channel:
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            type="inference.requested.v9",
            user_id="web",
            message_id="one",
            timestamp=2_000_000_000,
        )
        channel.basic_publish(REQUESTS, "lab.m", b"{}", properties, mandatory=True)
    with capture_logs() as logs:
        wait_until(lambda: len(calls) == 1, "put it off", LONG)
        for times in (1, 2):
            bench.cut()
            wait_until(
                lambda times=times: times == sum(e["action"] == "delivery.adopt" for e in logs),
                "be given it again",
                LONG,
            )
        release.set()
        wait_until(lambda: len(bench.worker.in_flight) == 0, "settle it", LONG)
    assert calls == ["one"]
    bench.worker.stop()
    wait_until(bench.ended, "end", LONG)
    assert clinic.ready(QUEUE) == 0


def test_a_lab_that_drains_without_its_archive_hands_back_what_has_not_begun(
    bench: Bench, clinic: Clinic
) -> None:
    suspect, waiting, leave = request(), request(), threading.Event()

    def wait_for_the_archive(_: WorkItem) -> LegalAck:
        assert leave.wait(LONG)
        raise LabStopping("the lab is stopping")

    bench.scripts = {waiting.request_id: wait_for_the_archive}
    clinic.ask(suspect)
    clinic.wear(QUEUE, "lab1", SUSPECT)
    clinic.ask(waiting)
    bench.thread.start()
    try:
        wait_until(lambda: bench.holds(suspect, waiting), "hold both", LONG)
        wait_until(lambda: bench.has_begun(waiting), "begin one", LONG)
        bench.healthy = False
        bench.draining.set()
        wait_until(lambda: clinic.ready(QUEUE) == 1, "hand back what has not begun", LONG)
        assert not bench.ended()
    finally:
        leave.set()
    wait_until(bench.ended, "end", LONG)
    wait_until(lambda: clinic.ready(QUEUE) == 2, "leave the other to the broker", LONG)
    assert bench.worker.unfinished == 2
    assert not bench.has_begun(suspect)


def test_a_fault_of_the_lab_is_not_called_a_broker_that_is_away(
    bench: Bench, clinic: Clinic
) -> None:
    broken = request()
    ends: list[BaseException | None] = [RuntimeError("a fault"), None]

    def once_broken(_: WorkItem) -> LegalAck:
        if error := ends.pop(0):
            raise error
        return LegalAck.STORED

    bench.scripts = {broken.request_id: once_broken}
    with capture_logs() as logs:
        bench.thread.start()
        clinic.ask(broken)
        wait_until(lambda: not ends, "try again", LONG)
        bench.worker.stop()
        wait_until(bench.ended, "end", LONG)
    actions = [line["action"] for line in logs]
    assert actions.count("lab.fault") == 1
    assert "broker.away" not in actions


class FlawedOnce(link.Brokers):
    """Connects for real; the first connection has no channel left to give."""

    def __init__(self, url: str) -> None:
        super().__init__([url])
        self.made: list[pika.BlockingConnection] = []

    def connect(self, *, heartbeat: int, name: str) -> pika.BlockingConnection:
        """See `link.Brokers.connect`."""
        connection = super().connect(heartbeat=heartbeat, name=name)
        if not self.made:
            channels = connection._impl.params.channel_max
            for _ in range(channels):
                connection.channel()
        self.made.append(connection)
        return connection


def test_a_publishing_connection_that_gives_no_channel_is_closed(
    rabbit: TestBroker, clinic: Clinic
) -> None:
    publisher = Publisher([rabbit.url("lab1") + "?channel_max=2"], heartbeat=30, name="test")
    brokers = FlawedOnce(rabbit.url("lab1") + "?channel_max=2")
    publisher._brokers = brokers
    publisher.start()
    try:
        wire = codec.encode(CancelRequested(request_id=uuid4()), app_id="test", user_id="lab1")
        publisher.publish(wire, exchange=events_exchange("lab"), routing_key="request.cancelled")
        first, second = brokers.made
        assert first.is_closed
        assert second.is_open
    finally:
        publisher.stop()


@contextmanager
def publishing(broker: TestBroker) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(broker.url("web")))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel
    finally:
        connection.close()
