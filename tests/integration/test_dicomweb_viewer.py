"""``/ohif/``: the viewer's files as they are served, and where a link to it leads."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.template import Context, Template
from django.test import Client, override_settings
from django.urls import clear_url_caches

from infra.local.orthanc import OrthancNode
from infra.viewer.fetch import unpack
from messages.identity import primary_series_uid
from tests.integration.lab import StoredStudy, store_small_study
from tests.integration.web_requests import write_request
from tests.site import reader_of, site_with, use_archive
from tests.unit.test_viewer_fetch import BUNDLE, tarball
from web.access.audit import Action
from web.access.models import AuditEntry
from web.inference.models import InferenceRequest
from web.inference.states import State

pytestmark = pytest.mark.django_db

LINK = Template("{% load labrelay_viewer %}{% open_in_viewer study_id %}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("viewer")
    return unpack(tarball(place), place / "viewer")


@pytest.fixture(scope="module")
def study(orthanc: OrthancNode) -> StoredStudy:
    return store_small_study(orthanc)


@pytest.fixture(autouse=True)
def site(orthanc: OrthancNode, settings: Any, folder: Path) -> Any:
    use_archive(settings, orthanc)
    site_with(settings, ohif_dir=folder)
    return settings


@pytest.fixture
def reader() -> Client:
    client = Client()
    client.force_login(reader_of())
    return client


def completed(study: StoredStudy, *, with_seg: bool = True) -> InferenceRequest:
    row = write_request()
    row.study_id, row.state = study.study_id, State.COMPLETED
    row.result = {"seg_instance_id": "0123abcd" if with_seg else None}
    row.save()
    return row


def led_to(client: Client, study: StoredStudy, query: str = "") -> dict[str, list[str]]:
    answer = client.get(f"/ohif/open/{study.study_id}/{query}")
    assert answer.status_code == 302
    assert answer.headers["Cache-Control"] == "no-store"
    parts = urlsplit(answer.headers["Location"])
    assert parts.path == "/ohif/viewer"
    return parse_qs(parts.query)


def test_a_study_opens_with_its_newest_result(reader: Client, study: StoredStudy) -> None:
    only_the_study = {"StudyInstanceUIDs": [study.study_uid]}
    assert led_to(reader, study) == only_the_study
    older, newer = completed(study), completed(study)
    shown = led_to(reader, study)
    assert shown["initialSeriesInstanceUID"] == [primary_series_uid(newer.pk)]
    shown = led_to(reader, study, f"?request={older.pk}")
    assert shown["initialSeriesInstanceUID"] == [primary_series_uid(older.pk)]
    # The newest found nothing: an older outline would contradict it.
    completed(study, with_seg=False)
    assert led_to(reader, study) == only_the_study


def test_a_study_that_is_not_granted_does_not_open(study: StoredStudy) -> None:
    client = Client()
    client.force_login(reader_of("-".join(["0123abcd"] * 5)))
    assert client.get(f"/ohif/open/{study.study_id}/").status_code == 404
    assert AuditEntry.objects.get(action=Action.REFUSED).study_id == study.study_id
    assert Client().get(f"/ohif/open/{study.study_id}/").status_code == 302
    assert Client().get("/ohif/viewer").headers["Location"].startswith("/login/?next=/ohif/viewer")


def test_the_page_has_a_policy_of_its_own_and_is_asked_for_again(reader: Client) -> None:
    answer = reader.get("/ohif/viewer")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert "connect-src 'self';" in policy
    assert (
        "no-cache" in answer.headers["Cache-Control"]
        or "max-age=0" in answer.headers["Cache-Control"]
    )


def test_files_come_compressed_and_those_with_a_hash_are_kept_for_ever(folder: Path) -> None:
    plain = Client().get(f"/ohif/{BUNDLE}")
    assert plain.content == (folder / BUNDLE).read_bytes()
    packed = Client().get(f"/ohif/{BUNDLE}", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content
    assert "Accept-Encoding" in packed.headers["Vary"]
    for answer in (plain, packed):
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["Content-Type"].startswith("text/javascript")
        assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in answer.headers
    config = Client().get("/ohif/app-config.js")
    assert "immutable" not in config.headers["Cache-Control"]
    etag = config.headers["Last-Modified"]
    again = Client().get("/ohif/app-config.js", headers={"If-Modified-Since": etag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "index.html",
        "labrelay-viewer.txt",
        "../secrets.json",
        f"{BUNDLE}.gz",
        "viewer/x",
    ],
)
def test_nothing_else_is_served_from_the_folder(name: str, reader: Client) -> None:
    assert reader.get(f"/ohif/{name}").status_code == 404


def test_without_a_study_the_viewer_leads_to_the_list(reader: Client) -> None:
    assert reader.get("/ohif/").headers["Location"] == "/"


def test_without_the_viewer_the_page_says_so_instead_of_a_link(
    reader: Client, study: StoredStudy, site: Any, tmp_path: Path
) -> None:
    context = Context({"study_id": study.study_id})
    assert f'href="/ohif/open/{study.study_id}/"' in LINK.render(context)
    site_with(site, ohif_dir=tmp_path)
    assert "href" not in LINK.render(context)
    assert "is not installed on this site" in LINK.render(context)
    for path in (f"/ohif/open/{study.study_id}/", "/ohif/viewer", "/ohif/app-config.js"):
        answer = reader.get(path)
        assert answer.status_code == 404
        assert "is not installed on this site" in answer.content.decode()


def test_a_project_that_has_not_included_the_viewer_has_no_link(study: StoredStudy) -> None:
    with override_settings(ROOT_URLCONF="web.pages.urls"):
        clear_url_caches()
        assert "href" not in LINK.render(Context({"study_id": study.study_id}))
    clear_url_caches()
