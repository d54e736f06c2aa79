"""What rules ask for, on a real broker: taken while a place is free and no reader waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from structlog.testing import capture_logs

from consumer.amqp.acks import LegalAck
from infra.local.process import wait_until
from messages import topology
from tests.integration.lab import QUEUE, RULES_QUEUE, Clinic
from tests.integration.nodes import TestBroker
from tests.integration.test_lab_worker import LONG, after, request, working


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What the jobs of a test wait for; at its end they need not."""
    event = threading.Event()
    yield event
    event.set()


def test_what_a_rule_asked_for_waits_for_all_that_readers_ask(
    rabbit: TestBroker, clinic: Clinic, release: threading.Event
) -> None:
    rule, *readers = request(by_rule=True), request(), request(), request()
    with working(rabbit, prefetch=1) as bench:
        bench.scripts = {one.request_id: lambda _: LegalAck.STORED for one in (rule, *readers)}
        bench.scripts[readers[0].request_id] = after(release, LegalAck.STORED)
        bench.thread.start()
        clinic.ask(readers[0])
        wait_until(lambda: bench.has_begun(readers[0]), "begin the first", LONG)
        clinic.ask(rule)
        for reader in readers[1:]:
            clinic.ask(reader)
        release.set()
        wait_until(lambda: bench.has_begun(rule), "come to the rule", LONG)
        wait_until(lambda: len(bench.worker.in_flight) == 0, "settle it", LONG)
    asked = [*(reader.request_id for reader in readers), rule.request_id]
    assert [request_id for request_id, _ in bench.began] == asked
    assert clinic.ready(RULES_QUEUE) == clinic.ready(QUEUE) == 0


def test_a_rule_in_hand_goes_on_and_a_reader_who_comes_then_is_left_to_a_lab_that_is_free(
    rabbit: TestBroker, clinic: Clinic, release: threading.Event
) -> None:
    rule, reader = request(by_rule=True), request()
    with working(rabbit, prefetch=1) as bench:
        bench.scripts = {
            rule.request_id: after(release, LegalAck.STORED),
            reader.request_id: lambda _: LegalAck.STORED,
        }
        bench.thread.start()
        clinic.ask(rule)
        wait_until(lambda: bench.has_begun(rule), "begin what the rule asked", LONG)
        wait_until(lambda: bench.consumers() == 0, "take no reader's beside it", LONG)
        clinic.ask(reader)
        assert clinic.ready(QUEUE) == 1
        assert not bench.has_begun(reader)
        release.set()
        wait_until(lambda: bench.has_begun(reader), "take it then", LONG)
        assert [count for _, count in bench.began] == [0, 0]


def test_what_rules_ask_for_takes_up_places_that_the_broker_fills_only_once(
    rabbit: TestBroker, clinic: Clinic, release: threading.Event
) -> None:
    first, second, third = (request(by_rule=True) for _ in range(3))
    readers = [request(), request()]
    with working(rabbit, prefetch=2) as bench:
        for one in (first, second, third, *readers):
            bench.scripts[one.request_id] = after(release, LegalAck.STORED)
        bench.thread.start()
        clinic.ask(first)
        wait_until(lambda: bench.has_begun(first), "begin one", LONG)
        for reader in readers:
            clinic.ask(reader)
        wait_until(lambda: len(bench.began) == 2, "begin one beside it", LONG)
        # The other is not held back by this lab.
        wait_until(lambda: clinic.ready(QUEUE) == 1, "leave the other", LONG)
        clinic.ask(second)
        release.set()
        wait_until(lambda: len(bench.began) == 4, "do them all", LONG)
        wait_until(lambda: len(bench.worker.in_flight) == 0, "settle them", LONG)
    began = [request_id for request_id, _ in bench.began]
    asked = {first.request_id, *(reader.request_id for reader in readers)}
    assert set(began[:3]) == asked
    assert began[3] == second.request_id


