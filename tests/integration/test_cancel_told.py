"""Who hears of a cancel: the labs on a real broker, the reader's other pages, and waiting calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from infra.local.orthanc import OrthancNode
from messages import topology
from messages.codec import decode
from messages.control import CancelRequested
from messages.events import InferenceAccepted, InferenceCancelled
from messages.lab import LabHeartbeat
from tests.integration.lab import store_small_study
from tests.integration.nodes import TestBroker
from tests.integration.test_legacy_calls import (
    BASE,
    caller,
    cookie_of,
    nothing_is_left,
    segment,
    sentence_in,
    the_request,
)
from tests.integration.test_web_live import page
from tests.integration.web_requests import (
    LabSide,
    a_run,
    eventually,
    in_state,
    lab_side,
    place,
    running_tasks,
    written_request,
)
from tests.site import reader_of, use_archive
from web import notify
from web.inference.models import InferenceRequest, Outbox
from web.inference.states import State

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]


class ControlQueue:
    """One of a lab's own queues of cancels."""

    def __init__(self, lab: LabSide) -> None:
        self._channel = lab.channel

    async def bind(self) -> None:
        name = topology.control_queue("lab1", 1)
        self._queue = await self._channel.get_queue(name, ensure=False)
        # What lies there was told to a lab of another test.
        await self._queue.purge()

    async def hears(self, row: InferenceRequest) -> aio_pika.abc.AbstractIncomingMessage:
        async def next_one() -> aio_pika.abc.AbstractIncomingMessage | None:
            return await self._queue.get(no_ack=True, fail=False)

        message: aio_pika.abc.AbstractIncomingMessage = await eventually(next_one, "a cancel")
        told = decode(message.body, type_=message.type, content_type=message.content_type)
        assert isinstance(told, CancelRequested)
        assert told.request_id == row.pk
        return message


@asynccontextmanager
async def site_and_lab(broker: TestBroker) -> AsyncIterator[tuple[LabSide, ControlQueue]]:
    async with lab_side(broker) as lab, running_tasks(broker):
        control = ControlQueue(lab)
        await control.bind()
        yield lab, control


@sync_to_async
def reader() -> Client:
    client = Client()
    client.force_login(reader_of(name=f"reader-{uuid4().hex[:8]}"))
    return client


async def cancelled_by(client: Client, row: InferenceRequest) -> Any:
    answer = await sync_to_async(client.post)(f"/api/v1/requests/{row.pk}/cancel")
    assert answer.status_code == 202
    return answer.json()


async def all_sent(row: InferenceRequest, count: int) -> None:
    """So many messages that the request is to be stopped, every one confirmed."""
    stops = Outbox.objects.filter(request=row, type=CancelRequested.wire_type())

    async def sent() -> bool:
        return await stops.filter(sent_at__isnull=False).acount() == count

    await eventually(sent, "a cancel that is sent")
    assert await stops.acount() == count


async def test_a_connected_lab_hears_the_cancel_and_what_it_answers_ends_the_request(
    rabbit: TestBroker,
) -> None:
    client = await reader()
    async with site_and_lab(rabbit) as (lab, control):
        row = await written_request()
        await lab.take()
        await lab.tell(*a_run(row.pk)[:1])
        await in_state(row.pk, State.ACCEPTED)

        assert (await cancelled_by(client, row))["state"] == "cancelling"
        message = await control.hears(row)
        assert (message.user_id, message.correlation_id) == ("web", str(row.pk))

        await lab.tell(InferenceCancelled(**place(row.pk, 2)))
        await in_state(row.pk, State.CANCELLED)
        await all_sent(row, 1)


