"""``/api/v1/requests/{id}/report``: the stored report told, and why it cannot be."""

from __future__ import annotations

from contextlib import closing
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from django.test import Client
from pydicom import Dataset, dcmread
from pydicom.uid import ComprehensiveSRStorage, generate_uid

from infra.local.orthanc import OrthancNode
from messages import identity
from messages.events import InferenceCompleted
from tests import report_tree as tree
from tests.dicom_factory import Series, part10
from tests.integration.test_api_requests import OTHER_ID, logged_in, told, written
from tests.integration.test_web_api import REQUESTS, error_of
from tests.integration.web_requests import a_run
from tests.site import reader_of, site_with, use_archive
from web.access.audit import Action
from web.access.models import AuditEntry
from web.checks import results
from web.inference.models import InferenceRequest
from web.orthanc.archive import Orthanc

pytestmark = pytest.mark.django_db(transaction=True)


class Shelf:
    """A study in a real archive, to which reports are added."""

    def __init__(self, node: OrthancNode) -> None:
        self._client = httpx.Client(
            base_url=node.url, auth=(node.user, node.password), trust_env=False
        )
        self.series = Series(slices=2)
        for file in self.series.files():
            self.study_id = self.store(file)["ParentStudy"]

    def store(self, content: bytes) -> Any:
        return self._client.post("/instances", content=content).raise_for_status().json()

    def add(self, request_id: UUID, report: Dataset, *, primary: bool = False) -> str:
        """Store a report of a request under its UIDs; returns Orthanc's id."""
        file = tree.file_of(
            report, request_id, str(self.series.study_uid), tumor_detected=not primary
        )
        return str(self.store(file)["ID"])

    def remove(self, instance_id: str) -> None:
        self._client.delete(f"/instances/{instance_id}").raise_for_status()

    def close(self) -> None:
        self._client.delete(f"/studies/{self.study_id}")
        self._client.close()


@pytest.fixture
def shelf(orthanc: OrthancNode) -> Any:
    made = Shelf(orthanc)
    yield made
    made.close()


@pytest.fixture
def reader(orthanc: OrthancNode, settings: Any) -> Client:
    use_archive(settings, orthanc)
    return logged_in(reader_of())


def result_of(shelf: Shelf, **changes: Any) -> InferenceRequest:
    row = written(study_id=shelf.study_id, study_uid=str(shelf.series.study_uid))
    *before, completed = a_run(row.pk)
    assert isinstance(completed, InferenceCompleted)
    told(*before, completed.model_copy(update=changes))
    return row


def nothing() -> dict[str, Any]:
    return {"seg_instance_id": None, "tumor_detected": False}


def parameters(*words: str) -> list[Dataset]:
    return [tree.text(tree.PARAMETER, one) for one in words]


def found(*more: Dataset) -> Dataset:
    facts = parameters("lab=lab1", "created=2026-11-23T10:00:00+09:00", "input pre=1.2.3")
    sums = (tree.figure(tree.VOLUME, 1.5), tree.figure(tree.DIAMETER, 20))
    together = tree.group(tree.code(tree.NEOPLASM, tree.PRESENT), *sums, *facts)
    curve = (tree.point("pre", 200, 0), tree.point("post1", 400, 90), tree.point("post2", 380, 180))
    pattern = tree.code(tree.PATTERN, ("130598", "DCM"))
    lesion = tree.lesion("lesion 1", *sums, *curve, tree.figure(tree.WASH_IN, 100), pattern)
    return tree.report(together, lesion, *more)


def absent() -> Dataset:
    return tree.report(tree.group(tree.code(tree.NEOPLASM, tree.ABSENT)))


def path_of(row: InferenceRequest) -> str:
    return f"{REQUESTS}/{row.pk}/report"


def test_the_report_is_told_as_it_is_stored(reader: Client, shelf: Shelf) -> None:
    row = result_of(shelf)
    instance_id = shelf.add(row.pk, found())
    answer = reader.get(path_of(row), headers={"Accept-Language": "ko"})
    assert answer.status_code == 200
    shown = answer.json()
    assert shown["report"] == {
        "instance_id": instance_id,
        "series_uid": identity.report_series_uid(row.pk),
        "sop_instance_uid": identity.report_instance_uid(row.pk),
    }
    # Of the report, and not of what the lab told: that says 1.2 ml.
    assert (shown["volume_ml"], shown["longest_diameter_mm"]) == (1.5, 20.0)
    lesion = shown["lesions"][0]
    assert lesion["kinetics"]["wash_out"] == "plateau"
    assert [point["label"] for point in lesion["kinetics"]["points"]][:2] == [
        "조영 전",
        "조영 후 1차",
    ]
    assert shown["origin"]["phases"][0]["series_uid"] == "1.2.3"
    assert shown["verification"] == "UNVERIFIED"
    viewed = AuditEntry.objects.filter(action=Action.RESULT_VIEWED, subject=str(row.pk))
    assert viewed.count() == 1


