"""The database is away while outcomes come: they wait at the broker, and nothing dies for that."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

import httpx
import psycopg
import pytest
from django.db import connection
from websockets.exceptions import InvalidStatus

from infra.demo.reader import PageRefused, Reader
from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from messages import topology
from tests.integration.lab import Clinic, store_small_study
from tests.integration.nodes import TestBroker
from tests.integration.postgres import running_postgres
from tests.integration.served import ServedSite, served_site
from tests.integration.web_requests import (
    LabSide,
    a_run,
    eventually,
    in_state,
    lab_side,
    running_tasks,
    speaking_as,
    written_request,
)
from web.configuration import SQLITE_OPTIONS
from web.inference.models import DeadLetter
from web.inference.states import State

#: Seconds for which the database is locked: longer than the site itself waits for a lock.
LOCKED_SECONDS = SQLITE_OPTIONS["timeout"] + 4

#: What the old front end shows as it is.
KOREAN = "데이터베이스가 응답하지 않습니다. 다시 시도해 주세요."

#: What a process does that holds the lock for so long.
_LOCK = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
database.execute("ROLLBACK")
"""


@contextmanager
def locked(database: str) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the database; entered once it does."""
    command = (sys.executable, "-c", _LOCK, database, str(LOCKED_SECONDS))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        try:
            yield holder
        finally:
            holder.kill()


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_outcomes_wait_at_the_broker_while_another_process_locks_the_database(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab, running_tasks(rabbit):
        rows = [await written_request() for _ in range(3)]
        for row in rows:
            await lab.take()
            await in_state(row.pk, State.PUBLISHED)
        with locked(str(connection.settings_dict["NAME"])) as holder:
            for row in rows:
                await lab.tell(a_run(row.pk)[-1])

            async def released() -> bool:
                return holder.poll() is not None

            await eventually(released, "the lock released", LOCKED_SECONDS + 60)
        for row in rows:
            await in_state(row.pk, State.REPORTED, 60)
        await _all_acknowledged(lab)
        assert await DeadLetter.objects.acount() == 0


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_a_site_that_ends_while_the_database_is_locked_has_acknowledged_nothing(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab:
        async with running_tasks(rabbit):
            row = await written_request()
            await lab.take()
            await in_state(row.pk, State.PUBLISHED)
        # Nobody writes while it is locked: a site that is told to stop waits for its own threads.
        with locked(str(connection.settings_dict["NAME"])):
            async with running_tasks(rabbit):
                await lab.tell(a_run(row.pk)[-1])

                async def taken() -> bool:
                    return await lab.waiting("mri.replies.lab") == 0

                await eventually(taken, "the outcome taken")

            async def back() -> bool:
                return await lab.waiting("mri.replies.lab") == 1

            await eventually(back, "the outcome back in its queue")
        async with running_tasks(rabbit):
            await in_state(row.pk, State.REPORTED, 60)
        assert await DeadLetter.objects.acount() == 0


async def _all_acknowledged(lab: LabSide) -> None:
    await asyncio.sleep(0.5)
    assert await lab.waiting("mri.replies.lab") == 0


def test_a_postgresql_that_is_killed_and_started_again_costs_neither_request_nor_outcome(
    tmp_path: Path, rabbit: TestBroker, orthanc: OrthancNode, clinic: Clinic
) -> None:
    study = store_small_study(orthanc)
    series = {item.role: item.series_id for item in study.inputs}
    with (
        running_postgres() as postgres,
        served_site(tmp_path, rabbit, orthanc, DATABASE_URL=postgres.url) as site,
        site.reader() as reader,
    ):
        request_id = reader.ask(study.study_id, series)["request_id"]
        wait_until(lambda: _state(postgres.url, request_id) == "published", "publish it", 30)
        postgres.stop()
        asyncio.run(_tell_completed(rabbit, request_id))
        wait_until(lambda: '"database_away"' in site.log(), "miss its database", 60)
        # Nothing is promised meanwhile.
        with pytest.raises(PageRefused, match="database does not answer"):
            reader.ask(study.study_id, series, threshold=0.3)
        assert reader.get(f"/api/v1/requests/{request_id}").status_code == 503
        _says_so_on_pages_too(site, reader)

        postgres.start()
        wait_until(lambda: _state(postgres.url, request_id) == "reported", "take the outcome", 60)
        assert reader.read(request_id)["state"] == "reported"
        assert clinic.ready(topology.DEAD_QUEUE) == 0
        assert not _rows(postgres.url, "SELECT id FROM labrelay_inference_deadletter")
        # And the next click as well.
        second = reader.ask(study.study_id, series, threshold=0.4)["request_id"]
        wait_until(lambda: _state(postgres.url, second) == "published", "publish again", 60)
        _stops_cleanly(site)


def _says_so_on_pages_too(site: ServedSite, reader: Reader) -> None:
    for path in ("/", "/login/", "/admin/"):
        page = reader.get(path)
        assert (page.status_code, "The database does not answer" in page.text) == (503, True), path
    old = reader.get("/api/mri/segmentation/requests/")
    assert old.status_code == 503
    assert old.json() == {"success": False, "error": KOREAN}
    with httpx.Client(base_url=site.url, timeout=60) as stranger:
        # Nobody is known by this one yet: it needs no database.
        stranger.get("/login/").raise_for_status()
        form = {"csrfmiddlewaretoken": stranger.cookies["csrftoken"]}
        form |= {"username": "demo", "password": "x"}
        assert stranger.post("/login/", data=form).status_code == 503
    with pytest.raises(InvalidStatus) as refused:
        reader.socket()
    assert refused.value.response.status_code == 503


def _stops_cleanly(site: ServedSite) -> None:
    site.terminate()
    assert site.ended() == 0


async def _tell_completed(broker: TestBroker, request_id: str) -> None:
    async with speaking_as(broker, "lab1") as lab:
        await lab.tell(a_run(UUID(request_id))[-1])


def _state(url: str, request_id: str) -> str | None:
    query = "SELECT state FROM labrelay_inference_inferencerequest WHERE id = %s"
    rows = _rows(url, query, request_id)
    return rows[0][0] if rows else None


def _rows(url: str, query: LiteralString, *values: str) -> list[Any]:
    with psycopg.connect(url, connect_timeout=10) as database:
        return database.execute(query, values).fetchall()
