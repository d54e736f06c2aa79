"""With a lab's credentials against the site: a real broker, and what other pools and labs see."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from messages import topology
from messages.codec import encode
from messages.events import InferenceAccepted, InferenceRetryScheduled, RunEvent
from messages.failures import FailureCode
from messages.lab import MAX_MODELS, LabHeartbeat, LabModel, ModelDescriptor
from tests.integration.letters import asked
from tests.integration.nodes import LABS, TestBroker
from tests.integration.web_requests import (
    LabSide,
    a_run,
    eventually,
    in_state,
    lab_side,
    place,
    running_tasks,
    speaking_as,
    stored,
    write_request,
    written_request,
)
from web.inference.cancel import cancel
from web.inference.letter_box import MOST_LETTERS
from web.inference.models import DeadLetter, InferenceRequest, LettersBeyond, SeenEvent
from web.inference.senders import LONGEST_WAIT, Doubt
from web.inference.states import State
from web.labs import catalogue, registry
from web.labs.heartbeats import lab_views
from web.labs.models import Lab, ServedModel

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

#: Hostile events in front of an honest one.
FLOOD = 3_000

#: Seconds, on a machine that is busy: far more than it takes.
PATIENCE = 60.0

NOW = datetime.now(UTC)


def as_lab(event: RunEvent, lab: str) -> RunEvent:
    return event.model_copy(update={"lab": lab})


def model(name: str = "brain", notice: str = "Not for clinical use.", **more: Any) -> Any:
    usual = {"version": "1", "sha256": "0" * 64, "roles": ("image",), "labels": ("x",)}
    return ModelDescriptor(name=name, notice=notice, **{**usual, **more})


def beat(lab: str, pool: str = "", **more: Any) -> LabHeartbeat:
    usual = {"device": "cpu", "at": datetime.now(UTC)}
    return LabHeartbeat(lab=lab, pool=pool or LABS.get(lab, "lab"), **{**usual, **more})


async def letters(count: int = 1, seconds: float = PATIENCE) -> list[DeadLetter]:
    async def so_many() -> list[DeadLetter]:
        found = [one async for one in DeadLetter.objects.order_by("pk")]
        return found if len(found) >= count else []

    found: list[DeadLetter] = await eventually(so_many, f"{count} letters", seconds)
    return found


async def lab_row(name: str) -> Lab:
    async def heard() -> Lab | None:
        return await Lab.objects.filter(name=name, last_seen__isnull=False).afirst()

    row: Lab = await eventually(heard, f"{name} heard", PATIENCE)
    return row


async def fresh_beat(lab: LabSide, clock: Callable[[], datetime]) -> None:
    """Tell until one has come that did not lie in the queue before the site was there."""

    async def heard() -> bool:
        await lab.tell(beat(lab.user, at=clock()))
        await asyncio.sleep(0.5)
        return bool((await Lab.objects.aget(name=lab.user)).clock_differences)

    await eventually(heard, "a heartbeat", PATIENCE)


@contextmanager
def a_row_that_the_database_refuses(request_id: UUID) -> Iterator[None]:
    """As one of a fault of ours: whatever writes this row fails, and nothing else does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER refused BEFORE UPDATE ON labrelay_inference_inferencerequest "
            f"WHEN NEW.id = '{request_id.hex}' BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refused")


async def flood(lab: LabSide, messages: list[tuple[str, bytes, dict[str, Any]]]) -> None:
    """Publish them as fast as the broker confirms them, many at a time."""
    exchange = await lab.channel.get_exchange(topology.events_exchange(lab.pool), ensure=False)

    async def send(part: list[tuple[str, bytes, dict[str, Any]]]) -> None:
        for key, body, properties in part:
            message = aio_pika.Message(body, delivery_mode=2, **properties)
            await exchange.publish(message, key, timeout=60)

    await asyncio.gather(*(send(messages[n::100]) for n in range(100)))


