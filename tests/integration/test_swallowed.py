"""A lab that swallows requests, and keeps its queues from being empty with its own account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aio_pika
import pytest
import pytest_asyncio

from infra.local.orthanc import OrthancNode
from messages import topology
from messages.events import InferenceAccepted
from tests.integration.nodes import TestBroker
from tests.integration.reconciler_bench import (
    QUICK,
    Archive,
    beat,
    change,
    purge,
    queued_again,
    request_for,
    site,
)
from tests.integration.web_requests import LabSide, in_state, lab_side, place, stored
from tests.site import use_archive
from web.inference.models import InferenceRequest
from web.inference.states import State

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

#: Where the junk lies for ten minutes; a lab can put more there for ever.
TIER = topology.retry_queue("lab", "10m")

#: What a lab last listed counts for the whole test, as if it went on listing it.
PACE = replace(QUICK, unexplained_s=1.0, gone_s=60)


@pytest_asyncio.fixture
async def archive(orthanc: OrthancNode, settings: Any) -> Archive:
    use_archive(settings, orthanc)
    return await asyncio.to_thread(Archive, orthanc)


@asynccontextmanager
async def hostile_lab(broker: TestBroker) -> AsyncIterator[LabSide]:
    """It has put messages into a tier and a backlog into the queue of what rules ask for."""
    async with lab_side(broker) as lab:
        tier = topology.retry_exchange("lab", "10m")
        exchange = await lab.channel.get_exchange(tier, ensure=False)
        try:
            for key in ("lab.junk", "rules.lab.junk"):
                await exchange.publish(aio_pika.Message(b"junk", delivery_mode=2), key)
            await lab.has_waiting(TIER, 1)
            yield lab
            assert await lab.waiting(TIER) == 1
        finally:
            for queue in (TIER, topology.rules_retry_queue("lab", "10m")):
                await purge(broker, queue)


async def swallowed(lab: LabSide, archive: Archive) -> InferenceRequest:
    """A request that the lab takes, and acknowledges without a word."""
    row = await request_for(archive.series, archive.study_id)
    await in_state(row.pk, State.PUBLISHED)
    taken = await lab.take()
    assert taken.correlation_id == str(row.pk)
    return row


async def test_what_a_lab_swallows_is_sent_again_once_labs_have_gone_past_it(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with hostile_lab(rabbit) as lab, site(rabbit, PACE):
        silent, told = await swallowed(lab, archive), await swallowed(lab, archive)
        await lab.tell(InferenceAccepted(**place(told.pk, 0)))
        later = await swallowed(lab, archive)
        await lab.tell(InferenceAccepted(**place(later.pk, 0)))
        await beat(lab, later.pk)
        await queued_again(silent.pk)
        # What was told of could lie at the head, until labs are seen to take another.
        await lab.take()
        newest = await swallowed(lab, archive)
        await lab.tell(InferenceAccepted(**place(newest.pk, 0)))
        await beat(lab, later.pk, newest.pk)
        await queued_again(told.pk)
        # What an honest lab holds is left alone.
        for row in (later, newest):
            assert (await stored(row.pk)).attempt == 1


async def test_what_a_lab_swallows_is_sent_again_though_it_takes_nothing_else(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with hostile_lab(rabbit) as lab, site(rabbit, PACE):
        row = await swallowed(lab, archive)
        waits = await request_for(archive.series, archive.study_id)
        await in_state(waits.pk, State.PUBLISHED)
        await beat(lab)
        # It may take a second: for longer the labs have come no further.
        await change(row.pk, deadline_s=1)
        await queued_again(row.pk)
        assert (await stored(waits.pk)).attempt == 1


async def test_a_backlog_of_rules_is_none_of_what_readers_ask_for(
    rabbit: TestBroker, archive: Archive
) -> None:
    queue = topology.rules_queue("lab")
    async with lab_side(rabbit) as lab, site(rabbit):
        channel = await lab.sees.get_exchange(topology.REQUESTS, ensure=False)
        try:
            await channel.publish(aio_pika.Message(b"a rule's"), "rules.lab.junk")
            await lab.has_waiting(queue, 1)
            row = await swallowed(lab, archive)
            await queued_again(row.pk)
            assert await lab.waiting(queue) == 1
        finally:
            await purge(rabbit, queue)
