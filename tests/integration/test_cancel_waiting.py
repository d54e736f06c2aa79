"""A cancel of what only waits in a queue needs nobody's answer; nothing is left of it all the same.

The other rule about cancels, and the reconciler's next turn, would come in an hour.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async

from infra.local.orthanc import OrthancNode
from messages.events import InferenceAccepted, InferenceCancelled, InferenceRetryScheduled
from messages.failures import FailureCode
from tests.integration.lab import orthanc_get
from tests.integration.nodes import TestBroker
from tests.integration.reconciler_bench import LONG, QUICK, Archive, beat, request_for, site
from tests.integration.web_requests import (
    LabSide,
    a_run,
    eventually,
    in_state,
    lab_side,
    place,
    stored,
)
from tests.site import use_archive
from web.inference.cancel import cancel
from web.inference.models import InferenceRequest, Outbox, SiteLease
from web.inference.states import State
from web.labs.models import Lab

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

SLOW = replace(QUICK, turn_s=3600, cancel_s=3600, lease_s=3600, untaken_s=0.5)


@pytest_asyncio.fixture
async def archive(orthanc: OrthancNode, settings: Any) -> Archive:
    use_archive(settings, orthanc)
    return await asyncio.to_thread(Archive, orthanc)


async def published(archive: Archive) -> InferenceRequest:
    await eventually(SiteLease.objects.aexists, "a reconciler")
    # Its first turn is over then.
    await asyncio.sleep(1)
    row = await request_for(archive.series, archive.study_id)
    await in_state(row.pk, State.PUBLISHED)
    return row


async def let_go(lab: LabSide, row: InferenceRequest) -> None:
    """A lab has had it, and has put it into a retry tier."""
    await lab.take()
    code, at = FailureCode.ARCHIVE_UNAVAILABLE, datetime.now(UTC) + timedelta(minutes=10)
    retry = InferenceRetryScheduled(**place(row.pk, 1), code=code, next_at=at)
    await lab.tell(InferenceAccepted(**place(row.pk, 0)), retry)
    await in_state(row.pk, State.WAITING)


@pytest.mark.parametrize("where", ["queue", "tier"])
async def test_what_no_lab_has_taken_is_cancelled_without_an_answer(
    rabbit: TestBroker, archive: Archive, where: str
) -> None:
    async with lab_side(rabbit) as lab, site(rabbit, SLOW):
        row = await published(archive)
        # A lab that is there, and works on something else.
        await beat(lab)
        if where == "tier":
            await let_go(lab, row)
        assert (await sync_to_async(cancel)(row.pk)).state == State.CANCELLING
        await in_state(row.pk, State.CANCELLED)


async def test_a_process_that_is_not_the_reconciler_settles_it_as_well(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with lab_side(rabbit), site(rabbit, SLOW):
        row = await published(archive)
        # Another process has the lease.
        await SiteLease.objects.all().aupdate(holder="00000000-0000-4000-8000-000000000000")
        async with site(rabbit, SLOW):
            await sync_to_async(cancel)(row.pk)
            await in_state(row.pk, State.CANCELLED)


async def test_what_a_lab_has_taken_waits_for_its_answer(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with lab_side(rabbit) as lab, site(rabbit, SLOW):
        told, listed = await published(archive), await published(archive)
        await lab.tell(InferenceAccepted(**place(told.pk, 0)))
        await in_state(told.pk, State.ACCEPTED)
        # Its `accepted` is still on its way.
        await beat(lab, listed.pk)

        async def is_listed() -> bool:
            return await Lab.objects.filter(current=[str(listed.pk)]).aexists()

        await eventually(is_listed, "the heartbeat")
        for row in (told, listed):
            await sync_to_async(cancel)(row.pk)
        await asyncio.sleep(LONG)
        for row in (told, listed):
            assert (await stored(row.pk)).state == State.CANCELLING
        await lab.tell(InferenceCancelled(**place(told.pk, 1)))
        await in_state(told.pk, State.CANCELLED)


async def test_a_lab_that_takes_it_afterwards_is_told_and_what_it_stores_is_removed(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with lab_side(rabbit) as lab, site(rabbit, SLOW):
        row = await published(archive)
        await sync_to_async(cancel)(row.pk)
        await in_state(row.pk, State.CANCELLED)
        assert (await lab.take()).correlation_id == str(row.pk)
        stops = Outbox.objects.filter(request=row, type="cancel.requested.v1")
        before = await stops.acount()
        await lab.tell(InferenceAccepted(**place(row.pk, 0)))

        async def told_again() -> bool:
            return await stops.acount() > before

        await eventually(told_again, "the lab told to stop")
        # It has not heard it, stores, and says so.
        _, primary_id, report_id = await asyncio.to_thread(archive.store_result, row.pk)
        await lab.tell(a_run(row.pk)[-1])

        async def removed() -> bool:
            study = await asyncio.to_thread(
                orthanc_get, archive.node, f"/studies/{archive.study_id}/instances"
            )
            return not {primary_id, report_id} & {one["ID"] for one in study}

        await eventually(removed, "nothing of it in the archive", 30)
        assert (await stored(row.pk)).state == State.CANCELLED
