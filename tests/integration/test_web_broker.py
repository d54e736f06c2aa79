"""Outbox, replies, hints and dead letters on a real broker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import sync_to_async
from structlog.testing import capture_logs

from messages.events import InferenceFailed
from messages.failures import FailureCode
from messages.lab import LabHeartbeat, ModelDescriptor
from messages.repair import IMPORT_SENTENCE
from tests.integration.nodes import TestBroker, running_rabbit
from tests.integration.web_requests import (
    REPLIES,
    LabSide,
    a_run,
    eventually,
    in_state,
    lab_side,
    place,
    running_tasks,
    stored,
    written_request,
)
from web.broker import leases, relay, tasks
from web.broker.connection import Needs, why_not
from web.broker.tasks import BrokerTasks
from web.inference.models import DeadLetter, Outbox, SeenEvent
from web.inference.states import State
from web.labs.models import Lab

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]


@asynccontextmanager
async def site_and_lab(broker: TestBroker) -> AsyncIterator[LabSide]:
    async with lab_side(broker) as lab, running_tasks(broker):
        yield lab


async def test_a_committed_request_reaches_its_queue_once_and_is_then_published(
    rabbit: TestBroker,
) -> None:
    async with site_and_lab(rabbit) as lab:
        row = await written_request()
        message = await lab.take()
        published = await in_state(row.pk, State.PUBLISHED)

        assert message.correlation_id == str(row.pk)
        assert message.type == "inference.requested.v1"
        assert message.delivery_mode == 2
        assert message.user_id == "web"
        assert message.headers["x-labrelay-attempt"] == 1
        assert published.published_at is not None
        assert published.version == 2
        await asyncio.sleep(1.5)
        assert await lab.waiting("mri.requests.lab") == 0


async def test_a_request_that_is_written_while_no_relay_runs_is_published_later(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab:
        row = await written_request()
        async with running_tasks(rabbit):
            message = await lab.take()
            assert message.correlation_id == str(row.pk)
            await in_state(row.pk, State.PUBLISHED)


async def test_a_crash_between_publish_and_mark_publishes_the_same_message_again_and_no_third(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab:
        row = await written_request()
        outbox = await Outbox.objects.aget(request=row)
        async with running_tasks(rabbit):
            first = await lab.take()
            await in_state(row.pk, State.PUBLISHED)
        # The database as it was before the mark: that is what a crash leaves.
        await Outbox.objects.filter(pk=outbox.pk).aupdate(sent_at=None, leased_until=None)
        async with running_tasks(rabbit):
            second = await lab.take()
            await asyncio.sleep(1.5)
            assert await lab.waiting("mri.requests.lab") == 0

        assert first.message_id == second.message_id == str(outbox.message_id)
        assert (await stored(row.pk)).state == State.PUBLISHED


async def test_a_relay_that_is_stopped_between_confirm_and_mark_marks_the_row_all_the_same(
    rabbit: TestBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirmed = asyncio.Event()

    def heard(*args: Any) -> leases.Sent:
        confirmed.set()
        return leases.Sent(*args)

    monkeypatch.setattr(relay, "Sent", heard)
    monkeypatch.setattr(relay, "SETTLE_SECONDS", 3600.0)
    async with lab_side(rabbit) as lab:
        row = await written_request()
        async with running_tasks(rabbit):
            await asyncio.wait_for(confirmed.wait(), 10)
            assert (await Outbox.objects.aget(request=row)).sent_at is None

        assert (await Outbox.objects.aget(request=row)).sent_at is not None
        assert (await stored(row.pk)).state == State.PUBLISHED
        await lab.take()


async def test_a_row_that_cannot_be_marked_keeps_no_other_from_it(
    rabbit: TestBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, *good = [await written_request() for _ in range(4)]
    record = leases.record_published

    def failing(request_id: UUID, at: datetime) -> bool:
        if request_id == bad.pk:
            raise ValueError("a fault of ours")
        return record(request_id, at)

    monkeypatch.setattr(leases, "record_published", failing)
    async with lab_side(rabbit), running_tasks(rabbit):
        for row in good:
            await in_state(row.pk, State.PUBLISHED)
        assert (await Outbox.objects.aget(request=bad)).sent_at is None


async def test_two_relays_share_an_outbox_without_publishing_a_row_twice(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab:
        rows = [await written_request() for _ in range(40)]
        async with running_tasks(rabbit), running_tasks(rabbit):
            for row in rows:
                await in_state(row.pk, State.PUBLISHED)
            taken = [(await lab.take()).correlation_id for _ in rows]
            assert sorted(taken) == sorted(str(row.pk) for row in rows)
            assert await lab.waiting("mri.requests.lab") == 0


async def test_a_row_whose_relay_died_is_taken_over_when_its_lease_has_run_out(
    rabbit: TestBroker,
) -> None:
    row = await written_request()
    assert len(await sync_to_async(leases.take)(uuid4(), 10)) == 1
    assert await sync_to_async(leases.take)(uuid4(), 10) == []

    await Outbox.objects.filter(request=row).aupdate(leased_until=row.created_at)
    assert len(await sync_to_async(leases.take)(uuid4(), 10)) == 1


async def test_a_row_that_a_look_has_taken_is_not_taken_again_when_its_bell_rings(
    rabbit: TestBroker,
) -> None:
    row = await written_request()
    outbox, lease = await Outbox.objects.aget(request=row), uuid4()
    assert len(await sync_to_async(leases.take)(lease, 10)) == 1
    assert await sync_to_async(leases.take_fresh)(lease, [outbox]) == []

    await sync_to_async(leases.give_back)(lease)
    assert await sync_to_async(leases.take_fresh)(lease, [outbox]) == [outbox]


async def test_a_message_that_no_queue_takes_stays_in_the_outbox(rabbit: TestBroker) -> None:
    async with site_and_lab(rabbit):
        row = await written_request()
        await in_state(row.pk, State.PUBLISHED)
        with capture_logs() as logs:
            await Outbox.objects.filter(request=row).aupdate(
                sent_at=None, lease=None, leased_until=None, routing_key="nopool.model"
            )

            async def tried_again() -> bool:
                said = [entry for entry in logs if entry["event"] == "publish_refused"]
                return len(said) == 2

            await eventually(tried_again, "a second try")
        outbox = await Outbox.objects.aget(request=row)
        assert outbox.sent_at is None
        (held,) = (entry for entry in logs if entry["event"] == "publish_held")
        assert (held["destination"], held["reason"]) == ("mri.requests.nopool", "missing")


async def test_the_events_of_a_run_are_applied_and_acknowledged(rabbit: TestBroker) -> None:
    async with lab_side(rabbit) as lab:
        async with running_tasks(rabbit):
            row = await written_request()
            await lab.take()
            for event in a_run(row.pk):
                await lab.tell(event)
            done = await in_state(row.pk, State.REPORTED)
            await asyncio.sleep(0.5)

        assert done.lab == "lab1"
        # What it says of a result is not told: no archive is there to look for it.
        assert done.result is None
        assert done.reported_seconds == {"inferring": 2.5}
        assert done.accepted_at is not None
        # With its consumer gone the broker would offer again what was not acknowledged.
        assert await lab.waiting(REPLIES) == 0


async def test_duplicates_in_any_order_are_harmless(rabbit: TestBroker) -> None:
    async with lab_side(rabbit) as lab:
        async with running_tasks(rabbit):
            row = await written_request()
            events = a_run(row.pk) * 3
            random.Random(7).shuffle(events)
            await lab.tell(*events)
            done = await in_state(row.pk, State.REPORTED)
            await asyncio.sleep(0.5)

        assert (await stored(row.pk)).version <= done.version + 1
        await lab.has_waiting(REPLIES, 0)
        # What came too late changed nothing, and is not remembered.
        assert await SeenEvent.objects.acount() in {1, 2}


async def test_garbage_among_the_replies_ends_as_a_dead_letter_and_the_next_reply_counts(
    rabbit: TestBroker,
) -> None:
    async with site_and_lab(rabbit) as lab:
        row = await written_request()
        await lab.tell_raw("request.completed", b"\x00 no json", type="inference.completed.v1")
        await lab.tell(a_run(row.pk)[-1])
        await in_state(row.pk, State.REPORTED)

        async def letter() -> DeadLetter | None:
            return await DeadLetter.objects.afirst()

        found: DeadLetter = await eventually(letter, "a dead letter")
        assert (found.queue, found.reason) == (REPLIES, "rejected")
        assert found.type == "inference.completed.v1"
        assert bytes(found.body) == b"\x00 no json"
        assert found.size == 9


async def test_a_dead_request_is_shown_as_dead(rabbit: TestBroker) -> None:
    async with site_and_lab(rabbit) as lab:
        row = await written_request()
        queue = await lab.channel.get_queue("mri.requests.lab", ensure=False)

        async def delivered() -> bool:
            message = await queue.get(fail=False)
            if message is not None:
                await message.reject(requeue=False)
            return message is not None

        await eventually(delivered, "a delivery")
        dead = await in_state(row.pk, State.DEAD)
        assert dead.failure_code == FailureCode.WORKER_CRASHED
        letter = await DeadLetter.objects.aget()
        assert letter.request_id == row.pk
        assert letter.queue == "mri.requests.lab"


async def test_an_unknown_version_is_kept_and_an_unknown_request_acknowledged(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab:
        async with running_tasks(rabbit):
            await lab.tell_raw("request.completed", b"{}", type="inference.completed.v2")
            await lab.tell(a_run(uuid4())[-1])
            row = await written_request()
            await lab.tell(a_run(row.pk)[-1])
            await in_state(row.pk, State.REPORTED)
            await asyncio.sleep(0.5)

        await lab.has_waiting(REPLIES, 1)
        assert await DeadLetter.objects.acount() == 0
        # A stranger can tell of requests that never were without end: nothing is kept of it.
        assert await SeenEvent.objects.acount() == 1


async def test_progress_shows_and_heartbeats_become_labs(rabbit: TestBroker) -> None:
    async with site_and_lab(rabbit) as lab:
        row = await written_request()
        accepted, downloading, *_ = a_run(row.pk)
        await lab.tell(accepted, downloading)
        model = ModelDescriptor(
            name="m", version="1", sha256="0" * 64, roles=("image",), labels=("x",), notice="n"
        )
        beat = LabHeartbeat(lab="lab1", pool="lab", device="cpu", models=(model,), at=accepted.at)
        await lab.tell(beat)

        shown = await in_state(row.pk, State.DOWNLOADING)
        assert shown.progress == {"stage": "downloading", "done": 1, "total": 3}

        async def seen() -> Lab | None:
            # It is known from the beginning; online it is once its heartbeat is written.
            found = await Lab.objects.aget(name="lab1")
            return found if found.online else None

        assert await eventually(seen, "the lab online")


async def test_everything_goes_on_after_a_restart_of_the_broker(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_rabbit(tmp_path_factory.mktemp("restarted")) as broker:
        async with running_tasks(broker):
            async with lab_side(broker, shared=False) as lab:
                before = await written_request()
                await lab.take()
                await in_state(before.pk, State.PUBLISHED)
            await asyncio.to_thread(broker.node.kill)
            meanwhile = await written_request()
            await asyncio.to_thread(broker.node.start)
            await asyncio.to_thread(broker.node.wait_ready)
            await in_state(meanwhile.pk, State.PUBLISHED, 60)
            async with lab_side(broker, shared=False) as lab:
                fault = InferenceFailed(
                    **place(before.pk, 1), code=FailureCode.TOO_LARGE, detail="x", stage_seconds={}
                )
                await lab.tell(fault)
                assert (await in_state(before.pk, State.FAILED, 60)).failure_code == "too_large"


async def test_the_tasks_end_at_whatever_moment_they_are_stopped(rabbit: TestBroker) -> None:
    for delay in (0, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12):
        site = BrokerTasks([rabbit.url("web")])
        site.start()
        await asyncio.sleep(delay)
        async with asyncio.timeout(12):
            await site.stop()


async def test_what_is_missing_is_named_with_the_command_that_puts_it_there(
    rabbit: TestBroker,
) -> None:
    assert await why_not([rabbit.url("web")], tasks.needs("lab")) is None
    # Asked as a user who may see it, if it were there.
    sentence = await why_not([rabbit.url("admin")], Needs(queues=("mri.absent",)))
    assert sentence == f"queue mri.absent is missing: {IMPORT_SENTENCE}"
    assert await why_not(["amqp://web:pw@127.0.0.1:1/mri"], tasks.needs("lab")) is None