async def test_without_a_lab_a_cancel_counts_as_sent_and_is_not_repeated(
    rabbit: TestBroker,
) -> None:
    client = await reader()
    async with lab_side(rabbit) as lab, running_tasks(rabbit):
        row = await written_request()
        await in_state(row.pk, State.PUBLISHED)
        await cancelled_by(client, row)
        await all_sent(row, 1)
        # Its message waits in the queue for whoever comes: told again then, and not before.
        await lab.has_waiting("mri.requests.lab", 1)

        control = ControlQueue(lab)
        await control.bind()
        await lab.take()
        await lab.tell(InferenceAccepted(**place(row.pk, 0)))
        await control.hears(row)
        await all_sent(row, 2)


async def test_a_lab_that_holds_what_nobody_wants_is_told_with_its_heartbeat(
    rabbit: TestBroker,
) -> None:
    client = await reader()
    async with site_and_lab(rabbit) as (lab, control):
        row, wanted = await written_request(), await written_request()
        await in_state(row.pk, State.PUBLISHED)
        await cancelled_by(client, row)
        await control.hears(row)
        await all_sent(row, 1)

        beat = LabHeartbeat(
            lab="lab1",
            pool="lab",
            device="cpu",
            models=(),
            current=(wanted.pk, row.pk),
            at=datetime.now(UTC),
        )
        await lab.tell(beat)
        await control.hears(row)
        assert not await Outbox.objects.filter(
            request=wanted, type=CancelRequested.wire_type()
        ).aexists()


async def test_the_readers_other_page_hears_of_a_cancel_at_once() -> None:
    # No watch runs here, which would heal a hint that was never sent.
    client, row = await reader(), await written_request()
    async with page() as followed, page() as worklist:
        await followed.say({"type": "follow", "request_ids": [str(row.pk)]})
        await worklist.say({"type": "follow", "worklist": True})
        for socket in (followed, worklist):
            await socket.hear("snapshot")
        shown = await cancelled_by(client, row)
        for socket in (followed, worklist):
            assert (await socket.hear("event"))["request"] == shown


@pytest.mark.parametrize(
    ("language", "sentence"),
    [("ko", "요청이 취소되었습니다."), ("en", "The request was cancelled.")],
)
async def test_a_call_that_waits_ends_with_its_sentence_when_its_request_is_cancelled(
    language: str, sentence: str, orthanc: OrthancNode, settings: Any
) -> None:
    use_archive(settings, orthanc)
    study = await sync_to_async(store_small_study)(orthanc)
    async with caller(await cookie_of(), accept_language=language) as client:
        call = asyncio.create_task(segment(client, study))
        row = await the_request()
        listed = await client.post(f"/api/v1/requests/{row.pk}/cancel")
        assert listed.json()["state"] == "cancelled"
        answer = await asyncio.wait_for(call, 10)
        status = (await client.get(f"{BASE}/status/{row.pk}/")).json()
    assert answer.status_code == 500
    assert sentence_in(answer) == sentence
    assert answer.json()["request_id"] == str(row.pk)
    assert (status["status"], status["result"]["error"]) == ("failed", sentence)
    assert nothing_is_left()


async def test_a_call_goes_on_waiting_until_the_lab_has_let_go(
    rabbit: TestBroker, orthanc: OrthancNode, settings: Any
) -> None:
    use_archive(settings, orthanc)
    study = await sync_to_async(store_small_study)(orthanc)
    async with (
        site_and_lab(rabbit) as (lab, control),
        caller(await cookie_of(), accept_language="en") as client,
    ):
        call = asyncio.create_task(segment(client, study))
        row = await the_request()
        await lab.take()
        await lab.tell(*a_run(row.pk)[:1])
        await in_state(row.pk, State.ACCEPTED)
        shown = await client.post(f"/api/v1/requests/{row.pk}/cancel")
        assert shown.json()["state"] == "cancelling"
        await control.hears(row)
        await notify.requests_changed([row.pk])
        status = (await client.get(f"{BASE}/status/{row.pk}/")).json()
        assert status["status"] == "processing"
        assert not call.done()
        await lab.tell(InferenceCancelled(**place(row.pk, 1)))
        answer = await asyncio.wait_for(call, 10)
    assert answer.status_code == 500
    assert sentence_in(answer) == "The request was cancelled."
