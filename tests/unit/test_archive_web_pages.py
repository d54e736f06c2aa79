"""Pages without an archive: a sentence and the right status, in the reader's language."""

from __future__ import annotations

import io
from types import SimpleNamespace
from uuid import UUID

import httpx
import numpy as np
import pytest
from django.template.loader import render_to_string

from tests.site import reader_of, site_with
from web.inference.models import InferenceRequest
from web.orthanc.archive import Orthanc
from web.pages import views
from web.phases import stack
from web.results import slices

ID = "-".join(["0123abcd"] * 5)
OTHER = "-".join(["89abcdef"] * 5)

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader(client, settings):
    """A logged-in reader; nothing listens where the archive should be."""
    site_with(settings, orthanc_url="http://127.0.0.1:9")
    client.force_login(reader_of())
    return client


@pytest.mark.parametrize("address", ["/", f"/studies/{ID}/"])
def test_pages_ask_for_a_log_in(client, address):
    answer = client.get(address)

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/login/")


@pytest.mark.parametrize(
    "address", [f"/studies/{ID}/series/{ID}/slices/0.png", f"/requests/{UUID(int=1)}/overlay.json"]
)
def test_what_scripts_load_is_refused_as_json_without_a_log_in(client, address):
    answer = client.get(address)

    assert answer.status_code == 401
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("address", ["/", f"/studies/{ID}/"])
def test_an_archive_that_is_down_is_a_page_with_a_sentence(reader, address):
    answer = reader.get(address, headers={"Accept-Language": "ko"})

    assert answer.status_code == 503
    assert "영상 저장소가 응답하지 않습니다" in answer.content.decode()


@pytest.mark.parametrize("study_id", ["x", "..", ID + "0", ID.upper()])
def test_a_malformed_id_is_a_404_page(reader, study_id):
    answer = reader.get(f"/studies/{study_id}/")

    assert answer.status_code == 404
    assert "<main" in answer.content.decode()


def test_a_malformed_series_id_is_404_and_json(reader):
    answer = reader.get(f"/studies/{ID}/series/{ID.upper()}/slices/0.png")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.fixture
def growing(reader, monkeypatch):
    """The ids of the instances of the one series of an archive; a test may add some."""
    instances = [OTHER]

    def answer(request: httpx.Request) -> httpx.Response:
        match request.url.path.rsplit("/", 1)[-1]:
            case "instances":
                tags = [
                    {"SOPInstanceUID": f"1.{i}", "InstanceNumber": str(len(instances) - i)}
                    for i in range(len(instances))
                ]
                items = zip(instances, tags, strict=True)
                return httpx.Response(200, json=[{"ID": i, "MainDicomTags": t} for i, t in items])
            case "rendered":
                return httpx.Response(200, content=request.url.path.split("/")[-2].encode())
            case "numpy":
                buffer = io.BytesIO()
                np.save(buffer, np.arange(16.0))
                return httpx.Response(200, content=buffer.getvalue())
        return httpx.Response(200, json={"ParentStudy": ID})

    source = Orthanc("http://a.invalid", "u", "p", transport=httpx.MockTransport(answer))
    for module in (stack, slices):
        monkeypatch.setattr(module, "archive", lambda: source)
    # No period ends during a test.
    monkeypatch.setattr(stack.time, "monotonic", lambda: 1000.0)
    return instances


def test_a_slice_is_kept_by_the_browser_only_under_the_number_of_slices(reader, growing):
    address = f"/studies/{ID}/series/{ID}/slices/0.png"

    assert "max-age" in reader.get(f"{address}?of={len(growing)}").headers["Cache-Control"]
    assert reader.get(address).headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("known", ["2", "0", "x", "", "-1", "99999999999"])
def test_a_page_that_counts_other_slices_is_told_so_as_json(reader, growing, known):
    answer = reader.get(f"/studies/{ID}/series/{ID}/slices/0.png?of={known}")

    assert growing == [OTHER]
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "conflict"
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_page_that_saw_a_late_instance_does_not_wait_for_the_kept_order(reader, growing):
    address = f"/studies/{ID}/series/{ID}/slices/0.png"
    assert reader.get(f"{address}?of=1").content.decode() == OTHER

    growing.append(ID)

    assert reader.get(f"{address}?of=2").content.decode() == ID
    assert reader.get(f"{address}?of=3").status_code == 409


def test_the_newest_request_of_each_study_takes_one_query(reader, django_assert_num_queries):
    assert reader
    rows = [
        InferenceRequest.objects.create(
            pool="lab", model="m", study_id=study, study_uid="1.2", inputs=[], deadline_s=60
        )
        for study in (ID, ID, OTHER, "third")
    ]

    with django_assert_num_queries(1):
        latest = views._latest([ID, OTHER])

    assert latest == {ID: rows[1], OTHER: rows[2]}


def test_a_click_that_was_taken_back_does_not_hide_what_was_there_before(reader):
    assert reader
    of_study = {"pool": "lab", "model": "m", "study_uid": "1.2", "inputs": [], "deadline_s": 60}
    done = InferenceRequest.objects.create(study_id=ID, state="completed", **of_study)
    InferenceRequest.objects.create(study_id=ID, state="cancelled", **of_study)
    only = InferenceRequest.objects.create(study_id=OTHER, state="cancelled", **of_study)

    assert views._latest([ID, OTHER]) == {ID: done, OTHER: only}


def test_a_request_without_a_result_has_no_overlay(reader):
    row = InferenceRequest.objects.create(
        pool="lab", model="m", study_id=ID, study_uid="1.2", inputs=[], deadline_s=60
    )

    answer = reader.get(f"/requests/{row.pk}/overlay.json")

    assert answer.status_code == 409
    assert answer.json()["error"]["request_id"] == str(row.pk)


@pytest.mark.parametrize(("language", "word"), [("ko-KR,ko;q=0.9", "로그인"), ("en-US", "Log in")])
def test_the_language_is_the_browsers(client, language, word):
    page = client.get("/login/", headers={"Accept-Language": language}).content.decode()

    assert word in page
    assert f'<html lang="{language[:2]}"' in page


def test_pages_hold_no_inline_script_or_style(client):
    page = client.get("/login/").content.decode()

    assert "<style" not in page
    assert " style=" not in page
    assert "onclick" not in page


def test_the_page_says_in_what_the_labs_of_the_pool_differ():
    proposal = SimpleNamespace(roles=[], problem="")
    model = {"name": "m", "version": "1", "notice": "n", "arriving": "", "proposal": proposal}
    differ = render_to_string(
        "labrelay/analysis.html", {"models": [{**model, "disagreement": "D"}]}
    )
    agree = render_to_string("labrelay/analysis.html", {"models": [{**model, "disagreement": ""}]})
    assert '<p class="hint disagreement">D</p>' in differ
    assert "disagreement" not in agree
