"""Which letters of a sender are kept: what can become an outcome has rooms of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from messages.codec import encode
from messages.events import InferenceAccepted
from tests.unit.test_reconcile_rules import row
from web.inference import letter_box
from web.inference.letter_box import Letter, keep, put_trace_aside
from web.inference.letters import doubt_text
from web.inference.models import DeadLetter, LettersBeyond
from web.inference.senders import REPLAYABLE, Doubt, ReceivedEvent, Senders
from web.inference.states import State
from web.labs import registry
from web.reconciler.taken_up import take_up

pytestmark = pytest.mark.django_db

#: Instead of a thousand.
ROOM = 5


@pytest.fixture(autouse=True)
def a_small_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letter_box, "MOST_LETTERS", ROOM)


def letter(reason: str = "rejected", user: str = "lab2", **more: Any) -> Letter:
    texts = dict.fromkeys(("type", "message_id", "correlation_id", "routing_key"), "")
    usual = {"queue": "mri.replies.lab", "content_type": "", "body": b"\xff", "user_id": user}
    return Letter(**{**texts, **usual, "reason": reason, **more})


def kept(*letters: Letter) -> int:
    """How many of them became rows."""
    before = DeadLetter.objects.count()
    keep([(one, None) for one in letters])
    return DeadLetter.objects.count() - before


def accepted(request_id: UUID) -> InferenceAccepted:
    place = {"request_id": request_id, "attempt": 1, "delivery": 0, "sequence": 0}
    return InferenceAccepted(**place, lab="lab2", at=timezone.now())


def waiting(request_id: UUID) -> Letter:
    wire = encode(accepted(request_id), app_id="test")
    return letter(Doubt.UNCONFIRMED, type=wire.type, content_type=wire.content_type, body=wire.body)


def test_junk_of_a_sender_keeps_none_of_its_letters_out_that_can_still_become_an_outcome() -> None:
    junk = [letter("rejected"), letter(Doubt.ANOTHER_LAB), letter(Doubt.NO_SUCH_ATTEMPT)]
    assert kept(*junk * ROOM) == ROOM
    for reason in REPLAYABLE:
        assert kept(letter(reason)) == 1
    assert LettersBeyond.objects.get().count == 2 * ROOM


def test_junk_of_one_kind_that_waits_keeps_out_nothing_of_another() -> None:
    # Of a type that only a newer site would know: anybody can write such.
    assert kept(*[letter(Doubt.NEWER)] * (ROOM + 3)) == ROOM
    assert kept(letter(Doubt.UNCONFIRMED), letter(Doubt.NOT_APPLIED), letter("rejected")) == 3


def test_each_room_has_its_bound_and_what_came_first_stays() -> None:
    first = [letter(Doubt.NOT_APPLIED, message_id=str(number)) for number in range(ROOM)]
    assert kept(*first) == ROOM
    assert kept(*[letter(Doubt.NOT_APPLIED, message_id="later")] * 3) == 0
    assert [one.message_id for one in DeadLetter.objects.order_by("pk")] == list("01234")


def test_what_waits_is_applied_once_its_lab_is_confirmed_though_junk_came_before_it() -> None:
    one = row(State.PUBLISHED)
    kept(*[letter("rejected")] * 3 * ROOM)
    kept(waiting(one.pk))
    registry.confirm("lab2", "lab")
    assert take_up().changed == [one.pk]
    one.refresh_from_db()
    assert one.state == State.ACCEPTED


def test_a_stranger_that_tells_of_requests_that_are_not_there_takes_no_room_of_what_waits() -> None:
    there = accepted(row(State.PUBLISHED).pk)
    heard = [ReceivedEvent(one, "lab2", timezone.now()) for one in (there, accepted(uuid4()))]
    speakers = Senders(heard)
    doubts = [speakers.doubt_about(one) for one in heard]
    assert doubts == [Doubt.UNCONFIRMED, Doubt.UNKNOWN_REQUEST]
    assert Doubt.UNKNOWN_REQUEST not in REPLAYABLE


def test_a_letter_that_cannot_be_read_keeps_no_other_from_being_applied() -> None:
    one = row(State.PUBLISHED)
    kept(letter(Doubt.UNCONFIRMED, type="inference.accepted.v1", body=b"{"), waiting(one.pk))
    registry.confirm("lab2", "lab")
    assert take_up().changed == [one.pk]
    assert DeadLetter.objects.get(settled_at=None).reason == "unreadable"


def test_a_trace_holds_sender_key_size_and_digest_and_nothing_else_of_a_stranger() -> None:
    whole = letter(user="läb", routing_key="request.x\u2028", type="t", body=b"abc", size=70_000)
    put_trace_aside(replace(whole, correlation_id="c", message_id="m"))
    (found,) = DeadLetter.objects.all()
    assert (found.user_id, found.routing_key, found.size) == ("l?b", "request.x?", 70_000)
    assert found.message_id == (
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    assert (found.type, found.correlation_id, bytes(found.body)) == ("", "", b"")
    assert found.reason == Doubt.NOT_KEPT


def test_staff_are_told_what_each_doubt_means() -> None:
    assert all(doubt_text(str(doubt)) for doubt in Doubt)
