"""What is in hand: told, cancelled, and begun in its turn."""

from __future__ import annotations

from uuid import uuid4

from consumer.amqp.acks import Delivery, LegalAck
from consumer.amqp.in_flight import Hand, InHand
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


def held(
    of: InferenceRequested | None,
    *,
    tag: int = 1,
    count: int = 0,
    message_id: str | None = None,
    deaths: int = 0,
    by_rule: bool = False,
) -> InHand:
    return InHand(
        Delivery(1, tag, count, deaths, by_rule),
        of,
        work=lambda _: LegalAck.STORED,
        hear_cancels=lambda: None,
        message_id=message_id,
    )


def test_the_same_attempt_given_again_is_the_same_work_under_the_newer_count() -> None:
    hand = Hand(at_once=2)
    asked = request()
    work = held(asked)
    hand.add(work)
    assert hand.same(asked) is work
    assert hand.same(asked.model_copy(update={"attempt": 2})) is None
    work.adopt(Delivery(2, 1, 4, 3))
    assert (work.count, len(hand)) == (4, 1)
    assert hand.suspects == [work]


def test_what_a_reader_asked_for_begins_before_what_a_rule_asked_for() -> None:
    hand = Hand(at_once=1)
    rule, reader = held(request(), by_rule=True), held(request())
    for work in (rule, reader):
        hand.add(work)
    assert hand.next_to_begin(healthy=True, closed=False) is reader
    hand.drop(reader)
    assert hand.next_to_begin(healthy=True, closed=False) is rule


def test_what_was_given_out_often_and_never_died_is_no_suspect() -> None:
    """RabbitMQ 4.3 counts a nack and a consumer timeout apart from a lost lab."""
    hand = Hand(at_once=2)
    hand.add(held(request(), count=9))
    assert not hand.suspects


def test_a_cancel_reaches_every_attempt_of_its_request_and_no_other() -> None:
    hand = Hand(at_once=2)
    asked = request()
    works = [held(asked), held(asked.model_copy(update={"attempt": 2})), held(request())]
    for work in works:
        hand.add(work)
    assert hand.cancel(asked.request_id)
    assert [work.cancelled.is_set() for work in works] == [True, True, False]
    assert not hand.cancel(uuid4())


def test_a_message_put_off_waits_for_nothing_and_is_no_request() -> None:
    hand = Hand(at_once=1)
    suspect, deferred = held(request(), deaths=9), held(None)
    suspect.begun = True
    hand.add(suspect)
    hand.add(deferred)
    assert hand.next_to_begin(healthy=False, closed=False) is deferred
    assert hand.current == (suspect.request.request_id,) if suspect.request else ()
    deferred.begun = True
    assert hand.next_to_begin(healthy=True, closed=True) is None
    hand.drop(deferred)
    assert len(hand) == 1


def test_an_unread_message_is_known_again_by_its_id_and_one_without_an_id_never() -> None:
    hand = Hand(at_once=1)
    named, nameless, read = (
        held(None, message_id="a"),
        held(None),
        held(request(), message_id="b"),
    )
    for work in (named, nameless, read):
        hand.add(work)
    assert hand.same_message("a") is named
    assert hand.same_message("b") is None
    assert hand.same_message("c") is None
    assert hand.same_message(None) is None
    assert hand.same_message("") is None


def test_beside_a_suspect_only_what_is_on_its_way_is_let_in() -> None:
    hand = Hand(at_once=2)
    assert hand.lets_in(full=True)
    suspect = held(request(), deaths=3)
    hand.add(suspect)
    assert hand.lets_in(full=False)
    assert not hand.lets_in(full=True)
    suspect.arrived -= 60
    assert not hand.lets_in(full=False)
