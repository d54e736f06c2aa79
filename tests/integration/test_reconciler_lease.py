"""Of several site processes one reconciles; the next one does when that is gone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from infra.local.orthanc import OrthancNode
from infra.local.process import Service
from infra.local.settings import REPOSITORY, child_environment
from tests.integration.nodes import TestBroker
from tests.integration.reconciler_bench import (
    LONG,
    QUEUE,
    Archive,
    purge,
    queued_again,
    request_for,
    site,
)
from tests.integration.web_requests import eventually, in_state, lab_side, stored
from tests.site import use_archive
from web.inference.models import SiteLease
from web.inference.states import State
from web.reconciler.reconcile import LEASE

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]


@contextmanager
def another_process(root: Path, broker: TestBroker, orthanc: OrthancNode) -> Iterator[Service]:
    """Broker tasks on the same database and broker; started, and ended if nobody killed it."""
    service = Service(
        "second site",
        (sys.executable, "-m", "tests.integration.reconciler_process"),
        log=root / "second.log",
        env=child_environment(
            {
                "DJANGO_SETTINGS_MODULE": "web.settings",
                "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}",
                "RABBITMQ_URL": broker.url("web"),
                "ORTHANC_URL": orthanc.url,
                "ORTHANC_USER": orthanc.user,
                "ORTHANC_PASSWORD": orthanc.password,
            }
        ),
        cwd=REPOSITORY,
    )
    service.start()
    try:
        yield service
    finally:
        service.stop()


async def holder(besides: UUID | None = None) -> UUID:
    """Who has the lease, once somebody has it (and another one than before)."""

    async def somebody() -> SiteLease | None:
        return await SiteLease.objects.filter(name=LEASE).exclude(holder=besides).afirst()

    lease: SiteLease = await eventually(somebody, "a holder of the lease", 60)
    return lease.holder


async def test_a_killed_reconciler_is_followed_by_another_when_its_lease_has_run_out(
    rabbit: TestBroker, orthanc: OrthancNode, settings: Any, tmp_path: Path
) -> None:
    use_archive(settings, orthanc)
    archive = await asyncio.to_thread(Archive, orthanc)
    async with lab_side(rabbit) as lab:
        with another_process(tmp_path, rabbit, orthanc) as other:
            first = await holder()
            async with site(rabbit):
                row = await request_for(archive.series, archive.study_id)
                await in_state(row.pk, State.PUBLISHED)
                await purge(rabbit)
                await queued_again(row.pk)
                await asyncio.sleep(LONG)
                # Two at once would have sent it twice, or fought for the lease.
                assert (await stored(row.pk)).attempt == 2
                assert await lab.waiting(QUEUE) == 1
                assert await holder() == first
                assert "lost_request_sent_again" in other.log_tail(500)

                other.kill()
                await purge(rabbit)
                await queued_again(row.pk, attempt=3)
                assert await holder() != first
                assert await lab.waiting(QUEUE) == 1


async def test_a_reconciler_that_stops_lets_the_next_one_begin_at_once(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit):
        async with site(rabbit):
            first = await holder()
        # Of the lease nothing is left to wait for.
        async with site(rabbit):
            assert await holder(besides=first) != first