def wired(event: Any, user: str | None) -> tuple[str, bytes, dict[str, Any]]:
    wire = encode(event, app_id="t", user_id=user)
    properties = {"type": wire.type, "content_type": wire.content_type, "user_id": user}
    return event.ROUTING_KEY, wire.body, properties


def hostile(  # noqa: PLR0911 - a kind each
    kind: str, lab: str, theirs: UUID
) -> tuple[str, bytes, dict[str, Any]]:
    """One message of a kind; `theirs` is a request of another pool."""
    completed = as_lab(a_run(uuid4())[-1], lab)
    match kind:
        case "garbage":
            return "request.completed", b"\x00", {"type": "inference.completed.v1", "user_id": lab}
        case "a newer version":
            kept = {"type": "inference.completed.v2", "user_id": lab}
            return "request.completed", b"{}", {**kept, "content_type": "application/json"}
        case "unsigned":
            return wired(completed, None)
        case "another lab's name":
            return wired(as_lab(completed, "lab1"), lab)
        case "another pool's request":
            return wired(as_lab(a_run(theirs)[-1], lab), lab)
        case "an unknown request":
            return wired(completed, lab)
        case "a millionth attempt":
            event = InferenceAccepted(**{**place(uuid4(), 0, attempt=1_000_000), "lab": lab})
            return wired(event, lab)
        case "a request":
            wire = encode(asked(InferenceRequest.objects.get(pk=theirs)), app_id="t", user_id=lab)
            kept = {"type": wire.type, "content_type": wire.content_type, "user_id": lab}
            return "request.completed", wire.body, kept
    raise AssertionError(kind)


KINDS = (
    "garbage",
    "a newer version",
    "unsigned",
    "another lab's name",
    "another pool's request",
    "an unknown request",
    "a millionth attempt",
    "a request",
)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_flood_in_front_of_an_honest_event_holds_up_neither_its_own_pool_nor_another(
    rabbit: TestBroker, kind: str
) -> None:
    async with lab_side(rabbit) as honest, speaking_as(rabbit, "server1") as attacker:
        theirs = await written_request()
        own = await sync_to_async(write_request)("server")
        one = await sync_to_async(hostile)(kind, "server1", theirs.pk)
        await flood(attacker, [one] * FLOOD)
        # Behind all of them in the same queue, and in the queue of another pool.
        await attacker.tell(as_lab(a_run(own.pk)[-1], "server1"))
        await honest.tell(a_run(theirs.pk)[-1])
        began = time.monotonic()
        async with running_tasks(rabbit):
            await in_state(theirs.pk, State.REPORTED, PATIENCE)
            another = time.monotonic() - began
            await in_state(own.pk, State.REPORTED, PATIENCE)
            same = time.monotonic() - began
        began = time.monotonic()
        later = await sync_to_async(write_request)("server")
        async with running_tasks(rabbit):
            await attacker.tell(as_lab(a_run(later.pk)[-1], "server1"))
            await in_state(later.pk, State.REPORTED, PATIENCE)
        again = time.monotonic() - began
    print(f"{kind}: another pool {another:.2f} s, same pool {same:.2f} s, restarted {again:.2f} s")
    assert (await stored(theirs.pk)).lab == "lab1"
    assert await DeadLetter.objects.acount() <= MOST_LETTERS + 1


