"""What a cancelled request has left in a real archive is removed, and nothing else is."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from django.utils import timezone
from pydicom import Dataset
from pydicom.uid import generate_uid
from structlog.testing import capture_logs

from infra.local.orthanc import OrthancNode
from messages import identity
from messages.events import InferenceAccepted, InferenceCancelled, InferenceFailed, RunEvent
from messages.failures import FailureCode
from tests.dicom_factory import Series, part10
from tests.integration.lab import StoredStudy, orthanc_get, orthanc_post, store_small_study
from tests.integration.web_requests import a_run, place, take_in, write_request
from tests.site import site_with, use_archive
from web.inference.cancel import cancel
from web.inference.models import InferenceRequest, Outbox
from web.inference.states import State
from web.orthanc.archive import Orthanc, archive
from web.reconciler.sweep import STORING_SECONDS, Sweeper, sweep_due

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def study(orthanc: OrthancNode) -> StoredStudy:
    return store_small_study(orthanc)


@pytest.fixture(autouse=True)
def site(orthanc: OrthancNode, settings: Any) -> Any:
    use_archive(settings, orthanc)
    return settings


def objects_of(request_id: UUID, study_uid: str) -> list[Dataset]:
    """What a lab stores: a primary object and a report, under the derived UIDs."""
    uids = (
        (identity.primary_series_uid(request_id), identity.primary_instance_uid(request_id)),
        (identity.report_series_uid(request_id), identity.report_instance_uid(request_id)),
    )
    found = []
    for series_uid, instance_uid in uids:
        (made,) = Series(slices=1, study_uid=study_uid, series_uid=series_uid).datasets
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = instance_uid
        found.append(made)
    return found


def upload(orthanc: OrthancNode, request_id: UUID, study: StoredStudy, count: int = 2) -> None:
    for made in objects_of(request_id, study.study_uid)[:count]:
        answer = orthanc_post(orthanc, "/instances", part10(made))
        assert (answer["Status"], answer["ParentStudy"]) == ("Success", study.study_id)


def told(*events: RunEvent) -> None:
    for event in events:
        with transaction.atomic():
            take_in(event)


def a_request(study: StoredStudy) -> InferenceRequest:
    """A lab holds it."""
    row = write_request()
    InferenceRequest.objects.filter(pk=row.pk).update(
        study_id=study.study_id, study_uid=study.study_uid
    )
    Outbox.objects.filter(request=row).update(attempted=True)
    told(a_run(row.pk)[0])
    row.refresh_from_db()
    return row


def a_cancelled_request(study: StoredStudy) -> InferenceRequest:
    row = a_request(study)
    cancel(row.pk)
    told(InferenceCancelled(**place(row.pk, 2)))
    return again(row)


def again(row: InferenceRequest) -> InferenceRequest:
    row.refresh_from_db()
    return row


def stored(row: InferenceRequest) -> int:
    uids = (identity.primary_instance_uid(row.pk), identity.report_instance_uid(row.pk))
    return sum(len(archive().instances_with(uid)) for uid in uids)


def series_in(orthanc: OrthancNode, study: StoredStudy) -> int:
    return len(orthanc_get(orthanc, f"/studies/{study.study_id}")["Series"])


def last_look_of(row: InferenceRequest) -> datetime:
    return row.changed_at + timedelta(seconds=row.deadline_s + STORING_SECONDS)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_what_a_cancelled_request_has_stored_is_removed_with_its_series(
    count: int, orthanc: OrthancNode, study: StoredStudy
) -> None:
    before = series_in(orthanc, study)
    row = a_cancelled_request(study)
    upload(orthanc, row.pk, study, count)
    assert series_in(orthanc, study) == before + count
    version = row.version

    assert sweep_due() == 0

    assert stored(row) == 0
    assert series_in(orthanc, study) == before
    # Nothing that a page shows has changed, and the last look is still to come.
    assert again(row).version == version
    assert row.sweep_due_at == last_look_of(row)


def test_a_second_look_finds_nothing_to_do(orthanc: OrthancNode, study: StoredStudy) -> None:
    row = a_cancelled_request(study)
    upload(orthanc, row.pk, study)
    sweep_due()
    with capture_logs() as logs:
        assert sweep_due() == 0
    assert logs == []


def test_another_requests_result_in_the_same_study_stays(
    orthanc: OrthancNode, study: StoredStudy
) -> None:
    other, row = a_request(study), a_cancelled_request(study)
    for one in (other, row):
        upload(orthanc, one.pk, study)
    told(a_run(other.pk)[4])
    sweep_due()
    assert (stored(other), stored(row)) == (2, 0)


def test_what_the_archive_filed_elsewhere_is_removed_wherever_it_lies(
    orthanc: OrthancNode, study: StoredStudy
) -> None:
    """Under another patient, in another study, and what was stored rightly before."""
    row, before = a_request(study), series_in(orthanc, study)
    primary, report = objects_of(row.pk, study.study_uid)
    for changes in ({}, {"PatientID": "T-2"}, {"StudyInstanceUID": generate_uid()}):
        for keyword, value in changes.items():
            setattr(primary, keyword, value)
        orthanc_post(orthanc, "/instances", part10(primary))
    report.PatientID = "T-2"
    orthanc_post(orthanc, "/instances", part10(report))
    assert stored(row) == 4
    other = a_request(study)
    upload(orthanc, other.pk, study)

    failed = InferenceFailed(
        **place(row.pk, 9), code=FailureCode.RESULT_MISFILED, detail="elsewhere", stage_seconds={}
    )
    for _ in range(2):
        # The second time the event was seen, and somebody has stored it again meanwhile.
        told(failed)
        orthanc_post(orthanc, "/instances", part10(report))
        sweep_due()
        assert (stored(row), stored(other)) == (0, 2)
    assert series_in(orthanc, study) == before + 2
    assert again(row).sweep_due_at == last_look_of(row)


def test_of_a_request_that_failed_otherwise_nothing_is_removed(
    orthanc: OrthancNode, study: StoredStudy
) -> None:
    row = a_request(study)
    upload(orthanc, row.pk, study)
    failed = {"code": FailureCode.TOO_LARGE, "detail": "too large", "stage_seconds": {}}
    told(InferenceFailed(**place(row.pk, 9), **failed))
    InferenceRequest.objects.filter(pk=row.pk).update(sweep_due_at=timezone.now())
    assert sweep_due() == 0
    assert stored(row) == 2


def test_a_result_that_is_wanted_is_never_removed(orthanc: OrthancNode, study: StoredStudy) -> None:
    row = a_request(study)
    upload(orthanc, row.pk, study)
    cancel(row.pk)
    told(a_run(row.pk)[4])
    assert again(row).state == State.COMPLETED
    InferenceRequest.objects.filter(pk=row.pk).update(sweep_due_at=timezone.now())
    assert sweep_due() == 0
    assert stored(row) == 2


def test_a_lab_that_stores_after_the_sweep_and_says_so_is_swept_again(
    orthanc: OrthancNode, study: StoredStudy
) -> None:
    row = a_cancelled_request(study)
    sweep_due()
    upload(orthanc, row.pk, study)
    told(a_run(row.pk)[4])
    assert again(row).state == State.CANCELLED
    sweep_due()
    assert stored(row) == 0
    # The same words again, of a further run: the event was seen, the duty is there all the same.
    upload(orthanc, row.pk, study)
    told(a_run(row.pk)[4])
    sweep_due()
    assert stored(row) == 0


def test_a_lab_that_stores_after_the_sweep_and_dies_is_swept_when_its_delivery_comes_again(
    orthanc: OrthancNode, study: StoredStudy
) -> None:
    row = a_cancelled_request(study)
    sweep_due()
    upload(orthanc, row.pk, study)
    told(InferenceAccepted(**place(row.pk, 0, delivery=1)))
    sweep_due()
    assert stored(row) == 0


def test_what_was_stored_without_a_word_is_found_by_the_last_look(
    orthanc: OrthancNode, study: StoredStudy
) -> None:
    row = a_cancelled_request(study)
    sweep_due()
    upload(orthanc, row.pk, study)
    assert sweep_due() == 0
    assert stored(row) == 2

    # As if the deadline and the time to store had passed since a lab was last heard of.
    passed = timedelta(seconds=row.deadline_s + STORING_SECONDS)
    again(row)
    InferenceRequest.objects.filter(pk=row.pk).update(
        changed_at=row.changed_at - passed, sweep_due_at=row.sweep_due_at - passed
    )
    assert sweep_due() == 0
    assert stored(row) == 0
    assert again(row).sweep_due_at is None


def test_an_event_during_the_look_makes_another_one_due(study: StoredStudy) -> None:
    row = a_cancelled_request(study)

    class Interrupted(Orthanc):
        """An archive that is asked while a lab tells something."""

        def instances_with(self, sop_instance_uid: str) -> list[str]:
            told(InferenceAccepted(**place(row.pk, 0, delivery=1)))
            return archive().instances_with(sop_instance_uid)

    asked = Interrupted("http://archive.invalid", "", "")
    assert Sweeper(asked).sweep(10) == 1
    assert sweep_due() == 0


def test_a_copy_in_another_study_is_not_ours_to_remove(
    orthanc: OrthancNode, study: StoredStudy
) -> None:
    elsewhere = store_small_study(orthanc)
    row = a_cancelled_request(study)
    upload(orthanc, row.pk, study)
    for copy in objects_of(row.pk, elsewhere.study_uid):
        orthanc_post(orthanc, "/instances", part10(copy))
    assert stored(row) == 4

    with capture_logs() as logs:
        assert sweep_due() == 0

    assert stored(row) == 2
    assert again(row).sweep_due_at == last_look_of(row)
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert {entry["event"] for entry in errors} == {"object_in_another_study"}
    assert {entry["request_id"] for entry in errors} == {str(row.pk)}


def test_while_the_archive_is_away_it_stays_due_and_is_said_once(
    orthanc: OrthancNode, study: StoredStudy, settings: Any
) -> None:
    rows = [a_cancelled_request(study) for _ in range(3)]
    upload(orthanc, rows[0].pk, study)
    site_with(settings, orthanc_url="http://127.0.0.1:9")
    sweeper = Sweeper()
    with capture_logs() as logs:
        assert [sweeper.sweep(100), sweeper.sweep(100)] == [3, 3]
    assert [entry["event"] for entry in logs] == ["sweep_waits"]

    use_archive(settings, orthanc)
    assert sweeper.sweep(100) == 0
    assert stored(rows[0]) == 0


def test_a_request_that_the_archive_fails_each_time_keeps_no_other_waiting(
    orthanc: OrthancNode, study: StoredStudy
) -> None:
    bad, good = a_cancelled_request(study), a_cancelled_request(study)
    upload(orthanc, good.pk, study)
    failing = identity.primary_instance_uid(bad.pk)

    class Failing(Orthanc):
        """An archive that fails one request."""

        def instances_with(self, sop_instance_uid: str) -> list[str]:
            if sop_instance_uid == failing:
                return super().instances_with(sop_instance_uid)
            return archive().instances_with(sop_instance_uid)

        def instances_of_series(self, series_instance_uid: str) -> list[str]:
            return archive().instances_of_series(series_instance_uid)

        def study_of(self, instance_id: str) -> str:
            return archive().study_of(instance_id)

        def delete_instance(self, instance_id: str) -> None:
            archive().delete_instance(instance_id)

    sweeper = Sweeper(Failing("http://127.0.0.1:9", "", ""))
    assert [sweeper.sweep(1), sweeper.sweep(1)] == [2, 1]
    assert stored(good) == 0
    assert again(bad).sweep_due_at <= timezone.now()


def test_one_call_looks_at_so_many_and_says_how_many_are_left(study: StoredStudy) -> None:
    for _ in range(3):
        a_cancelled_request(study)
    assert [sweep_due(2), sweep_due(2)] == [1, 0]


def test_removing_twice_at_once_is_no_error(orthanc: OrthancNode, study: StoredStudy) -> None:
    row = a_cancelled_request(study)
    upload(orthanc, row.pk, study)

    class Overtaken(Orthanc):
        """An archive in which another process is faster."""

        def study_of(self, instance_id: str) -> str:
            found = archive().study_of(instance_id)
            archive().delete_instance(instance_id)
            return found

        def instances_with(self, sop_instance_uid: str) -> list[str]:
            return archive().instances_with(sop_instance_uid)

        def instances_of_series(self, series_instance_uid: str) -> list[str]:
            return archive().instances_of_series(series_instance_uid)

        def delete_instance(self, instance_id: str) -> None:
            archive().delete_instance(instance_id)

    assert Sweeper(Overtaken("http://archive.invalid", "", "")).sweep(10) == 0
    assert stored(row) == 0
