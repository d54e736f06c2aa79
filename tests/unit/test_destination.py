"""What one destination does not take waits alone, and is tried with one row at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from messages.topology import REQUESTS, control_exchange
from tests.integration.web_requests import write_request
from web.broker import leases
from web.broker.destination import (
    BATCH,
    LONGEST_TRIAL_PAUSE,
    QUIET_SECONDS,
    SILENT_SECONDS,
    Destination,
    destination_of,
)
from web.inference.models import Outbox


class Flight:
    """Stands for the task that waits for a confirm."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def sent(destination: Destination, rows: Sequence[int], now: float) -> list[Flight]:
    flights = [Flight() for _ in rows]
    for row, flight in zip(rows, flights, strict=True):
        task: Any = flight
        destination.sent(row, task, now)
    return flights


def marked(destination: Destination) -> None:
    destination.flying.clear()


def said(logs: list[Any], event: str) -> int:
    return sum(entry["event"] == event for entry in logs)


@pytest.mark.parametrize(
    ("exchange", "key", "name"),
    [
        (REQUESTS, "lab.breast", "mri.requests.lab"),
        (REQUESTS, "rules.lab.breast", "mri.rules.lab"),
        (control_exchange("lab"), "", "mri.control.lab"),
    ],
)
def test_readers_rules_and_cancels_of_each_pool_stand_or_fall_alone(
    exchange: str, key: str, name: str
) -> None:
    assert destination_of(exchange, key) == name


def test_a_full_queue_gets_one_row_at_a_time_after_pauses_that_grow_and_is_named_once() -> None:
    destination, now, pauses = Destination("mri.requests.lab"), 100.0, []
    with capture_logs() as logs:
        sent(destination, range(BATCH), now)
        for row in range(BATCH):
            destination.refused(row, now, "refused")
        for _ in range(30):
            assert destination.room(now) == 0
            pauses.append(destination.again_at - now)
            now = destination.again_at
            assert destination.room(now) == 1
            sent(destination, [0], now)
            # One trial, however long it takes.
            assert destination.room(now + 5) == 0
            destination.refused(0, now, "refused")
    assert pauses[0] <= 2
    assert max(pauses[10:]) > 4
    assert max(pauses) <= LONGEST_TRIAL_PAUSE + 0.001
    assert said(logs, "publish_held") == 1


def test_a_queue_that_takes_again_gets_more_with_each_confirm_and_that_is_said_after_a_while() -> (
    None
):
    destination, now, widths = Destination("mri.requests.lab"), 100.0, []
    with capture_logs() as logs:
        sent(destination, [1], now)
        destination.refused(1, now, "refused")
        destination.returned.clear()
        now = destination.again_at
        while (room := destination.room(now)) < BATCH and len(widths) < BATCH:
            widths.append(room)
            sent(destination, range(room), now)
            for row in range(room):
                destination.confirmed(row, now)
            marked(destination)
            destination.look(now)
        assert said(logs, "publish_resumed") == 0
        destination.look(now + QUIET_SECONDS)
        assert said(logs, "publish_resumed") == 1
    assert widths[0] == 1
    assert all(after > before for before, after in pairwise(widths))


def test_a_confirm_among_refusals_ends_no_trouble() -> None:
    destination = Destination("mri.requests.lab")
    sent(destination, [1, 2, 3], 100.0)
    destination.refused(2, 100.0, "refused")
    destination.confirmed(1, 100.0)
    destination.confirmed(3, 100.0)
    assert destination.held
    assert destination.returned == [2]
    assert destination.room(100.0) == 0


def test_answers_that_come_late_end_the_trouble_without_a_second_message() -> None:
    destination = Destination("mri.requests.lab")
    flights = sent(destination, [1, 2], 100.0)
    destination.hold(111.0, "unconfirmed")
    assert destination.room(150.0) == 0
    destination.confirmed(1, 150.0)
    destination.confirmed(2, 150.0)
    assert not destination.held
    assert destination.returned == []
    assert not any(flight.cancelled for flight in flights)


def test_what_stays_without_an_answer_is_sent_again_ever_more_rarely() -> None:
    destination, now, waits = Destination("mri.requests.lab"), 100.0, []
    for _ in range(7):
        (flight,) = sent(destination, [1], now)
        assert destination.owes(now + 5) == 5
        waits.append(destination.time_budget)
        now += destination.time_budget
        destination.give_up(now)
        assert flight.cancelled
        assert destination.owes(now) == 0
        assert destination.returned == [1]
        destination.returned.clear()
        now = destination.again_at
        assert destination.room(now) == 1
    assert waits == [SILENT_SECONDS * n for n in (1, 2, 4, 8, 16, 16, 16)]


def test_another_connection_is_tried_at_once_and_with_one_row() -> None:
    destination = Destination("mri.requests.lab")
    sent(destination, [1, 2], 100.0)
    destination.refused(1, 100.0, "refused")
    destination.connection_ended()
    assert destination.room(100.0) == 1


@pytest.mark.django_db
def test_thousands_of_rows_of_one_pool_stand_before_no_row_of_another() -> None:
    crowd = [write_request("lab") for _ in range(30)]
    late = write_request("server")

    taken = [row.request_id for row in leases.take(uuid4(), 10)]
    assert taken == [row.pk for row in (*crowd[:10], late)]

    rooms = {"mri.requests.lab": 0}
    assert leases.take(uuid4(), 10, rooms) == []
    rooms = {"mri.requests.lab": 1}
    assert [row.request_id for row in leases.take(uuid4(), 10, rooms)] == [crowd[10].pk]


@pytest.mark.django_db
def test_a_row_that_was_not_taken_is_free_and_the_oldest_again() -> None:
    write_request()
    lease = uuid4()
    (row,) = leases.take(lease, 10)
    leases.free(uuid4(), [row.pk])
    assert leases.take(lease, 10) == []
    leases.free(lease, [row.pk])
    assert leases.take(lease, 10) == [row]
    assert Outbox.objects.get().attempted
