"""What lies under a request's UIDs and is not its result, or cannot be read, ends aloud."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import httpx
import pytest
from django.conf import settings
from pydicom import Dataset, dcmread

from consumer.memory import MemoryFile
from messages.failures import FailureCode
from tests.dicom_factory import Series, index, part10
from tests.unit import test_stored_result as results
from tests.unit.test_confirming import LOOKS, looked, owed
from tests.unit.test_reconcile_rules import ago, row
from tests.unit.test_stored_result import MODEL, REQUEST, STUDY_ID, Shelf, orthanc_id
from web.confirming.look import StoredObjects, look_for
from web.confirming.owed import ask_archive
from web.inference.models import InferenceRequest
from web.inference.states import State
from web.orthanc.errors import ArchiveUnavailable

pytestmark = pytest.mark.django_db

IMAGE = orthanc_id("image")

#: A request with a whole result, its segmentation and its report.
Stored = tuple["Held", InferenceRequest, Dataset, Dataset]

Answer = Callable[[httpx.Request], httpx.Response]


@contextmanager
def archive_that(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whoever answers so at the address of the archive; sockets are real."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = httpx.Request(self.command, f"http://archive{self.path}", content=body)
            said = answer(asked)
            self.send_response(said.status_code)
            self.send_header("Content-Length", said.headers.get("Content-Length", "0"))
            self.end_headers()
            self.wfile.write(said.content)

        do_POST = do_GET  # noqa: N815 - the name that the base class looks for

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(settings, "SITE", settings.SITE.model_copy(update={"orthanc_url": url}))
        try:
            yield
        finally:
            server.shutdown()
            thread.join(10)


def endless(_request: httpx.Request) -> httpx.Response:
    """More than can be used of anything."""
    return httpx.Response(200, headers={"Content-Length": str(2**40)})


def test_an_answer_of_the_archive_that_cannot_be_used_is_one_without_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with archive_that(endless, monkeypatch):
        found = look_for(row(State.REPORTED))
    assert found.figures is None
    assert "more bytes" in found.detail


class Held(Shelf):
    """A study with an image and what was stored under the request's UIDs."""

    def __init__(self, **files: bytes) -> None:
        super().__init__(**files)
        #: Answers in the place of a file, by the last part of the path.
        self.instead: dict[str, Answer] = {}

    def answer(self, request: httpx.Request) -> httpx.Response:
        parts = request.url.path.split("/")
        if (answer := self.instead.get(parts[-1])) is not None:
            return answer(request)
        if parts[1] == "series":
            return httpx.Response(200, json={"Instances": [IMAGE]})
        if parts[2] == IMAGE:
            return httpx.Response(200, content=b"pixels")
        return super().answer(request)


@pytest.fixture
def held() -> Stored:
    """A request with a whole result, its segmentation and its report."""
    with MemoryFile() as memory:
        source = index(memory, pre=Series())
        primary, told = results.lab_work(source, results.two_foci(), results.result_spec())
        asked = results.asked_for(source)
    shelf = Held(seg=primary, sr=told.report)
    shelf.study_uid = asked.study_uid
    one = row(State.REPORTED, age=50, id=REQUEST, confirm_due_at=ago(1))
    one.model, one.study_id, one.study_uid = MODEL, STUDY_ID, asked.study_uid
    one.inputs = [item.model_dump(mode="json", exclude_none=True) for item in asked.inputs]
    one.save()
    return shelf, one, dcmread(BytesIO(primary)), dcmread(BytesIO(told.report))


def another_model(seg: Dataset, report: Dataset) -> None:
    seg.ManufacturerModelName = report.ManufacturerModelName = "approved"


def report_of_another_model(_: Dataset, report: Dataset) -> None:
    report.ManufacturerModelName = "approved"


def report_of_another_version(_: Dataset, report: Dataset) -> None:
    report.SoftwareVersions = ["9", report.SoftwareVersions[1]]


def longer_than_all_that_is_marked(_: Dataset, report: Dataset) -> None:
    for item in results._below(report):
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "L0JK":
            item.MeasuredValueSequence[0].NumericValue = "60"


def another_study_within(seg: Dataset, _: Dataset) -> None:
    seg.StudyInstanceUID = "1.2.3"


def beyond_the_bounds(seg: Dataset, report: Dataset) -> None:
    seg.SoftwareVersions = report.SoftwareVersions = ["9", "no digest"]


