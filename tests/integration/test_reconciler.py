"""What is lost on its way is sent again, once; what only waits is left alone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async

from infra.local.orthanc import OrthancNode
from messages.events import InferenceAccepted
from messages.failures import FailureCode
from tests.integration.nodes import TestBroker
from tests.integration.reconciler_bench import (
    LONG,
    QUEUE,
    QUICK,
    Archive,
    ago,
    beat,
    change,
    history,
    purge,
    queued_again,
    request_for,
    site,
    waiting,
)
from tests.integration.web_requests import (
    eventually,
    in_state,
    lab_side,
    place,
    stored,
)
from tests.site import site_with, use_archive
from web.inference.cancel import cancel
from web.inference.models import InferenceRequest, Outbox
from web.inference.states import State

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]


@pytest_asyncio.fixture
async def archive(orthanc: OrthancNode, settings: Any) -> Archive:
    use_archive(settings, orthanc)
    return await asyncio.to_thread(Archive, orthanc)


async def new_request(archive: Archive) -> InferenceRequest:
    return await request_for(archive.series, archive.study_id)


async def still(request_id: UUID, state: State, attempt: int = 1) -> bool:
    row = await stored(request_id)
    return row.state == state and row.attempt == attempt


async def test_a_request_that_waits_for_a_lab_is_never_sent_again(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with lab_side(rabbit) as lab, site(rabbit):
        row = await new_request(archive)
        await in_state(row.pk, State.PUBLISHED)
        await asyncio.sleep(LONG)
        assert await still(row.pk, State.PUBLISHED)
        assert await lab.waiting(QUEUE) == 1


async def test_a_request_whose_queue_was_purged_is_sent_again_once(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with lab_side(rabbit) as lab, site(rabbit):
        row = await new_request(archive)
        await in_state(row.pk, State.PUBLISHED)
        await purge(rabbit)
        await queued_again(row.pk)
        await asyncio.sleep(LONG)
        assert await still(row.pk, State.PUBLISHED, attempt=2)
        assert await lab.waiting(QUEUE) == 1
        assert (await lab.take()).headers["x-labrelay-attempt"] == 2
        told = await history(row.pk)
        assert told[-2:] == [(State.QUEUED, 2, ""), (State.PUBLISHED, 2, "")]


async def test_while_one_message_waits_the_count_does_not_say_whose_it_is(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with lab_side(rabbit) as lab, site(rabbit):
        first = await new_request(archive)
        await in_state(first.pk, State.PUBLISHED)
        await purge(rabbit)
        second = await new_request(archive)
        await in_state(second.pk, State.PUBLISHED)
        await asyncio.sleep(LONG)
        assert await still(first.pk, State.PUBLISHED)
        assert await lab.waiting(QUEUE) == 1

        # A lab takes what is there, and holds it.
        taken = await lab.take()
        assert taken.correlation_id == str(second.pk)
        await lab.tell(InferenceAccepted(**place(second.pk, 0)))
        await beat(lab, second.pk)
        await queued_again(first.pk)
        assert await still(second.pk, State.ACCEPTED)


async def test_what_a_silent_consumer_may_hold_is_not_sent_again_until_a_lab_speaks(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with lab_side(rabbit) as lab, site(rabbit):
        row = await new_request(archive)
        await in_state(row.pk, State.PUBLISHED)
        queue = await lab.channel.get_queue(QUEUE, ensure=False)
        held: list[Any] = []
        await queue.consume(held.append)
        await eventually(waiting(lab, 0), "the delivery taken")
        await asyncio.sleep(LONG)
        assert await still(row.pk, State.PUBLISHED)
        # It lives, and has lost what it took.
        await held[0].ack()
        await beat(lab)
        await queued_again(row.pk)


async def test_what_a_lab_accepts_and_lists_and_swallows_is_sent_again_and_not_ended(
    rabbit: TestBroker, archive: Archive
) -> None:
    patient = replace(QUICK, gone_s=60)
    async with lab_side(rabbit) as lab, site(rabbit, patient):
        row = await new_request(archive)
        await lab.take()
        await change(row.pk, deadline_s=2)
        await beat(lab, row.pk)
        await lab.tell(InferenceAccepted(**place(row.pk, 0)))
        # A lab that obeys the time limit would have told its end by then.
        await queued_again(row.pk)
        assert (await stored(row.pk)).accepted_at is None


async def test_a_request_that_a_lab_lists_is_not_sent_again(
    rabbit: TestBroker, archive: Archive
) -> None:
    # The heartbeat counts for as long as this test lasts, as one every ten seconds would.
    patient = replace(QUICK, gone_s=60)
    async with lab_side(rabbit) as lab, site(rabbit, patient):
        row = await new_request(archive)
        await lab.take()
        await lab.tell(InferenceAccepted(**place(row.pk, 0)))
        await in_state(row.pk, State.ACCEPTED)
        await beat(lab, row.pk)
        await asyncio.sleep(LONG)
        assert await still(row.pk, State.ACCEPTED)
        await beat(lab)
        await queued_again(row.pk)


async def test_a_fault_at_one_request_keeps_no_other_from_its_turn(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with lab_side(rabbit), site(rabbit):
        broken = await new_request(archive)
        await in_state(broken.pk, State.PUBLISHED)
        await change(broken.pk, inputs=["no input"])
        sound = await new_request(archive)
        await in_state(sound.pk, State.PUBLISHED)
        await purge(rabbit)
        await queued_again(sound.pk)
        assert await still(broken.pk, State.PUBLISHED)


async def test_a_request_that_no_lab_took_in_time_is_expired(
    rabbit: TestBroker, archive: Archive, settings: Any
) -> None:
    site_with(settings, request_expires_seconds=100)
    async with lab_side(rabbit) as lab, site(rabbit):
        row, young = await new_request(archive), await new_request(archive)
        await in_state(row.pk, State.PUBLISHED)
        await change(row.pk, created_at=ago(101))
        ended = await in_state(row.pk, State.FAILED)
        assert ended.failure_code == FailureCode.EXPIRED
        assert (await history(row.pk))[-1] == (State.FAILED, 1, "expired")
        assert await still(young.pk, State.PUBLISHED)
        stops = Outbox.objects.filter(request=row, type="cancel.requested.v1")
        # A lab that takes it later is told once more.
        await eventually(stops.filter(sent_at__isnull=False).aexists, "the first stop sent")
        await lab.tell(InferenceAccepted(**place(row.pk, 0)))

        async def told_twice() -> bool:
            return await stops.acount() == 2

        await eventually(told_twice, "two stops")
        assert await still(row.pk, State.FAILED)


async def test_a_cancel_that_nobody_can_confirm_is_settled(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with lab_side(rabbit) as lab, site(rabbit):
        held, waits = await new_request(archive), await new_request(archive)
        for row in (held, waits):
            await in_state(row.pk, State.PUBLISHED)
        await lab.take()
        await beat(lab, held.pk)
        await lab.tell(InferenceAccepted(**place(held.pk, 0)))
        await in_state(held.pk, State.ACCEPTED)
        await sync_to_async(cancel)(held.pk)
        await sync_to_async(cancel)(waits.pk)
        ended = await in_state(waits.pk, State.CANCELLED)
        assert ended.finished_at is not None
        assert [state for state, *_ in await history(waits.pk)][-2:] == ["cancelling", "cancelled"]
        # The lab that lists the other one will answer for it.
        await asyncio.sleep(1)
        assert await still(held.pk, State.CANCELLING)
        await beat(lab)
        await in_state(held.pk, State.CANCELLED)