def test_rules_fill_every_place_of_a_lab_while_no_reader_waits(
    rabbit: TestBroker, clinic: Clinic, release: threading.Event
) -> None:
    rules = [request(by_rule=True) for _ in range(3)]
    with working(rabbit, prefetch=2) as bench:
        bench.scripts = {one.request_id: after(release, LegalAck.STORED) for one in rules}
        for rule in rules:
            clinic.ask(rule)
        bench.thread.start()
        wait_until(lambda: len(bench.began) == 2, "fill both places", LONG)
        assert clinic.ready(RULES_QUEUE) == 1
        release.set()
        wait_until(lambda: len(bench.began) == 3, "take the last", LONG)
        wait_until(lambda: len(bench.worker.in_flight) == 0, "settle it", LONG)


def test_what_a_rule_asked_for_is_settled_also_when_the_connection_was_lost_meanwhile(
    rabbit: TestBroker, clinic: Clinic, release: threading.Event
) -> None:
    rule = request(by_rule=True)
    with working(rabbit, prefetch=1) as bench:
        bench.scripts = {rule.request_id: after(release, LegalAck.STORED)}
        bench.thread.start()
        clinic.ask(rule)
        wait_until(lambda: bench.has_begun(rule), "begin it", LONG)
        bench.cut()
        release.set()
        wait_until(lambda: clinic.ready(RULES_QUEUE) == 0, "take it again", LONG)
        wait_until(lambda: len(bench.worker.in_flight) == 0, "settle it", LONG)
    wait_until(lambda: clinic.ready(RULES_QUEUE) == 0, "hold no delivery", 30)


@contextmanager
def without_the_queue(rabbit: TestBroker) -> Iterator[None]:
    """As an installation of the version before has it."""
    rabbit.node.ctl("-q", "-p", topology.VHOST, "delete_queue", RULES_QUEUE)
    try:
        yield
    finally:
        rabbit.node.ctl("-q", "import_definitions", str(rabbit.node.root / "definitions.json"))


@contextmanager
def without_the_right(rabbit: TestBroker) -> Iterator[None]:
    """Somebody set the permissions by hand, and left it out."""
    own = topology.lab_permissions("lab1", "lab")

    def grant(read: str) -> None:
        rights = (own["configure"], own["write"], read)
        rabbit.node.ctl("-q", "set_permissions", "-p", topology.VHOST, "lab1", *rights)

    grant(own["read"].replace(r"|mri\.rules\.lab", ""))
    try:
        yield
    finally:
        grant(own["read"])


@pytest.mark.parametrize("lacking", [without_the_queue, without_the_right])
def test_a_lab_that_gets_nothing_from_rules_says_so_once_and_serves_the_readers(
    rabbit: TestBroker,
    clinic: Clinic,
    lacking: Callable[[TestBroker], AbstractContextManager[None]],
) -> None:
    readers = [request(), request()]
    if lacking is without_the_right:
        clinic.ask(request(by_rule=True))
    with capture_logs() as logs, lacking(rabbit), working(rabbit, prefetch=1) as bench:
        bench.scripts = {one.request_id: lambda _: LegalAck.STORED for one in readers}
        bench.thread.start()

        def said() -> list[str]:
            return [line["event"] for line in logs if line["action"] == "rules.without"]

        wait_until(lambda: len(said()) == 1, "say so", LONG)
        clinic.ask(readers[0])
        wait_until(lambda: bench.has_begun(readers[0]), "serve the reader", LONG)
        bench.cut()
        clinic.ask(readers[1])
        wait_until(lambda: bench.has_begun(readers[1]), "serve the next", LONG)
        assert len(said()) == 1
        assert "only what readers ask for is taken" in said()[0]
    clinic.forget(RULES_QUEUE)


def test_a_newer_message_of_a_rule_waits_where_it_comes_back_to_the_rules(
    rabbit: TestBroker, clinic: Clinic
) -> None:
    keys: list[str] = []

    def defer(_: object, key: str) -> LegalAck:
        keys.append(key)
        return LegalAck.DEFERRED

    with working(rabbit, defer=defer) as bench:
        bench.thread.start()
        clinic.send_raw(b"{}", "rules.lab.m", type_="inference.requested.v9")
        wait_until(lambda: bool(keys), "put it off", LONG)
    assert keys == ["rules.lab.retried"]
