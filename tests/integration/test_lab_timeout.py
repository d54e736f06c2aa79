"""A delivery that the broker would not wait longer for, and the two labs that then have it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from consumer.amqp.acks import LegalAck
from infra.local.process import ServiceFailed, wait_until
from messages import topology
from messages.identity import event_id
from tests.integration.lab import QUEUE, Clinic
from tests.integration.nodes import TestBroker, running_rabbit
from tests.integration.test_lab_worker import LONG, after, request, working

#: RabbitMQ 3.10 and 3.11: for all queues, looked at each second. The others look each second too.
SHORT = "[{rabbit, [{consumer_timeout, 4000}, {channel_tick_interval, 1000}]}]."

#: The others: for these queues. The smaller of it and of the queue's own argument counts.
MILLISECONDS = 4000


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBroker]:
    """A broker that gives a delivery four seconds, whatever its version."""
    root: Path = tmp_path_factory.mktemp("impatient")
    with running_rabbit(root, advanced=SHORT) as broker:
        (policy,) = (one for one in topology.POLICIES if one.name == "mri-requests")
        shorter = json.dumps({**policy.definition, "consumer-timeout": MILLISECONDS})
        # 3.10 and 3.11 do not know the key: there it is the node's setting.
        with suppress(ServiceFailed):
            broker.node.ctl(
                *("-q", "-p", topology.VHOST, "set_policy", "--apply-to", "queues"),
                *(policy.name, policy.pattern, shorter),
            )
        yield broker


def test_two_labs_that_run_one_delivery_after_a_consumer_timeout_tell_under_two_identities(
    impatient: TestBroker,
) -> None:
    clinic, asked, release = Clinic(impatient), request(), threading.Event()
    script = {asked.request_id: after(release, LegalAck.STORED)}
    with (
        working(impatient, prefetch=1, lab="lab1", scripts=script) as first,
        working(impatient, prefetch=1, lab="lab2", scripts=script) as second,
    ):
        try:
            first.thread.start()
            clinic.ask(asked)
            wait_until(lambda: first.has_begun(asked), "begin it", LONG)
            # The first one's work goes on: nobody can know that it will not end.
            second.thread.start()
            wait_until(lambda: second.has_begun(asked), "give it to the other", LONG)
        finally:
            release.set()
        runs = [*first.began, *second.began]
        wait_until(
            lambda: len(first.worker.in_flight) == len(second.worker.in_flight) == 0,
            "settle it",
            LONG,
        )
    assert [request_id for request_id, _ in runs] == [asked.request_id] * 2
    identities = {event_id(asked.request_id, asked.attempt, count, 0) for _, count in runs}
    assert len(identities) == 2, runs
    assert first.began[0][1] == 0 < second.began[0][1]
    wait_until(lambda: clinic.ready(QUEUE) == 0, "be settled", 30)
