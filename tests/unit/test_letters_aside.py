"""One letter can hurt one letter: those that cannot be stored hold up no others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, cast

import pytest
from aio_pika import IncomingMessage
from aiormq.abc import DeliveredMessage
from asgiref.sync import sync_to_async
from django.db import connection
from django.utils import timezone
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from messages.codec import encode
from messages.events import InferenceAccepted, RunEvent
from tests.integration.letters import asked
from tests.unit.test_reconcile_rules import row
from web.broker import inbox as inboxes
from web.broker.connection import Session
from web.broker.dead_letters import DeadLetters
from web.broker.inbox import MOST_TRIED, Inbox, Item
from web.broker.listener import Listener
from web.database import DatabaseAway, DatabaseThread
from web.inference import letter_box
from web.inference.models import DeadLetter, InferenceRequest
from web.inference.senders import Doubt
from web.inference.states import State
from web.labs import registry

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

#: What the database refuses here, and with it everything that is written in one go with it.
POISON = b"refused by the database"

_numbers = count()


class Delivered(IncomingMessage):
    """A delivery that remembers whether it was acknowledged."""

    acknowledged = False

    async def ack(self, multiple: bool = False) -> None:
        self.acknowledged = True


class Database:
    """Runs what a thread of its own would; `away` so many times first."""

    def __init__(self, away: int = 0) -> None:
        self.away = away

    async def run(self, function: Callable[..., Any], *args: Any, **more: Any) -> Any:
        if self.away:
            self.away -= 1
            raise DatabaseAway("locked")
        return await sync_to_async(function)(*args, **more)


def item(body: bytes, *, user: str | None = "lab1", died_in: str = "", **more: str) -> Item:
    headers = {"x-death": [{"queue": died_in, "reason": "rejected"}]} if died_in else {}
    properties = Basic.Properties(user_id=user, headers=headers, **more)
    delivered = Basic.Deliver("tag", 1, False, "exchange", "lab.any")
    header = ContentHeader(properties=properties, body_size=len(body))
    return Item(Delivered(DeliveredMessage(delivered, header, body, cast("Any", None))))


def dead(body: bytes, pool: str = "lab") -> Item:
    return item(body, died_in=f"mri.requests.{pool}")


def told(event: RunEvent) -> Item:
    wire = encode(event, app_id="test")
    return item(wire.body, message_type=wire.type, content_type=wire.content_type)


def accepted() -> Item:
    """A lab's word that it has taken a request."""
    place = {"request_id": row(State.PUBLISHED).pk, "attempt": 1, "delivery": 0, "sequence": 0}
    return told(InferenceAccepted(**place, lab="lab1", at=timezone.now()))


async def heard(items: Sequence[Item], held: Inbox) -> None:
    listener, queue = Listener(database()), "mri.replies.lab"
    await listener._settle(await listener._read(items, queue, held), queue, held)


async def dead_request(one: InferenceRequest) -> Item:
    wire = encode(await sync_to_async(asked)(one), app_id="test")
    more = {"message_type": wire.type, "content_type": wire.content_type}
    return item(wire.body, user="web", died_in="mri.requests.lab", **more)


def acknowledged(*items: Item) -> list[bool]:
    return [cast("Delivered", one.message).acknowledged for one in items]


def inbox() -> Inbox:
    return Inbox(cast("Session", None), "mri.dead", prefetch=1)


def database(away: int = 0) -> DatabaseThread:
    return cast("DatabaseThread", Database(away))


def _sql(sentence: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sentence)


@contextmanager
def refused(what: str, *, change: str = "INSERT", table: str = "deadletter") -> Iterator[None]:
    """The database refuses such rows, and nothing else."""
    # A name for each: another connection may still know the last one.
    name = f"refused_{next(_numbers)}"
    _sql(
        f"CREATE TRIGGER {name} BEFORE {change} ON labrelay_inference_{table} "
        f"WHEN {what} BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )
    try:
        yield
    finally:
        _sql(f"DROP TRIGGER {name}")


@pytest.fixture
def poisonous() -> Iterator[None]:
    with refused(f"NEW.body = x'{POISON.hex()}'"):
        yield


def stored_bodies() -> list[bytes]:
    return [bytes(one) for one in DeadLetter.objects.order_by("pk").values_list("body", flat=True)]


@pytest.mark.usefixtures("poisonous")
async def test_a_letter_that_cannot_be_stored_holds_up_none_of_its_batch_nor_those_behind_it() -> (
    None
):
    held, mover = inbox(), DeadLetters(database())
    before, poison, after = dead(b"before"), dead(POISON), dead(b"after")
    await mover.settle([before, poison, after], held)
    await mover.settle([dead(b"behind")], held)
    assert acknowledged(before, poison, after) == [True, False, True]
    assert await sync_to_async(stored_bodies)() == [b"before", b"after", b"behind"]
    # It comes again by itself.
    (again,) = await held.batch()
    assert (again.message.body, again.tries) == (POISON, 1)


@pytest.mark.usefixtures("poisonous")
async def test_after_its_tries_a_trace_of_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "PAUSES", (0.0, 0.0, 0.0))
    held, mover = inbox(), DeadLetters(database())
    poison, tries = dead(POISON), 0
    await mover.settle([poison], held)
    while not acknowledged(poison)[0]:
        items = await held.batch()
        tries += len(items)
        await mover.settle(items, held)
    letter = await DeadLetter.objects.aget()
    assert (tries, letter.reason, letter.size) == (3, Doubt.NOT_KEPT, len(POISON))
    assert (letter.user_id, letter.queue, letter.body) == ("lab1", "mri.requests.lab", b"")


