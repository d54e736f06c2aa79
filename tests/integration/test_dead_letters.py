"""Dead letters become rows, and staff bring a dead request back: on a real broker and database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from structlog.testing import capture_logs

from messages.codec import encode
from messages.control import CancelRequested
from messages.events import InferenceFailed
from messages.failures import FailureCode
from tests.integration.letters import (
    STAFF,
    asked,
    dead_request,
    letter_of,
    stored_letter,
)
from tests.integration.nodes import TestBroker
from tests.integration.web_requests import (
    REPLIES,
    LabSide,
    a_run,
    eventually,
    in_state,
    lab_side,
    place,
    running_tasks,
    take_in,
    write_request,
    written_request,
)
from web.access.models import AuditEntry
from web.inference.cancel import cancel
from web.inference.letters import LeftAsItIs, discard, replay
from web.inference.models import DeadLetter, InferenceRequest, Outbox, RequestEvent
from web.inference.states import State

pytestmark = pytest.mark.django_db(transaction=True)

#: Seconds, on a machine that is busy.
PATIENCE = 60.0


def told(event: Any) -> None:
    with transaction.atomic():
        take_in(event)


def left(deed: Callable[..., str], letter_id: int) -> str:
    """The sentence with which the letter was left as it is."""
    with pytest.raises(LeftAsItIs) as caught:
        deed(letter_id, caller=STAFF)
    return str(caught.value.sentence)


async def give_up(lab: LabSide) -> None:
    """What a broker does with a request that was delivered too often."""
    queue = await lab.channel.get_queue("mri.requests.lab", ensure=False)

    async def rejected() -> bool:
        message = await queue.get(fail=False)
        if message is not None:
            await message.reject(requeue=False)
        return message is not None

    await eventually(rejected, "a delivery", PATIENCE)


@pytest.mark.asyncio
async def test_a_dead_request_that_is_replayed_goes_out_as_the_next_attempt_and_completes(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab, running_tasks(rabbit):
        row = await written_request()
        await give_up(lab)
        await in_state(row.pk, State.DEAD, PATIENCE)
        letter = await DeadLetter.objects.aget(request=row)
        assert (letter.content_type, letter.settled_at) == ("application/json", None)

        sentence = await sync_to_async(replay)(letter.pk, STAFF)

        message = await lab.take(PATIENCE)
        assert message.correlation_id == str(row.pk)
        assert message.headers["x-labrelay-attempt"] == 2
        assert sentence == f"Request {row.pk} goes out again, as attempt 2."
        again = await in_state(row.pk, State.PUBLISHED, PATIENCE)
        assert (again.attempt, again.failure_code, again.finished_at) == (2, "", None)
        for event in a_run(row.pk):
            await lab.tell(event.model_copy(update={"attempt": 2}))
        await in_state(row.pk, State.REPORTED, PATIENCE)

    states = [event.state async for event in RequestEvent.objects.filter(request=row)]
    assert states[states.index("dead") :][:2] == ["dead", "queued"]
    assert states[-1] == "reported"
    await letter.arefresh_from_db()
    assert letter.settled_as == "replayed"
    assert letter.settled_at is not None


@pytest.mark.asyncio
async def test_a_letter_that_comes_while_the_database_is_away_is_held_and_written_later(
    rabbit: TestBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = connections.databases["default"]["OPTIONS"]
    # Seconds: the lock below is as good as a database that does not answer.
    monkeypatch.setitem(options, "timeout", 0.2)
    name = str(connections.databases["default"]["NAME"])
    async with lab_side(rabbit) as lab:
        row = await written_request()
        with capture_logs() as logs:
            async with running_tasks(rabbit):
                await in_state(row.pk, State.PUBLISHED, PATIENCE)
                with closing(sqlite3.connect(name, isolation_level=None)) as other:
                    other.execute("BEGIN IMMEDIATE")
                    await give_up(lab)

                    async def was_away() -> bool:
                        actions = [entry["event"] for entry in logs]
                        return actions.count("database_away") >= 2

                    await eventually(was_away, "two looks at a database that is away", PATIENCE)
                    assert await DeadLetter.objects.acount() == 0
                    other.execute("ROLLBACK")
                dead = await in_state(row.pk, State.DEAD, PATIENCE)

                async def is_empty() -> bool:
                    listing = ("list_queues", "-q", "-p", "mri", "--no-table-headers")
                    queues = rabbit.node.ctl(*listing, "name", "messages")
                    return "mri.dead\t0" in queues.splitlines()

                # It is acknowledged a moment after the row is written; unacknowledged ones count.
                await eventually(is_empty, "the letter is acknowledged", PATIENCE)
    assert dead.failure_code == FailureCode.WORKER_CRASHED
    assert await DeadLetter.objects.acount() == 1


@pytest.mark.asyncio
async def test_the_history_says_when_a_request_died(rabbit: TestBroker) -> None:
    row, _letter = await sync_to_async(dead_request)()
    events = [event async for event in RequestEvent.objects.filter(request=row)]
    assert [(e.state, e.code, e.attempt) for e in events] == [("dead", "worker_crashed", 1)]


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled"])
def test_a_letter_of_a_request_that_is_over_changes_nothing(end: str) -> None:
    row = write_request()
    if end == "completed":
        told(a_run(row.pk)[-1])
    elif end == "failed":
        fault = {"code": FailureCode.TOO_LARGE, "detail": "2000 slices", "stage_seconds": {}}
        told(InferenceFailed(**place(row.pk, 1), **fault))
    else:
        cancel(row.pk)
    row.refresh_from_db()
    assert row.state == end
    letter = letter_of(asked(row))
    assert InferenceRequest.objects.get(pk=row.pk).version == row.version
    assert letter.request_id == row.pk
    # And it brings nothing back either.
    assert left(replay, letter.pk) == (
        f"The request is not dead but {end}; only a dead one is sent again."
    )


def test_a_letter_of_a_request_that_is_being_cancelled_ends_the_cancel() -> None:
    row = write_request()
    told(a_run(row.pk)[0])
    assert cancel(row.pk).state == State.CANCELLING
    letter = letter_of(asked(row))
    assert InferenceRequest.objects.get(pk=row.pk).state == State.CANCELLED
    assert "not dead but cancelled" in left(replay, letter.pk)


def test_a_second_copy_of_a_letter_does_not_end_the_attempt_that_staff_has_started() -> None:
    row, letter = dead_request()
    first = asked(row)
    replay(letter.pk, STAFF)
    copy = letter_of(first)
    row.refresh_from_db()
    assert (row.state, row.attempt) == (State.QUEUED, 2)
    assert "not dead but queued" in left(replay, copy.pk)
    assert Outbox.objects.filter(request=row, sent_at=None).count() == 1


def test_a_letter_is_dealt_with_once() -> None:
    _row, letter = dead_request()
    replay(letter.pk, STAFF)
    written = Outbox.objects.count()
    for deed in (replay, discard):
        assert left(deed, letter.pk) == "This dead letter has been dealt with already."
    assert Outbox.objects.count() == written
    assert left(replay, letter.pk + 1) == "There is no such dead letter."
    assert AuditEntry.objects.count() == 1


def test_a_discarded_letter_leaves_its_request_dead() -> None:
    row, letter = dead_request()
    assert discard(letter.pk, STAFF) == f"Discarded. Request {row.pk} stays dead."
    letter.refresh_from_db()
    assert letter.settled_as == "discarded"
    assert InferenceRequest.objects.get(pk=row.pk).version == row.version
    noted = AuditEntry.objects.get()
    assert (noted.action, noted.way, noted.user_id) == ("discarded", "command", None)
    assert (noted.subject, noted.study_id) == (str(row.pk), row.study_id)
    assert left(replay, letter.pk) == "This dead letter has been dealt with already."


def test_a_letter_that_cannot_be_read_can_only_be_discarded() -> None:
    letter = stored_letter()
    assert left(replay, letter.pk) == "This letter cannot be read; it can only be discarded."
    assert DeadLetter.objects.get().settled_at is None
    assert discard(letter.pk, STAFF) == "Discarded."
    assert AuditEntry.objects.get().subject == f"dead letter {letter.pk}"


def test_a_letter_that_was_cut_is_not_read_from_its_beginning() -> None:
    row = write_request()
    body = asked(row).model_dump_json().encode()
    letter = stored_letter(type="inference.requested.v1", body=body + b" " * 70_000)
    assert letter.size > len(letter.body)
    assert "cannot be read" in left(replay, letter.pk)
    assert InferenceRequest.objects.get(pk=row.pk).state == State.QUEUED


def test_a_letter_of_an_unknown_request_changes_nothing() -> None:
    row = write_request()
    letter = letter_of(asked(row))
    row.delete()
    letter.refresh_from_db()
    assert letter.request_id is None
    sentence = "The request of this letter does not exist here."
    assert left(replay, letter.pk) == sentence
    event = letter_of(a_run(uuid4())[-1], queue=REPLIES)
    assert left(replay, event.pk) == sentence


def test_a_dead_request_stays_dead_while_another_for_the_same_is_active() -> None:
    row, letter = dead_request(wish="a" * 64)
    other = write_request()
    InferenceRequest.objects.filter(pk=other.pk).update(wish="a" * 64)
    assert left(replay, letter.pk) == (
        "Another request for the same is active; this one stays dead."
    )
    row.refresh_from_db()
    letter.refresh_from_db()
    assert (row.state, row.attempt, letter.settled_at) == (State.DEAD, 1, None)
    assert AuditEntry.objects.count() == 0
    # Once that has ended it can be sent again.
    told(a_run(other.pk)[-1])
    replay(letter.pk, STAFF)
    row.refresh_from_db()
    assert row.state == State.QUEUED


def test_an_event_that_could_not_be_read_is_applied_once_the_fault_is_mended() -> None:
    row = write_request()
    wire = encode(a_run(row.pk)[-1], app_id="test")
    newer = "inference.completed.v2"
    letter = stored_letter(type=newer, body=wire.body, correlation_id=wire.correlation_id)
    assert letter.request_id == row.pk
    assert "cannot be read" in left(replay, letter.pk)

    # As good as a site that knows the newer type.
    DeadLetter.objects.filter(pk=letter.pk).update(type=wire.type)
    # Kept by a version that did not ask who had sent it.
    assert left(replay, letter.pk) == (
        "Nobody knows who has sent this: say which lab has spoken, if you are sure."
    )
    another = "It names another lab than the one that has sent it."
    assert left(partial(replay, lab="server1"), letter.pk) == another
    assert InferenceRequest.objects.get(pk=row.pk).state == State.QUEUED
    assert replay(letter.pk, STAFF, lab="lab1") == (
        f"The event was applied: request {row.pk} is now reported."
    )
    assert InferenceRequest.objects.get(pk=row.pk).state == State.REPORTED


def test_an_event_that_was_applied_when_it_came_changes_nothing_more() -> None:
    row = write_request()
    letter = letter_of(a_run(row.pk)[-1], queue=REPLIES)
    row.refresh_from_db()
    assert row.state == State.REPORTED
    assert replay(letter.pk, STAFF) == (
        "The event changed nothing: it was known, or has come too late."
    )
    assert InferenceRequest.objects.get(pk=row.pk).version == row.version


def test_a_message_that_brings_nothing_about_is_only_discarded() -> None:
    letter = letter_of(CancelRequested(request_id=uuid4()))
    assert "it can be discarded" in left(replay, letter.pk)
