"""Site and lab are upgraded one after the other, in either order: what the newer says is kept.

An older reader is today's program; the newer one is the same with one version more (`newer`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from messages import codec, topology
from messages.events import InferenceCompleted
from tests.integration import newer
from tests.integration.lab import START_SECONDS, Clinic, HeldBundle, LabProcess, store_small_study
from tests.integration.newer import NewerCompleted, NewerRequest
from tests.integration.nodes import TestBroker, running_rabbit
from tests.integration.web_requests import (
    a_run,
    eventually,
    in_state,
    lab_side,
    place,
    running_tasks,
    stored,
    written_request,
)
from web.inference.models import DeadLetter, SeenEvent
from web.inference.states import State

#: Seconds that a request stays in a retry tier of these tests.
RETRY_SECONDS = 2


def test_a_newer_sites_request_goes_round_until_the_lab_is_upgraded_and_is_then_answered(
    tmp_path: Path, orthanc: OrthancNode, bundle: HeldBundle
) -> None:
    study = store_small_study(orthanc)
    request = NewerRequest(**study.request().model_dump())
    with running_rabbit(tmp_path / "rabbit", retry_seconds=RETRY_SECONDS) as broker:
        clinic = Clinic(broker)
        clinic.ask(request)
        arguments: dict[str, Any] = {
            "directory": tmp_path,
            "broker": broker,
            "archive": orthanc,
            "archive_url": orthanc.url,
            "bundle": bundle.path,
        }
        older = LabProcess(**arguments)
        older.start()
        try:
            older.wait_consuming()
            wait_until(lambda: older.count("delivery.defer") >= 2, "defer it twice", 60)
        finally:
            older.service.stop(30)
        assert bundle.inferences == 0
        assert clinic.ready(topology.replies_queue("lab")) == clinic.ready(topology.DEAD_QUEUE) == 0

        upgraded = LabProcess(**arguments)
        upgraded.service.command = (sys.executable, "-m", "tests.integration.newer", "run")
        upgraded.start()
        try:
            upgraded.wait_for("broker.consuming", START_SECONDS)
            answers = clinic.replies(
                lambda r: any(isinstance(m, InferenceCompleted) for m in r), timeout=120
            )
        finally:
            upgraded.service.stop(30)
        assert {answer.request_id for answer in answers} == {request.request_id}  # type: ignore[attr-defined]
        # Nobody has tried it meanwhile: the attempt is still the first.
        assert {answer.attempt for answer in answers} == {1}  # type: ignore[attr-defined]
        assert bundle.inferences == 1
        assert clinic.ready(topology.DEAD_QUEUE) == 0


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_a_newer_labs_outcome_is_kept_for_the_upgraded_site_and_then_counts(
    rabbit: TestBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab_side(rabbit) as lab:
        row = await written_request()
        async with running_tasks(rabbit):
            await lab.take()
            # The newer lab says both; what the older site can read it writes down as ever.
            accepted, *_, completed = a_run(row.pk)
            assert isinstance(completed, InferenceCompleted)
            await lab.tell(NewerCompleted(**completed.model_dump()), accepted)
            await in_state(row.pk, State.ACCEPTED)
        await lab.has_waiting("mri.replies.lab", 1)
        assert await lab.waiting("mri.dead") == await DeadLetter.objects.acount() == 0

        monkeypatch.setattr(codec, "_BY_TYPE", {**codec._BY_TYPE, **newer.KNOWN})
        async with running_tasks(rabbit):
            await in_state(row.pk, State.REPORTED, 30)
        await lab.has_waiting("mri.replies.lab", 0)


@pytest.mark.asyncio
@pytest.mark.django_db(transaction=True)
async def test_a_failure_with_a_reason_of_tomorrow_is_kept_and_keeps_nobody_waiting(
    rabbit: TestBroker,
) -> None:
    async with lab_side(rabbit) as lab:
        first, second = await written_request(), await written_request()
        body = {
            **place(first.pk, 1),
            "request_id": str(first.pk),
            "at": "2026-11-22T12:00:00Z",
            "code": "a_code_of_tomorrow",
            "detail": "",
            "stage_seconds": {},
        }
        await lab.tell_raw(
            "request.failed",
            json.dumps(body).encode(),
            type="inference.failed.v1",
            content_type="application/json",
            message_id=str(uuid4()),
        )
        await lab.tell(a_run(second.pk)[-1])
        async with running_tasks(rabbit):
            await in_state(second.pk, State.REPORTED)

            async def published() -> bool:
                return (await stored(first.pk)).state == State.PUBLISHED

            await eventually(published, "the first request published")
        # Back in its queue, not dead, and not taken for something else.
        await lab.has_waiting("mri.replies.lab", 1)
        assert await lab.waiting("mri.dead") == await DeadLetter.objects.acount() == 0
        assert await SeenEvent.objects.acount() == 1
