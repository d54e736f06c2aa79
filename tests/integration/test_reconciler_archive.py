"""What nobody told is told from the archive, as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from pydicom import dcmread
from structlog.testing import capture_logs

from consumer.payloads import Figures
from infra.local.orthanc import OrthancNode
from messages.events import InferenceAccepted, InferenceCancelled
from messages.failures import FailureCode
from messages.identity import primary_instance_uid, primary_series_uid
from tests.integration.lab import orthanc_get, orthanc_post
from tests.integration.nodes import TestBroker
from tests.integration.reconciler_bench import (
    QUEUE,
    QUICK,
    Archive,
    ago,
    change,
    history,
    queued_again,
    request_for,
    site,
)
from tests.integration.web_requests import LabSide, eventually, in_state, lab_side, place, stored
from tests.site import site_with, use_archive
from web.inference.cancel import cancel
from web.inference.models import InferenceRequest, Outbox, SiteLease
from web.inference.states import State
from web.reconciler.pace import Pace

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

#: Nothing listens there.
NOWHERE = "http://127.0.0.1:9"


@pytest_asyncio.fixture
async def archive(orthanc: OrthancNode, settings: Any) -> Archive:
    use_archive(settings, orthanc)
    return await asyncio.to_thread(Archive, orthanc)


@asynccontextmanager
async def waiting_request(
    broker: TestBroker, archive: Archive, pace: Pace = QUICK
) -> AsyncIterator[tuple[LabSide, InferenceRequest]]:
    """A site, and a request that waits for a lab."""
    async with lab_side(broker) as lab, site(broker, pace):
        row = await request_for(archive.series, archive.study_id)
        await in_state(row.pk, State.PUBLISHED)
        yield lab, row


async def taken(lab: LabSide, row: InferenceRequest) -> None:
    """A lab takes the request, says so, and acknowledges it: now it can look lost."""
    await lab.tell(InferenceAccepted(**place(row.pk, 0)))
    await in_state(row.pk, State.ACCEPTED)
    await lab.take()


def assert_told(row: InferenceRequest, stored_as: tuple[Figures, str, str]) -> None:
    figures, primary_id, report_id = stored_as
    assert row.result == {
        "seg_instance_id": primary_id if figures.tumor_detected else None,
        "sr_instance_id": report_id,
        "tumor_detected": figures.tumor_detected,
        "volume_voxels": figures.volume_voxels,
        "volume_ml": pytest.approx(figures.volume_ml),
        "longest_diameter_mm": pytest.approx(figures.longest_diameter_mm, abs=0.005),
        "slices": 6,
        "slices_with_tumor": figures.slices_with_tumor,
        "model": {"name": "breast_dce_phantom", "version": "0.1.0", "sha256": "ab" * 32},
        "stage_seconds": {},
    }


@pytest.mark.parametrize("found", [True, False], ids=["tumour", "nothing"])
async def test_a_result_whose_events_were_lost_is_completed_from_the_archive(
    rabbit: TestBroker, archive: Archive, found: bool
) -> None:
    async with waiting_request(rabbit, archive) as (lab, row):
        result = await asyncio.to_thread(archive.store_result, row.pk, found=found)
        await taken(lab, row)
        done = await in_state(row.pk, State.COMPLETED, 30)
        assert_told(done, result)
        # As the stored report names it: what a lab says of itself is told of no result.
        assert (done.lab, done.attempt) == ("lab-1", 1)
        assert (await history(row.pk))[-1] == (State.COMPLETED, 1, "")
        assert await lab.waiting(QUEUE) == 0


async def test_an_older_copy_of_the_database_learns_the_result_from_the_archive(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with waiting_request(rabbit, archive) as (lab, row):
        result = await asyncio.to_thread(archive.store_result, row.pk)
        # Of `accepted` and all that followed, this copy knows nothing.
        await lab.take()
        done = await in_state(row.pk, State.COMPLETED, 30)
        assert_told(done, result)
        assert done.lab == "lab-1"


async def test_half_a_result_is_left_to_a_lab(rabbit: TestBroker, archive: Archive) -> None:
    async with waiting_request(rabbit, archive) as (lab, row):
        await asyncio.to_thread(archive.store_result, row.pk, report=False)
        await taken(lab, row)
        await queued_again(row.pk)
        assert (await lab.take()).correlation_id == str(row.pk)


async def test_an_object_that_cannot_be_read_is_left_to_a_lab(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with waiting_request(rabbit, archive) as (lab, row):
        await asyncio.to_thread(_store_an_image_under_its_uid, archive, row.pk)
        with capture_logs() as logs:
            await taken(lab, row)
            await queued_again(row.pk)
        assert "stored_result_unreadable" in {entry["event"] for entry in logs}


def _store_an_image_under_its_uid(archive: Archive, request_id: UUID) -> None:
    image = dcmread(BytesIO(archive.series.files()[0]))
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = primary_instance_uid(
        request_id
    )
    image.SeriesInstanceUID = primary_series_uid(request_id)
    buffer = BytesIO()
    image.save_as(buffer)
    orthanc_post(archive.node, "/instances", buffer.getvalue())


async def test_an_overdue_run_that_stored_nothing_has_exceeded_its_deadline(
    rabbit: TestBroker, archive: Archive
) -> None:
    patient = replace(QUICK, lost_s=600)
    async with waiting_request(rabbit, archive, patient) as (lab, row):
        await taken(lab, row)
        await change(row.pk, created_at=ago(4000), accepted_at=ago(3601))
        ended = await in_state(row.pk, State.FAILED, 30)
        assert ended.failure_code == FailureCode.DEADLINE_EXCEEDED
        assert (await history(row.pk))[-1] == (State.FAILED, 1, "deadline_exceeded")
        assert await Outbox.objects.filter(request=row, type="cancel.requested.v1").aexists()


async def test_an_overdue_run_that_stored_its_result_is_completed(
    rabbit: TestBroker, archive: Archive
) -> None:
    patient = replace(QUICK, lost_s=600)
    async with waiting_request(rabbit, archive, patient) as (lab, row):
        result = await asyncio.to_thread(archive.store_result, row.pk)
        await taken(lab, row)
        await change(row.pk, created_at=ago(4000), accepted_at=ago(3601))
        assert_told(await in_state(row.pk, State.COMPLETED, 30), result)


async def test_what_no_lab_is_known_to_have_taken_is_completed_rather_than_expired(
    rabbit: TestBroker, archive: Archive, settings: Any
) -> None:
    site_with(settings, request_expires_seconds=100)
    async with waiting_request(rabbit, archive, replace(QUICK, lost_s=600)) as (lab, row):
        result = await asyncio.to_thread(archive.store_result, row.pk)
        await lab.take()
        await change(row.pk, created_at=ago(101))
        assert_told(await in_state(row.pk, State.COMPLETED, 30), result)


async def waited_for_the_archive(logs: list[Any], row_id: UUID) -> None:
    async def said() -> bool:
        return any(
            entry["event"] == "archive_waited_for" and entry["request_id"] == str(row_id)
            for entry in logs
        )

    await eventually(said, "the archive waited for", 30)


async def test_an_overdue_run_waits_for_an_archive_that_is_away(
    rabbit: TestBroker, archive: Archive, settings: Any
) -> None:
    patient = replace(QUICK, lost_s=600)
    async with waiting_request(rabbit, archive, patient) as (lab, row):
        result = await asyncio.to_thread(archive.store_result, row.pk)
        await taken(lab, row)
        with capture_logs() as logs:
            site_with(settings, orthanc_url=NOWHERE)
            await change(row.pk, created_at=ago(4000), accepted_at=ago(3601))
            await waited_for_the_archive(logs, row.pk)
        assert (await stored(row.pk)).state == State.ACCEPTED
        use_archive(settings, archive.node)
        assert_told(await in_state(row.pk, State.COMPLETED, 30), result)


async def test_a_lost_request_waits_for_an_archive_that_is_away_but_not_for_ever(
    rabbit: TestBroker, archive: Archive, settings: Any
) -> None:
    site_with(settings, orthanc_url=NOWHERE)
    async with waiting_request(rabbit, archive, replace(QUICK, archive_s=4)) as (lab, row):
        with capture_logs() as logs:
            await taken(lab, row)
            await waited_for_the_archive(logs, row.pk)
            await queued_again(row.pk)
        assert "archive_not_waited_for" in {entry["event"] for entry in logs}


async def test_what_a_cancelled_request_left_is_removed_at_once(
    rabbit: TestBroker, archive: Archive
) -> None:
    # The next turn would be in an hour: a sweep that becomes due wakes it.
    slow = replace(QUICK, turn_s=3600)
    async with lab_side(rabbit) as lab, site(rabbit, slow):
        await eventually(SiteLease.objects.aexists, "a reconciler")
        await asyncio.sleep(1)
        row = await request_for(archive.series, archive.study_id)
        await in_state(row.pk, State.PUBLISHED)
        await lab.take()
        _, primary_id, report_id = await asyncio.to_thread(archive.store_result, row.pk)
        await sync_to_async(cancel)(row.pk)
        await lab.tell(InferenceCancelled(**place(row.pk, 0)))

        async def removed() -> bool:
            study = await asyncio.to_thread(
                orthanc_get, archive.node, f"/studies/{archive.study_id}/instances"
            )
            return not {primary_id, report_id} & {one["ID"] for one in study}

        await eventually(removed, "nothing of it in the archive", 30)
