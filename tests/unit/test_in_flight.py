"""What is in hand: told, cancelled, and begun in its turn."""

from __future__ import annotations

from uuid import uuid4

from consumer.amqp.acks import Delivery, LegalAck
from consumer.amqp.in_flight import InFlight, WorkItem
from messages.request import InferenceRequested, InputSeries

INPUT = InputSeries(
    role="image",
    series_id="-".join(["0123abcd"] * 5),
    series_uid="1.2.3",
    instance_count=1,
)


def request(**changes: object) -> InferenceRequested:
    values: dict[str, object] = {
        "request_id": uuid4(),
        "attempt": 1,
        "pool": "lab",
        "model": "m",
        "study_uid": "1.2",
        "inputs": (INPUT,),
        "deadline_s": 60,
        **changes,
    }
    return InferenceRequested.model_validate(values)


def work_item(
    of: InferenceRequested | None,
    *,
    tag: int = 1,
    count: int = 0,
    message_id: str | None = None,
    deaths: int = 0,
    by_rule: bool = False,
) -> WorkItem:
    return WorkItem(
        Delivery(1, tag, count, deaths, by_rule),
        of,
        work=lambda _: LegalAck.STORED,
        sync_cancels=lambda: None,
        message_id=message_id,
    )


def test_the_same_attempt_given_again_is_the_same_work_under_the_newer_count() -> None:
    in_flight = InFlight(at_once=2)
    asked = request()
    work = work_item(asked)
    in_flight.add(work)
    assert in_flight.find(asked) is work
    assert in_flight.find(asked.model_copy(update={"attempt": 2})) is None
    work.adopt(Delivery(2, 1, 4, 3))
    assert (work.count, len(in_flight)) == (4, 1)
    assert in_flight.quarantined == [work]


def test_what_a_reader_asked_for_begins_before_what_a_rule_asked_for() -> None:
    in_flight = InFlight(at_once=1)
    rule, reader = work_item(request(), by_rule=True), work_item(request())
    for work in (rule, reader):
        in_flight.add(work)
    assert in_flight.next_to_begin(healthy=True, closed=False) is reader
    in_flight.remove(reader)
    assert in_flight.next_to_begin(healthy=True, closed=False) is rule


def test_what_was_given_out_often_and_never_died_is_no_suspect() -> None:
    """RabbitMQ 4.3 counts a nack and a consumer timeout apart from a lost lab."""
    in_flight = InFlight(at_once=2)
    in_flight.add(work_item(request(), count=9))
    assert not in_flight.quarantined


def test_a_cancel_reaches_every_attempt_of_its_request_and_no_other() -> None:
    in_flight = InFlight(at_once=2)
    asked = request()
    works = [
        work_item(asked),
        work_item(asked.model_copy(update={"attempt": 2})),
        work_item(request()),
    ]
    for work in works:
        in_flight.add(work)
    assert in_flight.cancel(asked.request_id)
    assert [work.cancelled.is_set() for work in works] == [True, True, False]
    assert not in_flight.cancel(uuid4())


def test_a_message_put_off_waits_for_nothing_and_is_no_request() -> None:
    in_flight = InFlight(at_once=1)
    alone, deferred = work_item(request(), deaths=9), work_item(None)
    alone.begun = True
    in_flight.add(alone)
    in_flight.add(deferred)
    assert in_flight.next_to_begin(healthy=False, closed=False) is deferred
    assert in_flight.request_ids == (alone.request.request_id,) if alone.request else ()
    deferred.begun = True
    assert in_flight.next_to_begin(healthy=True, closed=True) is None
    in_flight.remove(deferred)
    assert len(in_flight) == 1


def test_an_unread_message_is_known_again_by_its_id_and_one_without_an_id_never() -> None:
    in_flight = InFlight(at_once=1)
    named, nameless, read = (
        work_item(None, message_id="a"),
        work_item(None),
        work_item(request(), message_id="b"),
    )
    for work in (named, nameless, read):
        in_flight.add(work)
    assert in_flight.find_message("a") is named
    assert in_flight.find_message("b") is None
    assert in_flight.find_message("c") is None
    assert in_flight.find_message(None) is None
    assert in_flight.find_message("") is None


def test_beside_a_suspect_only_what_is_on_its_way_is_let_in() -> None:
    in_flight = InFlight(at_once=2)
    assert in_flight.accepts_more(full=True)
    alone = work_item(request(), deaths=3)
    in_flight.add(alone)
    assert in_flight.accepts_more(full=False)
    assert not in_flight.accepts_more(full=True)
    alone.arrived -= 60
    assert not in_flight.accepts_more(full=False)