async def test_a_letter_of_which_nothing_can_be_kept_stays_here_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inboxes, "PAUSES", ())
    monkeypatch.setattr(inboxes, "LONGEST_PAUSE", 0.0)
    held, mover = inbox(), DeadLetters(database())
    poison, other = dead(POISON), dead(b"other", "server")
    context = refused("NEW.queue = 'mri.requests.lab'")
    await sync_to_async(context.__enter__)()
    await mover.settle([poison, other], held)
    assert acknowledged(poison, other) == [False, True]
    (again,) = await held.batch()
    await sync_to_async(context.__exit__)(None, None, None)
    await mover.settle([again], held)
    assert acknowledged(poison) == [True]
    assert set(await sync_to_async(stored_bodies)()) == {POISON, b"other"}


async def test_a_database_that_is_away_is_waited_for_and_costs_no_try() -> None:
    held, mover = inbox(), DeadLetters(database(away=2))
    letters = [dead(b"one"), dead(b"two")]
    await mover.settle(letters, held)
    assert acknowledged(*letters) == [True, True]
    assert await sync_to_async(stored_bodies)() == [b"one", b"two"]


@pytest.mark.usefixtures("poisonous")
async def test_a_reply_that_cannot_be_stored_holds_up_no_outcome_of_its_queue() -> None:
    await sync_to_async(registry.confirm)("lab1", "lab")
    honest = await sync_to_async(accepted)()
    poison, held = item(POISON, message_type="garbage"), inbox()
    await heard([poison, honest], held)
    assert acknowledged(poison, honest) == [False, True]
    assert (await InferenceRequest.objects.aget()).state == State.ACCEPTED


async def test_a_hundred_events_that_fail_for_a_moment_are_all_applied_a_moment_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inboxes, "PAUSES", (0.0,))
    await sync_to_async(registry.confirm)("lab1", "lab")
    events, held = [await sync_to_async(accepted)() for _ in range(100)], inbox()
    fault = refused("NEW.state = 'accepted'", change="UPDATE", table="inferencerequest")
    await sync_to_async(fault.__enter__)()
    await heard(events, held)
    await sync_to_async(fault.__exit__)(None, None, None)
    assert not any(acknowledged(*events))
    left = len(events)
    while left:
        again = await held.batch()
        left -= len(again)
        await heard(again, held)
    assert all(acknowledged(*events))
    assert await InferenceRequest.objects.filter(state=State.ACCEPTED).acount() == len(events)
    assert await DeadLetter.objects.acount() == 0


async def test_a_dead_request_that_cannot_be_written_down_for_a_moment_is_dead_a_moment_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inboxes, "PAUSES", (0.0,))
    held, mover = inbox(), DeadLetters(database())
    one = await sync_to_async(row)(State.PUBLISHED)
    request, other = await dead_request(one), dead(b"other")
    fault = refused("NEW.state = 'dead'", change="UPDATE", table="inferencerequest")
    await sync_to_async(fault.__enter__)()
    await mover.settle([request, other], held)
    await sync_to_async(fault.__exit__)(None, None, None)
    assert acknowledged(request, other) == [False, True]
    assert await sync_to_async(stored_bodies)() == [b"other"]
    await mover.settle(await held.batch(), held)
    assert acknowledged(request) == [True]
    await one.arefresh_from_db()
    letter = await DeadLetter.objects.aget(request=one)
    assert (one.state, letter.reason) == (State.DEAD, "rejected")


async def test_after_its_tries_a_dead_request_is_kept_once_whatever_else_its_sender_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inboxes, "PAUSES", ())
    monkeypatch.setattr(letter_box, "MOST_LETTERS", 0)
    held, mover = inbox(), DeadLetters(database())
    one = await sync_to_async(row)(State.PUBLISHED)
    copies = [await dead_request(one) for _ in range(3)]
    fault = refused("NEW.state = 'dead'", change="UPDATE", table="inferencerequest")
    await sync_to_async(fault.__enter__)()
    await mover.settle(copies[:2], held)
    await mover.settle(copies[2:], held)
    await sync_to_async(fault.__exit__)(None, None, None)
    assert acknowledged(*copies) == [True] * 3
    letter = await DeadLetter.objects.aget()
    assert (letter.reason, letter.request_id) == (Doubt.NOT_APPLIED, one.pk)


async def test_what_fails_of_one_sender_leaves_places_for_the_tries_of_others() -> None:
    held = inbox()
    hostile = [held.try_again(item(b""), "server1") for _ in range(3 * MOST_TRIED)]
    honest = [held.try_again(item(b""), "lab1") for _ in range(40)]
    assert (sum(hostile), all(honest)) == (MOST_TRIED // 2, True)
    await held.__aexit__(asyncio.CancelledError, asyncio.CancelledError(), None)


async def test_a_place_is_free_again_once_its_delivery_has_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inboxes, "PAUSES", (0.0,))
    monkeypatch.setattr(inboxes, "MOST_TRIED", 2)
    held, one = inbox(), item(b"")
    assert [held.try_again(one, "lab1"), held.try_again(item(b""), "lab1")] == [True, False]
    (again,) = await held.batch()
    assert held.try_again(item(b""), "lab1")
    # No pause is left for this one.
    assert not held.try_again(again, "lab1")
    await held.batch()
