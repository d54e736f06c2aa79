"""The reconciler of a running site releases what is held, and is held up by nothing."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async

from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from tests.integration.lab import orthanc_get
from tests.integration.nodes import TestBroker
from tests.integration.reconciler_bench import QUICK, Archive, change, request_for, site
from tests.integration.web_requests import in_state, lab_side, stored
from tests.site import site_with, use_archive
from web.inference.models import InferenceRequest, Outbox
from web.inference.states import State

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]


@pytest_asyncio.fixture
async def archive(orthanc: OrthancNode, settings: Any) -> Archive:
    use_archive(settings, orthanc, waits=True)
    archive = await asyncio.to_thread(Archive, orthanc)

    def stable() -> bool:
        series = orthanc_get(orthanc, f"/studies/{archive.study_id}/series")
        return all(item["IsStable"] for item in series)

    await asyncio.to_thread(wait_until, stable, "be stable", 30)
    return archive


async def held(archive: Archive) -> InferenceRequest:
    """A request as `submit` writes it while images arrive; with fewer of them than there are."""
    row = await request_for(archive.series, archive.study_id)
    (series,) = await asyncio.to_thread(
        orthanc_get, archive.node, f"/studies/{archive.study_id}/series"
    )
    few = [item | {"series_id": series["ID"], "instance_count": 1} for item in row.inputs]
    await change(row.pk, held_for="series_arriving", inputs=few)
    await sync_to_async(Outbox.objects.filter(request=row).update)(held=True)
    return row


async def waits(request_id: UUID) -> bool:
    row = await stored(request_id)
    return row.state == State.QUEUED and row.held_for == "series_arriving"


async def test_it_is_released_by_itself_and_reaches_the_lab_with_what_is_there(
    rabbit: TestBroker, archive: Archive
) -> None:
    # Written before the site is there: what no process of it has seen is found too.
    row = await held(archive)
    async with lab_side(rabbit) as lab, site(rabbit):
        await in_state(row.pk, State.PUBLISHED)
        taken = await lab.take()
        assert taken.correlation_id == str(row.pk)
        assert f'"instance_count":{archive.series.slices}'.encode() in taken.body


async def test_neither_an_absent_archive_nor_a_broken_row_ends_it(
    rabbit: TestBroker, archive: Archive, settings: Any
) -> None:
    good = settings.SITE.orthanc_url
    site_with(settings, orthanc_url="http://127.0.0.1:9")
    broken = await held(archive)
    await change(broken.pk, inputs=["no input"])
    sound = await held(archive)
    async with lab_side(rabbit), site(rabbit):
        # Several turns.
        await asyncio.sleep(10 * QUICK.turn_s)
        assert await waits(sound.pk)
        site_with(settings, orthanc_url=good)
        await in_state(sound.pk, State.PUBLISHED)
        assert await waits(broken.pk)