async def test_events_that_each_fail_here_hold_up_nothing_and_become_letters(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab:
        bad, good = await written_request(), await written_request()
        events = [
            InferenceAccepted(**place(bad.pk, sequence, delivery=1)) for sequence in range(FLOOD)
        ]
        await flood(lab, [wired(event, "lab1") for event in events])
        await lab.tell(a_run(good.pk)[-1])
        refused = a_row_that_the_database_refuses(bad.pk)
        await sync_to_async(refused.__enter__)()
        try:
            began = time.monotonic()
            async with running_tasks(rabbit):
                await in_state(good.pk, State.REPORTED, PATIENCE)
                print(f"events that fail: {time.monotonic() - began:.2f} s")
                kept = (await letters())[0]

                async def all_letters() -> bool:
                    beyond = [more.count async for more in LettersBeyond.objects.all()]
                    return await DeadLetter.objects.acount() + sum(beyond) == FLOOD

                await eventually(all_letters, "all letters", PATIENCE)
                await lab.has_waiting("mri.replies.lab", 0)
        finally:
            await sync_to_async(refused.__exit__)(None, None, None)
        # While it runs only what is ready is counted: what it held is so after its end.
        await lab.has_waiting("mri.replies.lab", 0)
    assert kept.reason == Doubt.NOT_APPLIED
    assert (kept.request_id, kept.user_id) == (bad.pk, "lab1")
    assert (await stored(bad.pk)).state in {State.QUEUED, State.PUBLISHED}


async def test_an_event_that_fails_once_is_applied_a_moment_later(rabbit: TestBroker) -> None:
    async with lab_side(rabbit) as lab:
        row, other = await written_request(), await written_request()
        refused = a_row_that_the_database_refuses(row.pk)
        async with running_tasks(rabbit):
            await in_state(row.pk, State.PUBLISHED, PATIENCE)
            await sync_to_async(refused.__enter__)()
            await lab.tell(a_run(row.pk)[-1], a_run(other.pk)[-1])
            # In one batch or after it: the other one is not undone with it.
            await in_state(other.pk, State.REPORTED, PATIENCE)
            await sync_to_async(refused.__exit__)(None, None, None)
            await in_state(row.pk, State.REPORTED, PATIENCE)
        assert await DeadLetter.objects.acount() == 0


async def refused_event(rabbit: TestBroker, send: Any, pool: str = "lab") -> DeadLetter:
    """Let `send` speak of a request as server1; the letter that it becomes."""
    async with lab_side(rabbit) as honest, speaking_as(rabbit, "server1") as attacker:
        row = await sync_to_async(write_request)(pool)
        async with running_tasks(rabbit):
            await send(attacker, row)
            (letter,) = await letters()
            # The site goes on, and has not believed it.
            other = await written_request()
            await honest.tell(a_run(other.pk)[-1])
            await in_state(other.pk, State.REPORTED, PATIENCE)
        found = await stored(row.pk)
        assert (found.state in {State.QUEUED, State.PUBLISHED}, found.result) == (True, None)
        assert not await SeenEvent.objects.filter(event_id=a_run(row.pk)[-1].event_id).aexists()
        return letter


async def test_a_lab_completes_no_request_of_another_pool(rabbit: TestBroker) -> None:
    async def send(attacker: LabSide, row: InferenceRequest) -> None:
        await attacker.tell(as_lab(a_run(row.pk)[-1], "server1"))

    letter = await refused_event(rabbit, send)
    assert (letter.reason, letter.user_id) == (Doubt.ANOTHER_POOL, "server1")


async def test_a_lab_does_not_speak_under_another_labs_name(rabbit: TestBroker) -> None:
    async def send(attacker: LabSide, row: InferenceRequest) -> None:
        await attacker.tell(a_run(row.pk)[-1])

    letter = await refused_event(rabbit, send)
    assert (letter.reason, letter.user_id) == (Doubt.ANOTHER_LAB, "server1")


async def test_what_nobody_signed_is_not_believed(rabbit: TestBroker) -> None:
    async def send(attacker: LabSide, row: InferenceRequest) -> None:
        await flood(attacker, [wired(as_lab(a_run(row.pk)[-1], "server1"), None)])

    # Of its own pool, even: the broker has checked nothing.
    letter = await refused_event(rabbit, send, pool="server")
    assert (letter.reason, letter.user_id) == (Doubt.UNSIGNED, "")


async def test_a_request_that_a_lab_forges_among_its_events_kills_no_request(
    rabbit: TestBroker,
) -> None:
    async def send(attacker: LabSide, row: InferenceRequest) -> None:
        wire = encode(asked(row), app_id="t")
        await attacker.tell_raw(
            "request.completed", wire.body, type=wire.type, content_type=wire.content_type
        )

    letter = await refused_event(rabbit, send)
    assert letter.reason == Doubt.NOT_FROM_ITS_POOL


async def test_the_events_of_a_lab_that_nobody_knows_wait_until_staff_confirm_it(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit, user="lab2") as stranger:
        await sync_to_async(registry.forget)("lab2")
        row = await written_request()
        async with running_tasks(rabbit):
            await stranger.tell(beat("lab2", models=(model(),), current=(row.pk,)))
            await stranger.tell(*(as_lab(event, "lab2") for event in a_run(row.pk)))
            found = await letters(2)
            assert {one.reason for one in found} == {Doubt.UNCONFIRMED}
            heard = await lab_row("lab2")
            assert (heard.online, heard.models, heard.current) == (False, [], [])
            assert not [v for v in await sync_to_async(lab_views)() if v["lab"] == "lab2"]
            assert (await stored(row.pk)).state in {State.QUEUED, State.PUBLISHED}

            await sync_to_async(registry.confirm)("lab2", "lab")
            done = await in_state(row.pk, State.REPORTED, PATIENCE)
        assert done.lab == "lab2"
        settled = [one.settled_as async for one in DeadLetter.objects.all()]
        assert settled == ["applied", "applied"]


async def test_a_flood_of_letters_is_counted_and_keeps_no_other_letter_out(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as honest, speaking_as(rabbit, "server1") as attacker:
        theirs = await written_request()
        one = await sync_to_async(hostile)("another pool's request", "server1", theirs.pk)
        await flood(attacker, [one] * FLOOD)
        await honest.tell_raw("request.completed", b"\x00", type="inference.completed.v1")
        async with running_tasks(rabbit):

            async def both() -> bool:
                beyond = await LettersBeyond.objects.filter(sender="server1").afirst()
                kept = await DeadLetter.objects.filter(user_id="lab1").acount()
                return kept == 1 and beyond is not None and beyond.count == FLOOD - MOST_LETTERS

            await eventually(both, "counted, and the other one kept", PATIENCE)
    assert await DeadLetter.objects.filter(user_id="server1").acount() == MOST_LETTERS


async def test_hundreds_of_huge_heartbeats_under_every_name_leave_one_row_and_a_small_offer(
    rabbit: TestBroker,
) -> None:
    wide = tuple(
        model(f"m{n}", labels=tuple(f"{n} {label:03d}".ljust(40, "x") for label in range(20)))
        for n in range(40)
    )
    async with lab_side(rabbit) as honest, speaking_as(rabbit, "server1") as attacker:
        huge = [
            wired(beat(f"name{n}" if n % 2 else "server1", "server", models=wide), "server1")
            for n in range(600)
        ]
        async with running_tasks(rabbit):
            await flood(attacker, huge)
            row = await written_request()
            await honest.tell(beat("lab1", models=(model(),)), a_run(row.pk)[-1])
            await in_state(row.pk, State.REPORTED, PATIENCE)
            assert (await lab_row("lab1")).online
            await lab_row("server1")
    assert await Lab.objects.acount() == len(LABS)
    shown = await sync_to_async(lambda: json.dumps(lab_views()))()
    assert len(shown) < 400_000
    offered = await sync_to_async(catalogue.models_on_offer)("lab")
    assert [one.name for one in offered] == ["brain"]


@pytest.mark.parametrize("kind", ["garbage", "unsigned", "another pool's", "an unknown request's"])
async def test_a_flood_of_hints_holds_up_no_outcome_and_no_step_of_another_pool(
    rabbit: TestBroker, kind: str
) -> None:
    async with lab_side(rabbit) as honest, speaking_as(rabbit, "server1") as attacker:
        row = await written_request()
        _, step, *_ = (as_lab(event, "server1") for event in a_run(row.pk))
        signed = wired(step, "server1")
        match kind:
            case "garbage":
                hints = [("request.progressed", b"{", signed[2])] * FLOOD
            case "unsigned":
                hints = [wired(step, None)] * FLOOD
            case "another pool's":
                hints = [signed] * FLOOD
            case _:
                steps = (step.model_copy(update={"request_id": uuid4()}) for _ in range(FLOOD))
                hints = [wired(one, "server1") for one in steps]
        await flood(attacker, hints)
        accepted, downloading, *_, completed = a_run(row.pk)
        async with running_tasks(rabbit):
            await honest.tell(accepted, downloading)
            shown = await in_state(row.pk, State.DOWNLOADING, PATIENCE)
            assert shown.lab == "lab1"
            await honest.tell(completed)
            await in_state(row.pk, State.REPORTED, PATIENCE)
    assert await DeadLetter.objects.acount() == 0


async def test_a_lab_describes_a_bounded_number_of_models(rabbit: TestBroker) -> None:
    async with lab_side(rabbit) as lab:
        told = [
            LabModel(lab="lab1", pool="lab", model=model(version=str(n)), at=NOW)
            for n in range(5 * MAX_MODELS)
        ]
        served = told[-1].model
        async with running_tasks(rabbit):
            await flood(lab, [wired(one, "lab1") for one in told])
            await lab.tell(beat("lab1", fingerprints=(served.fingerprint,)))
            await lab_row("lab1")
            await lab.tell(told[-1])

            async def offered() -> bool:
                offers = await sync_to_async(catalogue.models_on_offer)("lab")
                return offers[0].version == served.version

            await eventually(offered, "the served model on offer", PATIENCE)
    assert await ServedModel.objects.acount() <= 2 * MAX_MODELS


async def test_a_notice_under_another_labs_name_or_for_another_pool_is_not_shown(
    rabbit: TestBroker,
) -> None:
    approved = model(notice="Approved for clinical use")
    async with (
        lab_side(rabbit) as honest,
        speaking_as(rabbit, "server1") as attacker,
        running_tasks(rabbit),
    ):
        await honest.tell(beat("lab1", models=(model(),)))
        await lab_row("lab1")
        for hint in (
            beat("lab1", models=(approved,)),
            LabModel(lab="lab1", pool="lab", model=approved, at=NOW),
            LabModel(lab="server1", pool="lab", model=approved, at=NOW),
            beat("server1", "lab", models=(approved,)),
        ):
            await attacker.tell(hint)
        conflict = await lab_row("server1")
        offers = await sync_to_async(catalogue.offers)("lab")
    assert [offer.model.notice for offer in offers] == ["Not for clinical use."]
    assert (conflict.pool, conflict.told_pool, conflict.conflict) == ("server", "lab", True)
    assert conflict.models == []


async def test_a_clock_in_the_year_9999_dates_nothing_and_is_told_to_staff(
    rabbit: TestBroker,
) -> None:
    end = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)
    async with lab_side(rabbit) as lab, running_tasks(rabbit):
        row = await written_request()
        await fresh_beat(lab, lambda: end)
        waits = InferenceRetryScheduled(
            **{**place(row.pk, 1), "at": NOW},
            code=FailureCode.ARCHIVE_UNAVAILABLE,
            next_at=end,
        )
        await lab.tell(InferenceAccepted(**{**place(row.pk, 0), "at": end}), waits)
        waiting = await in_state(row.pk, State.WAITING, PATIENCE)
        heard = await lab_row("lab1")
    now = datetime.now(UTC)
    assert waiting.accepted_at is not None
    assert waiting.accepted_at <= now
    assert waiting.next_try_at is not None
    assert waiting.next_try_at <= now + timedelta(seconds=LONGEST_WAIT)
    assert heard.last_seen is not None
    assert heard.last_seen <= now
    assert heard.clock_is_wrong


async def test_the_smallest_difference_of_ten_heartbeats_is_the_clocks(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab, running_tasks(rabbit):
        await fresh_beat(lab, lambda: datetime.now(UTC) - timedelta(seconds=90))
        for behind in (40, 41):
            await lab.tell(beat("lab1", at=datetime.now(UTC) - timedelta(seconds=behind)))

            async def counted(behind: int = behind) -> bool:
                heard = await Lab.objects.aget(name="lab1")
                newest = (heard.clock_differences or [0])[-1]
                return behind - 1 < newest < 85

            await eventually(counted, "heard", PATIENCE)
    heard = await Lab.objects.aget(name="lab1")
    assert heard.skew is not None
    assert 39 < heard.skew < 60
    assert heard.clock_is_wrong


async def test_a_pool_whose_queues_are_missing_keeps_no_other_waiting_and_is_heard_once_it_is_there(
    rabbit: TestBroker,
) -> None:
    await sync_to_async(registry.confirm)("ward1", "ward")
    async with lab_side(rabbit) as lab, running_tasks(rabbit):
        row = await written_request()
        # Its exchange for cancels is missing too: that one waits, and the relay goes on.
        far = await sync_to_async(write_request)("ward")
        await in_state(row.pk, State.PUBLISHED, PATIENCE)
        await lab.tell(a_run(row.pk)[-1])
        await in_state(row.pk, State.REPORTED, PATIENCE)
        passwords = topology.lab_definitions("ward1", "ward", "a-password-of-a-test")
        await asyncio.to_thread(_import, rabbit, passwords)
        try:
            await in_state(far.pk, State.PUBLISHED, PATIENCE)
            url = rabbit.url("lab1").replace(
                f"lab1:{rabbit.passwords['lab1']}", "ward1:a-password-of-a-test"
            )
            async with await aio_pika.connect(url) as opened:
                channel = await opened.channel()
                exchange = await channel.get_exchange("mri.events.ward", ensure=False)
                key, body, properties = wired(as_lab(a_run(far.pk)[-1], "ward1"), "ward1")
                await exchange.publish(aio_pika.Message(body, **properties), key)
                await in_state(far.pk, State.REPORTED, PATIENCE)
        finally:
            await asyncio.to_thread(_forget_ward, rabbit)


def _import(broker: TestBroker, definitions: dict[str, Any]) -> None:
    file = broker.node.root / "ward.json"
    file.write_text(json.dumps(definitions))
    broker.node.ctl("-q", "import_definitions", str(file))


def _forget_ward(broker: TestBroker) -> None:
    broker.node.ctl("-q", "delete_user", "ward1")
    names = [queue.name for queue in topology.queues(("ward",), {"ward1": "ward"})]
    for name in names:
        if "ward" in name:
            broker.node.ctl("-q", "-p", topology.VHOST, "delete_queue", name)


async def test_a_cancel_to_a_pool_without_an_exchange_holds_up_no_other_message(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab, running_tasks(rabbit):
        far, row = await written_request(), await written_request()
        for one in (far, row):
            await in_state(one.pk, State.PUBLISHED, PATIENCE)
        await InferenceRequest.objects.filter(pk=far.pk).aupdate(pool="nowhere")
        await sync_to_async(cancel)(far.pk)
        await sync_to_async(cancel)(row.pk)
        queue = await lab.channel.get_queue(topology.control_queue("lab1", 1), ensure=False)

        async def told() -> bool:
            message = await queue.get(no_ack=True, fail=False)
            return message is not None and message.correlation_id == str(row.pk)

        await eventually(told, "the other cancel", PATIENCE)
        last = await written_request()
        await in_state(last.pk, State.PUBLISHED, PATIENCE)
