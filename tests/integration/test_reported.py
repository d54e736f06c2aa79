"""What a lab reports is shown once the site has seen it itself, as it is stored and not as told.

The lab's place is taken by whoever has its broker account; the archive is a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.utils import timezone
from pydicom import Dataset, dcmread
from structlog.testing import capture_logs

from infra.local.orthanc import OrthancNode
from messages.events import InferenceAccepted, InferenceCompleted, InferenceFailed
from messages.failures import FailureCode
from messages.identity import primary_instance_uid
from tests.integration.lab import orthanc_get, orthanc_post
from tests.integration.nodes import TestBroker
from tests.integration.reconciler_bench import (
    LONG,
    QUICK,
    QUICK_LOOKS,
    Archive,
    ago,
    change,
    history,
    request_for,
    site,
)
from tests.integration.web_requests import (
    LabSide,
    a_run,
    eventually,
    in_state,
    lab_side,
    place,
    stored,
)
from tests.site import site_with, use_archive
from web.confirming.pace import Pace
from web.inference.cancel import cancel
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.legacy.outcome import described, outcome

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

#: Nothing listens there.
NOWHERE = "http://127.0.0.1:9"


@pytest_asyncio.fixture
async def archive(orthanc: OrthancNode, settings: Any) -> Archive:
    use_archive(settings, orthanc)
    return await asyncio.to_thread(Archive, orthanc)


@asynccontextmanager
async def taken_request(
    broker: TestBroker, archive: Archive, looks: Pace = QUICK_LOOKS
) -> AsyncIterator[tuple[LabSide, InferenceRequest]]:
    """A site, and a request that a lab has taken."""
    # What is silent for a moment is not taken for lost, and looked for by another rule.
    patient = replace(QUICK, lost_s=600)
    async with lab_side(broker) as lab, site(broker, patient, looks):
        row = await request_for(archive.series, archive.study_id)
        await in_state(row.pk, State.PUBLISHED)
        await lab.take()
        await lab.tell(InferenceAccepted(**place(row.pk, 0)))
        await in_state(row.pk, State.ACCEPTED)
        yield lab, row


def claim(request_id: UUID, **figures: Any) -> InferenceCompleted:
    """A report of a large tumour by a model of fame, whatever is stored."""
    honest = a_run(request_id)[-1]
    assert isinstance(honest, InferenceCompleted)
    model = {"name": "approved", "version": "9", "sha256": "f" * 64}
    claimed = {"volume_ml": 999.0, "volume_voxels": 999_000, "model": model, **figures}
    return InferenceCompleted.model_validate(honest.model_dump() | claimed)


async def said(logs: list[Any], event: str, row: InferenceRequest) -> list[Any]:
    return [one for one in logs if one["event"] == event and one["request_id"] == str(row.pk)]


@pytest.mark.parametrize("found", [True, False], ids=["tumour", "nothing"])
async def test_a_result_is_told_as_it_is_stored_and_not_as_its_lab_says(
    rabbit: TestBroker, archive: Archive, found: bool
) -> None:
    async with taken_request(rabbit, archive) as (lab, row):
        result = await asyncio.to_thread(archive.store_result, row.pk, found=found)
        figures, primary_id, report_id = result
        await lab.tell(claim(row.pk))
        done = await in_state(row.pk, State.COMPLETED, 30)
    assert done.result == {
        "seg_instance_id": primary_id if found else None,
        "sr_instance_id": report_id,
        "tumor_detected": found,
        "volume_voxels": figures.volume_voxels,
        "volume_ml": pytest.approx(figures.volume_ml),
        "longest_diameter_mm": pytest.approx(figures.longest_diameter_mm, abs=0.005),
        "slices": 6,
        "slices_with_tumor": figures.slices_with_tumor,
        "model": {"name": "breast_dce_phantom", "version": "0.1.0", "sha256": "ab" * 32},
        # The one thing that only a lab can know.
        "stage_seconds": {"inferring": 2.5},
    }
    assert done.lab == "lab-1"
    states = [state for state, _, _ in await history(row.pk)]
    assert states[-2:] == [State.REPORTED, State.COMPLETED]


async def test_a_report_of_what_is_not_stored_ends_after_three_answers_of_the_archive(
    rabbit: TestBroker, archive: Archive
) -> None:
    with capture_logs() as logs:
        async with taken_request(rabbit, archive) as (lab, row):
            await lab.tell(claim(row.pk))
            ended = await in_state(row.pk, State.FAILED, 30)
    assert ended.failure_code == FailureCode.RESULT_NOT_FOUND
    assert (ended.result, ended.confirm_due_at) == (None, None)
    missed = await said(logs, "reported_result_not_found", row)
    assert [one["answers"] for one in missed] == [1, 2, 3]
    assert [one["log_level"] for one in missed] == ["warning", "warning", "error"]


def _image_under_its_uid(archive: Archive, request_id: UUID) -> None:
    image = dcmread(BytesIO(archive.series.files()[0]))
    uid = primary_instance_uid(request_id)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = uid
    _store(archive, image)


def _report_about_another_segmentation(archive: Archive, request_id: UUID) -> None:
    _, _, report_id = archive.store_result(request_id)
    _change(archive, report_id, _refer_elsewhere)


def _report_of_another_volume(archive: Archive, request_id: UUID) -> None:
    _, _, report_id = archive.store_result(request_id)
    _change(archive, report_id, _say_more)


def _report_alone_that_states_a_finding(archive: Archive, request_id: UUID) -> None:
    _, primary_id, report_id = archive.store_result(request_id)
    primary = _file(archive, primary_id)

    def become_primary(report: Dataset) -> None:
        report.SeriesInstanceUID = primary.SeriesInstanceUID
        uid = primary_instance_uid(request_id)
        report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = uid

    _delete(archive, primary_id)
    _change(archive, report_id, become_primary)


def _in_another_study(archive: Archive, request_id: UUID) -> None:
    Archive(archive.node).store_result(request_id)


@pytest.mark.parametrize(
    "prepare",
    [
        _image_under_its_uid,
        _report_about_another_segmentation,
        _report_of_another_volume,
        _report_alone_that_states_a_finding,
        _in_another_study,
    ],
)
async def test_what_lies_under_the_uids_and_is_no_result_of_the_request_is_none(
    rabbit: TestBroker, archive: Archive, prepare: Callable[[Archive, UUID], None]
) -> None:
    async with taken_request(rabbit, archive) as (lab, row):
        await asyncio.to_thread(prepare, archive, row.pk)
        await lab.tell(claim(row.pk))
        ended = await in_state(row.pk, State.FAILED, 30)
    assert ended.failure_code == FailureCode.RESULT_NOT_FOUND
    assert ended.result is None


async def test_what_is_found_later_completes_a_request_whose_report_was_not_true(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with taken_request(rabbit, archive) as (lab, row):
        await lab.tell(claim(row.pk))
        await in_state(row.pk, State.FAILED, 30)
        # By the lab that has it in hand, which nobody has told to stop.
        _, primary_id, _ = await asyncio.to_thread(archive.store_result, row.pk)
        await lab.tell(InferenceFailed.model_validate(failure(row.pk)), claim(row.pk))
        done = await in_state(row.pk, State.COMPLETED, 30)
    assert done.result is not None
    assert done.result["seg_instance_id"] == primary_id
    assert (done.failure_code, done.failure_detail) == ("", "")


#: The same, and looks for what comes late.
LATE_LOOKS = replace(QUICK_LOOKS, late_s=(0.3,) * 100)


async def test_what_is_uploaded_late_completes_a_request_although_nobody_reports_it_again(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with taken_request(rabbit, archive, LATE_LOOKS) as (lab, row):
        await lab.tell(claim(row.pk))
        await in_state(row.pk, State.FAILED, 30)
        await asyncio.to_thread(archive.store_result, row.pk)
        done = await in_state(row.pk, State.COMPLETED, 30)
    assert (done.failure_code, done.failure_detail, done.confirm_due_at) == ("", "", None)


async def test_a_result_that_the_archive_cannot_hand_out_ends_its_request_until_it_can(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with taken_request(rabbit, archive, LATE_LOOKS) as (lab, row):
        _, primary_id, _ = await asyncio.to_thread(archive.store_result, row.pk)
        with disk_error(archive, primary_id):
            await lab.tell(claim(row.pk))
            ended = await in_state(row.pk, State.FAILED, 30)
            assert ended.failure_code == FailureCode.RESULT_NOT_FOUND
            assert ended.failure_detail == "Orthanc answered 500"
        await in_state(row.pk, State.COMPLETED, 30)


@contextmanager
def disk_error(archive: Archive, instance_id: str) -> Iterator[None]:
    """The file of an object cannot be read, as it is after a fault of the disk."""
    info = orthanc_get(archive.node, f"/instances/{instance_id}/attachments/dicom/info")
    name = info["Uuid"]
    stored_at = archive.node.root / "storage" / name[:2] / name[2:4] / name
    kept = stored_at.read_bytes()
    stored_at.unlink()
    stored_at.mkdir()
    # What was just stored it has in memory.
    archive.node.restart()
    try:
        yield
    finally:
        stored_at.rmdir()
        stored_at.write_bytes(kept)


def failure(request_id: UUID) -> dict[str, Any]:
    return {
        **place(request_id, 5),
        "code": FailureCode.MODEL_FAILED,
        "detail": "by a second run",
        "stage_seconds": {},
    }


async def test_a_report_after_the_end_changes_nothing_unless_the_result_is_there(
    rabbit: TestBroker, archive: Archive
) -> None:
    async with taken_request(rabbit, archive) as (lab, row):
        await lab.tell(InferenceFailed.model_validate(failure(row.pk)))
        ended = await in_state(row.pk, State.FAILED)
        with capture_logs() as logs:
            await lab.tell(claim(row.pk))

            async def looked() -> bool:
                return len(await said(logs, "reported_result_not_found", row)) == 3

            await eventually(looked, "three looks", 30)

            async def settled() -> bool:
                return (await stored(row.pk)).confirm_due_at is None

            await eventually(settled, "no look is owed")
        still = await stored(row.pk)
        assert (still.state, still.failure_code) == (State.FAILED, FailureCode.MODEL_FAILED)
        assert still.version == ended.version
        await asyncio.to_thread(archive.store_result, row.pk)
        await lab.tell(claim(row.pk))
        await in_state(row.pk, State.COMPLETED, 30)


async def test_an_archive_that_is_away_is_waited_for_without_end_and_nothing_is_lost(
    rabbit: TestBroker, archive: Archive, settings: Any
) -> None:
    async with taken_request(rabbit, archive) as (lab, row):
        result = await asyncio.to_thread(archive.store_result, row.pk)
        site_with(settings, orthanc_url=NOWHERE)
        await lab.tell(claim(row.pk))
        await in_state(row.pk, State.REPORTED)
        # Long overdue, long silent, and expired: no limit of time counts any more.
        await change(row.pk, created_at=ago(10**6), accepted_at=ago(10**6), changed_at=ago(10**5))
        await asyncio.sleep(LONG)
        waiting = await stored(row.pk)
        assert (waiting.state, waiting.attempt) == (State.REPORTED, 1)
        status = await sync_to_async(described)(waiting)
        assert status["status"] == "processing"
        # The old call goes on waiting.
        assert await sync_to_async(outcome)(waiting, "") is None
        use_archive(settings, archive.node)
        done = await in_state(row.pk, State.COMPLETED, 30)
        assert done.result is not None
        assert done.result["seg_instance_id"] == result[1]


async def test_a_cancel_while_the_result_is_looked_for_removes_it(
    rabbit: TestBroker, archive: Archive, settings: Any
) -> None:
    async with taken_request(rabbit, archive) as (lab, row):
        _, primary_id, report_id = await asyncio.to_thread(archive.store_result, row.pk)
        site_with(settings, orthanc_url=NOWHERE)
        await lab.tell(claim(row.pk))
        await in_state(row.pk, State.REPORTED)
        assert (await sync_to_async(cancel)(row.pk)).state == State.CANCELLED
        use_archive(settings, archive.node)

        async def removed() -> bool:
            study = await asyncio.to_thread(
                orthanc_get, archive.node, f"/studies/{archive.study_id}/instances"
            )
            return not {primary_id, report_id} & {one["ID"] for one in study}

        await eventually(removed, "nothing of it in the archive", 30)
        assert (await stored(row.pk)).state == State.CANCELLED


async def test_a_site_that_was_restarted_goes_on_looking(
    rabbit: TestBroker, archive: Archive, settings: Any
) -> None:
    site_with(settings, orthanc_url=NOWHERE)
    async with taken_request(rabbit, archive) as (lab, row):
        await lab.tell(claim(row.pk))
        await in_state(row.pk, State.REPORTED)
        await asyncio.to_thread(archive.store_result, row.pk)
    assert (await stored(row.pk)).state == State.REPORTED
    use_archive(settings, archive.node)
    async with site(rabbit):
        await in_state(row.pk, State.COMPLETED, 30)


async def test_two_processes_that_look_at_once_tell_a_result_once_and_count_an_answer_once(
    rabbit: TestBroker, archive: Archive
) -> None:
    with capture_logs() as logs:
        async with lab_side(rabbit) as lab, site(rabbit), site(rabbit):
            true = await request_for(archive.series, archive.study_id)
            false = await request_for(archive.series, archive.study_id)
            for row in (true, false):
                await in_state(row.pk, State.PUBLISHED)
            await asyncio.to_thread(archive.store_result, true.pk)
            await lab.tell(claim(true.pk), claim(false.pk))
            await in_state(true.pk, State.COMPLETED, 30)
            await in_state(false.pk, State.FAILED, 30)
    missed = await said(logs, "reported_result_not_found", false)
    assert [one["answers"] for one in missed] == [1, 2, 3]
    ends = [state for state, _, _ in await history(true.pk)]
    assert ends.count(State.COMPLETED) == 1


#: Reports of a pool whose lab is in the wrong hands.
FALSE_REPORTS = 400


@sync_to_async
def false_reports(like: InferenceRequest) -> None:
    rows = [
        InferenceRequest(
            pool="server",
            model=like.model,
            study_id=like.study_id,
            study_uid=like.study_uid,
            inputs=like.inputs,
            deadline_s=like.deadline_s,
            state=State.REPORTED,
            accepted_at=timezone.now(),
            confirm_due_at=timezone.now(),
        )
        for _ in range(FALSE_REPORTS)
    ]
    InferenceRequest.objects.bulk_create(rows)


async def test_false_reports_of_one_pool_keep_no_result_of_another_waiting(
    rabbit: TestBroker, archive: Archive, settings: Any
) -> None:
    site_with(settings, orthanc_url=NOWHERE)
    async with taken_request(rabbit, archive) as (lab, row):
        await asyncio.to_thread(archive.store_result, row.pk)
        await false_reports(row)
        await lab.tell(claim(row.pk))
        await in_state(row.pk, State.REPORTED)
        use_archive(settings, archive.node)
        await in_state(row.pk, State.COMPLETED, 30)
        # It went past most of them.
        unread = InferenceRequest.objects.filter(pool="server", confirm_misses=0)
        assert await unread.acount() > FALSE_REPORTS / 2


def _file(archive: Archive, instance_id: str) -> Dataset:
    node = archive.node
    address = f"{node.url}/instances/{instance_id}/file"
    answer = httpx.get(address, auth=(node.user, node.password)).raise_for_status()
    return dcmread(BytesIO(answer.content))


def _delete(archive: Archive, instance_id: str) -> None:
    node = archive.node
    address = f"{node.url}/instances/{instance_id}"
    httpx.delete(address, auth=(node.user, node.password)).raise_for_status()


def _store(archive: Archive, dataset: Dataset) -> None:
    buffer = BytesIO()
    dataset.save_as(buffer)
    orthanc_post(archive.node, "/instances", buffer.getvalue())


def _change(archive: Archive, instance_id: str, edit: Callable[[Dataset], None]) -> None:
    """What a lab in the wrong hands has stored first."""
    dataset = _file(archive, instance_id)
    _delete(archive, instance_id)
    # Not ours any more: nothing checks it for being valid.
    dataset.Manufacturer = "somebody else"
    edit(dataset)
    _store(archive, dataset)


def _refer_elsewhere(report: Dataset) -> None:
    def walk(item: Dataset) -> None:
        for reference in item.get("ReferencedSOPSequence", ()):
            reference.ReferencedSOPInstanceUID = "2.25.7"
        for child in item.get("ContentSequence", ()):
            walk(child)

    walk(report)


def _say_more(report: Dataset) -> None:
    def walk(item: Dataset) -> None:
        for value in item.get("MeasuredValueSequence", ()):
            value.NumericValue = "99"
        for child in item.get("ContentSequence", ()):
            walk(child)

    walk(report)