def test_where_nothing_was_found_the_report_is_the_primary_object(
    reader: Client, shelf: Shelf
) -> None:
    row = result_of(shelf, **nothing())
    shelf.add(row.pk, absent(), primary=True)
    shown = reader.get(path_of(row)).json()
    assert (shown["tumor_detected"], shown["lesions"]) == (False, [])
    assert shown["report"]["sop_instance_uid"] == identity.primary_instance_uid(row.pk)


@pytest.mark.parametrize("older_found", [True, False])
def test_the_request_whose_report_it_replaces_is_named(
    reader: Client, shelf: Shelf, older_found: bool
) -> None:
    older = result_of(shelf, **({} if older_found else nothing()))
    new = result_of(shelf)
    report, document, series, instance = found(), Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = ComprehensiveSRStorage
    instance.ReferencedSOPInstanceUID = (
        identity.report_instance_uid(older.pk)
        if older_found
        else identity.primary_instance_uid(older.pk)
    )
    series.ReferencedSOPSequence, series.SeriesInstanceUID = [instance], generate_uid()
    document.ReferencedSeriesSequence = [series]
    document.StudyInstanceUID = str(shelf.series.study_uid)
    report.PredecessorDocumentsSequence = [document]
    shelf.add(new.pk, report)
    assert reader.get(path_of(new)).json()["replaces"]["request_id"] == str(older.pk)


def test_a_request_without_a_result_has_no_report_yet(reader: Client) -> None:
    row = written()
    answer = reader.get(path_of(row))
    assert (answer.status_code, error_of(answer)["code"]) == (409, "no_result")


def test_a_report_that_the_archive_no_longer_holds_is_said_to_be_gone(
    reader: Client, shelf: Shelf
) -> None:
    row = result_of(shelf)
    shelf.remove(shelf.add(row.pk, found()))
    answer = reader.get(path_of(row))
    assert answer.status_code == 404
    assert error_of(answer)["message"] == "The stored result is no longer in the archive."


def test_a_report_of_another_study_under_the_same_uid_is_not_told(
    reader: Client, shelf: Shelf
) -> None:
    row = result_of(shelf)
    InferenceRequest.objects.filter(pk=row.pk).update(study_uid="1.2.3.999")
    shelf.add(row.pk, found())
    assert reader.get(path_of(row)).status_code == 404


def test_a_report_that_lies_under_another_patients_number_is_not_told(
    reader: Client, shelf: Shelf, orthanc: OrthancNode
) -> None:
    """Its study has the same UID as that of the request, which holds no report."""
    row = result_of(shelf)
    file = tree.file_of(found(), row.pk, str(shelf.series.study_uid), tumor_detected=True)
    report = dcmread(BytesIO(file))
    report.PatientID = "T-2"
    filed = shelf.store(part10(report))
    assert filed["ParentStudy"] != shelf.study_id
    assert reader.get(path_of(row)).status_code == 404
    with closing(Orthanc(orthanc.url, orthanc.user, orthanc.password)) as site:
        assert not str(results.read(row, site)).startswith("✓"), "nor does the check call it well"
    shelf.remove(filed["ID"])


@pytest.mark.parametrize("report", [tree.report(), absent()], ids=["empty", "other outcome"])
def test_a_report_that_cannot_be_read_is_said_to_be_so(
    reader: Client, shelf: Shelf, report: Dataset
) -> None:
    row = result_of(shelf)
    shelf.add(row.pk, report)
    answer = reader.get(path_of(row))
    assert answer.status_code == 502
    assert error_of(answer)["message"] == "The stored report cannot be read."


def test_an_archive_that_is_away_is_said_to_be_away(
    reader: Client, shelf: Shelf, settings: Any
) -> None:
    row = result_of(shelf)
    site_with(settings, orthanc_url="http://127.0.0.1:9")
    answer = reader.get(path_of(row))
    assert (answer.status_code, error_of(answer)["code"]) == (503, "service_unavailable")
    assert not AuditEntry.objects.filter(action=Action.RESULT_VIEWED).exists()


def test_a_study_without_a_grant_has_no_report(shelf: Shelf, reader: Client) -> None:
    row = result_of(shelf)
    shelf.add(row.pk, found())
    stranger = logged_in(reader_of(OTHER_ID, name="stranger"))
    for path in (path_of(row), f"{REQUESTS}/{uuid4()}/report"):
        answer = stranger.get(path)
        assert answer.status_code == 404
        assert error_of(answer)["message"] == "There is no such request."
    assert Client().get(path_of(row)).status_code == 401