@pytest.mark.parametrize(
    "change",
    [
        another_model,
        report_of_another_model,
        report_of_another_version,
        longer_than_all_that_is_marked,
        another_study_within,
        beyond_the_bounds,
        results.another_volume,
        results.about_another,
        results.no_figures,
        results.cut_short,
    ],
)
def test_what_is_another_result_than_was_asked_for_ends_the_request(
    held: Stored,
    change: Callable[[Dataset, Dataset], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf, one, seg, report = held
    change(seg, report)
    shelf.files[orthanc_id("seg")], shelf.files[orthanc_id("sr")] = part10(seg), part10(report)
    assert_ends(shelf.answer, one, monkeypatch)


def other_patients(shelf: Held) -> None:
    shelf.elsewhere[orthanc_id("seg")] = orthanc_id("study of another patient")


def no_dicom(shelf: Held) -> None:
    shelf.instead["file"] = lambda _: httpx.Response(200, content=b"<html>" * 100)


def empty(shelf: Held) -> None:
    shelf.instead["file"] = lambda _: httpx.Response(200)


def far_too_large(shelf: Held) -> None:
    shelf.instead["file"] = endless


def copied_without_end(shelf: Held) -> None:
    many = [{"ID": orthanc_id(str(n)), "Type": "Instance"} for n in range(1000)]
    shelf.instead["lookup"] = lambda _: httpx.Response(200, json=many)


@pytest.mark.parametrize(
    "change", [other_patients, no_dicom, empty, far_too_large, copied_without_end]
)
def test_what_lies_elsewhere_or_cannot_be_read_ends_the_request(
    held: Stored,
    change: Callable[[Held], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shelf, one, _, _ = held
    change(shelf)
    assert_ends(shelf.answer, one, monkeypatch)


def assert_ends(answer: Answer, one: InferenceRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three looks, with a reason for an operator that quotes nothing."""
    with archive_that(answer, monkeypatch):
        for _ in range(LOOKS):
            assert one.state == State.REPORTED
            found = ask_archive(owed(one), nullcontext())
            assert found is not None
            assert found.figures is None
            assert not found.fails
            looked(one, found)
    assert (one.state, one.failure_code) == (State.FAILED, FailureCode.RESULT_NOT_FOUND)
    assert one.failure_detail
    assert "approved" not in one.failure_detail


def test_a_whole_result_of_what_was_asked_for_is_found(
    held: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, one, _, _ = held
    with archive_that(shelf.answer, monkeypatch):
        found = ask_archive(owed(one), nullcontext())
    assert found is not None
    assert found.figures is not None
    assert found.figures["model"]["name"] == MODEL


def fails(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(500)


def test_an_archive_that_fails_at_the_result_alone_is_told_from_one_whose_disk_is_away(
    held: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, one, _, _ = held
    shelf.instead["file"] = fails
    with archive_that(shelf.answer, monkeypatch):
        found = ask_archive(owed(one), nullcontext())
        assert found == StoredObjects(detail="Orthanc answered 500", fails=True)
        # Its index answers, and its images do not come either.
        shelf.instead["7fe0-0010"] = fails
        with pytest.raises(ArchiveUnavailable):
            ask_archive(owed(one), nullcontext())


def test_images_that_are_gone_keep_no_failing_result_waiting(
    held: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, one, _, _ = held
    shelf.instead |= {"file": fails, one.inputs[0]["series_id"]: lambda _: httpx.Response(404)}
    with archive_that(shelf.answer, monkeypatch):
        found = ask_archive(owed(one), nullcontext())
    assert found is not None
    assert found.fails


def test_what_fails_where_no_reader_waits_is_an_answer_like_another(
    held: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, one, _, _ = held
    shelf.instead["file"] = fails
    one.state, one.failure_code = State.FAILED, FailureCode.RESULT_NOT_FOUND
    one.save()
    with archive_that(shelf.answer, monkeypatch):
        found = ask_archive(owed(one), nullcontext())
    assert found == StoredObjects(detail="Orthanc answered 500")


class Breaks(AbstractContextManager[None]):
    """In the place of the turn: a fault of ours while the object is read."""

    def __enter__(self) -> None:
        raise RuntimeError("of a patient")

    def __exit__(self, *_: object) -> None:
        """Never reached."""


def test_an_object_that_this_site_fails_to_read_is_not_tried_without_end(
    held: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, one, _, _ = held
    with archive_that(shelf.answer, monkeypatch):
        found = ask_archive(owed(one), Breaks())
    assert found is not None
    assert found.fails
    assert "patient" not in found.detail
