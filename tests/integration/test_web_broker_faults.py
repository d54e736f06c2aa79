"""Poisoned messages, a broker in alarm, and replies that must wait: outcomes go on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pika
import pytest
from structlog.testing import capture_logs

from messages import topology
from messages.codec import encode
from messages.lab import LabHeartbeat
from tests.integration.nodes import TestBroker, running_rabbit
from tests.integration.web_requests import (
    REPLIES,
    LabSide,
    a_run,
    eventually,
    in_state,
    lab_side,
    running_tasks,
    speaking_as,
    written_request,
)
from web.broker.inbox import BATCH
from web.inference.models import DeadLetter, Outbox
from web.inference.states import State
from web.labs.models import Lab

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

NO_UTF8 = b"\xff\xfe\x80"


def poison(broker: TestBroker, user: str, exchange: str, key: str) -> None:
    """A message that breaks the rules of AMQP; aio-pika would not send it."""
    properties = pika.BasicProperties(
        type=NO_UTF8,
        message_id=NO_UTF8,
        correlation_id=NO_UTF8,
        app_id=NO_UTF8,
        timestamp=2**63,
        delivery_mode=2,
    )
    connection = pika.BlockingConnection(pika.URLParameters(broker.url(user)))
    connection.channel().basic_publish(exchange, key, b"{}", properties)
    connection.close()


async def test_a_message_that_is_no_amqp_becomes_a_dead_letter_and_outcomes_go_on(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab, running_tasks(rabbit):
        row = await written_request()
        await lab.take()
        requests = await lab.channel.get_queue("mri.requests.lab", ensure=False)
        await asyncio.to_thread(poison, rabbit, "admin", topology.REQUESTS, "lab.any")
        await asyncio.to_thread(
            poison, rabbit, "lab1", topology.events_exchange("lab"), "request.completed"
        )

        async def rejected() -> bool:
            message = await requests.get(fail=False)
            if message is not None:
                await message.reject(requeue=False)
            return message is not None

        await eventually(rejected, "the poisoned request")

        async def both() -> bool:
            return await DeadLetter.objects.acount() == 2

        await eventually(both, "two dead letters")
        queues = [letter.queue async for letter in DeadLetter.objects.order_by("queue")]
        assert queues == [REPLIES, "mri.requests.lab"]
        assert (await DeadLetter.objects.afirst()).type == "\ufffd" * 3

        await lab.tell(a_run(row.pk)[-1])
        await in_state(row.pk, State.REPORTED, 5)
        assert await lab.waiting("mri.dead") == 0


async def test_an_alarm_of_the_broker_is_said_once_and_leaves_one_message_of_each_request(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with running_rabbit(tmp_path_factory.mktemp("alarmed")) as broker, capture_logs() as logs:
        async with lab_side(broker, shared=False) as lab, running_tasks(broker):
            first = await written_request()
            await lab.take()
            await in_state(first.pk, State.PUBLISHED)
            watermark = "set_vm_memory_high_watermark"
            await asyncio.to_thread(broker.node.ctl, watermark, "0.0000001")
            rows = [await written_request() for _ in range(3)]

            async def blocked() -> bool:
                return _said(logs, "broker_blocked") == 1

            await eventually(blocked, "the alarm said", 30)
            # Taken as ever, and kept where it can be taken back.
            later = [await written_request() for _ in range(3)]
            # Longer than a lease: what was not renewed would go out again.
            await asyncio.sleep(20)
            untouched = Outbox.objects.filter(request__in=later, attempted=False, sent_at=None)
            assert await untouched.acount() == len(later)
            await asyncio.to_thread(broker.node.ctl, watermark, "0.6")
            for row in (*rows, *later):
                await in_state(row.pk, State.PUBLISHED, 20)
            taken = [(await lab.take()).correlation_id for _ in (*rows, *later)]
            assert sorted(taken) == sorted(str(row.pk) for row in (*rows, *later))
            await asyncio.sleep(1.5)
            assert await lab.waiting("mri.requests.lab") == 0
        assert _said(logs, "broker_blocked") == _said(logs, "broker_unblocked") == 1
        # Once for all, and not again for each row that waits.
        assert _said(logs, "publish_unconfirmed") == _said(logs, "broker_lost") == 0


def _said(logs: list[Any], action: str) -> int:
    return sum(entry["event"] == action for entry in logs)


async def test_more_replies_of_an_unknown_version_than_a_batch_do_not_hold_up_an_outcome(
    rabbit: TestBroker,
) -> None:
    held = BATCH + 30
    async with lab_side(rabbit) as lab:
        first, second = await written_request(), await written_request()
        for _ in range(held):
            await lab.tell_raw("request.completed", b"{}", type="inference.completed.v2")
        await lab.tell(a_run(first.pk)[-1])
        async with running_tasks(rabbit):
            await in_state(first.pk, State.REPORTED, 8)
            # The next one comes when all the held ones have been offered once more.
            await asyncio.sleep(11)
            await lab.tell(a_run(second.pk)[-1])
            await in_state(second.pk, State.REPORTED, 8)
            # It is acknowledged a moment after that; stopped before, it would come again.
            await asyncio.sleep(1)
        await lab.has_waiting(REPLIES, held)
        assert await DeadLetter.objects.acount() == 0


async def test_a_heartbeat_that_lay_in_the_queue_is_as_old_as_it_says(rabbit: TestBroker) -> None:
    now = datetime.now(UTC)

    async def beat(lab: LabSide, sent: datetime) -> None:
        told = LabHeartbeat(lab=lab.user, pool=lab.pool, device="cpu", at=now)
        wire = encode(told, app_id="t")
        await lab.tell_raw(
            LabHeartbeat.ROUTING_KEY,
            wire.body,
            content_type=wire.content_type,
            type=wire.type,
            timestamp=sent,
        )

    async def heard(name: str) -> Lab | None:
        return await Lab.objects.filter(name=name, last_seen__isnull=False).afirst()

    async with (
        lab_side(rabbit) as gone,
        speaking_as(rabbit, "lab2") as ahead,
        speaking_as(rabbit, "server1") as late,
    ):
        await beat(gone, now - timedelta(seconds=50))
        await beat(ahead, now + timedelta(hours=1))
        async with running_tasks(rabbit):
            for name in ("lab1", "lab2"):
                await eventually(lambda name=name: heard(name), name)
            # With a clock that is wrong, but just come: dated by ours.
            await beat(late, now - timedelta(hours=1))
            await eventually(lambda: heard("server1"), "the third lab")
    online = {one.name: one.online async for one in Lab.objects.all()}
    assert online == {"lab1": False, "lab2": True, "server1": True}
    assert (await Lab.objects.aget(name="lab2")).last_seen <= datetime.now(UTC)
