"""Pages without an archive: a sentence and the right status, in the reader's language."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib.auth import get_user_model

from web.inference.models import InferenceRequest

ID = "-".join(["0123abcd"] * 5)

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader(client, settings):
    """A logged-in reader; nothing listens where the archive should be."""
    settings.ORTHANC_URL = "http://127.0.0.1:9"
    client.force_login(get_user_model().objects.create_user("reader"))
    return client


@pytest.mark.parametrize("address", ["/", f"/studies/{ID}/"])
def test_pages_ask_for_a_log_in(client, address):
    answer = client.get(address)

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/login/")


@pytest.mark.parametrize(
    "address", [f"/studies/{ID}/series/{ID}/slices/0.png", f"/requests/{uuid4()}/overlay.json"]
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
    answer = reader.get(f"/studies/{ID}/series/..%2f/slices/0.png")

    assert answer.status_code == 404


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
