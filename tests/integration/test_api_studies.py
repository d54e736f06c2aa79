"""``/api/v1/`` studies, phases, models, labs, and the page that describes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client

from infra.local.orthanc import OrthancNode
from messages.lab import LabHeartbeat, ModelDescriptor
from messages.phases import DCE_ROLES
from tests.integration.test_web_api import error_of, store
from tests.site import reader_of, site_with, use_archive
from web.access.audit import Action
from web.access.grants import EVERYTHING, Scope
from web.access.models import AuditEntry
from web.api import study_pages
from web.api.study_pages import page_of_studies
from web.labs import registry
from web.labs.heartbeats import record_heartbeat
from web.orthanc.archive import Described, archive

STUDIES = "/api/v1/studies"

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def study(orthanc: OrthancNode) -> tuple[str, list[str]]:
    return store(orthanc, 4)


@pytest.fixture
def reader(orthanc: OrthancNode, settings: Any) -> Client:
    use_archive(settings, orthanc)
    client = Client()
    client.force_login(reader_of())
    return client


def all_pages(client: Client, limit: int) -> list[str]:
    found: list[str] = []
    wanted: dict[str, Any] = {"limit": limit}
    while True:
        answer = client.get(STUDIES, wanted).json()
        assert len(answer["studies"]) <= limit
        found += [line["study_id"] for line in answer["studies"]]
        if answer["next"] is None:
            return found
        wanted["cursor"] = answer["next"]


def test_a_study_is_told_with_its_series_and_written_down(
    reader: Client, study: tuple[str, list[str]]
) -> None:
    shown = reader.get(f"{STUDIES}/{study[0]}").json()
    assert shown["study_id"] == study[0]
    assert {series["series_id"] for series in shown["series"]} == set(study[1])
    assert {series["instance_count"] for series in shown["series"]} == {2}
    assert AuditEntry.objects.get(action=Action.STUDY_VIEWED).study_id == study[0]


def test_phases_are_proposed_with_reasons_or_with_the_problem(
    reader: Client, study: tuple[str, list[str]]
) -> None:
    shown = reader.get(f"{STUDIES}/{study[0]}/phases").json()
    assert [phase["role"] for phase in shown["phases"]] == list(DCE_ROLES)
    assert shown["model"] == "breast_dce_phantom"
    complete = all(phase["series_id"] for phase in shown["phases"])
    assert complete == (shown["problem"] is None)
    assert all(bool(phase["series_id"]) == bool(phase["reason"]) for phase in shown["phases"])

    unknown = reader.get(f"{STUDIES}/{study[0]}/phases", {"model": "no_such"})
    assert (unknown.status_code, error_of(unknown)["code"]) == (422, "unknown_model")


def test_pages_of_studies_hold_each_study_once(
    reader: Client, study: tuple[str, list[str]], orthanc: OrthancNode
) -> None:
    for _ in range(3):
        store(orthanc, 1)
    everything = all_pages(reader, 100)
    assert study[0] in everything
    assert len(set(everything)) == len(everything) >= 4
    assert all_pages(reader, 1) == all_pages(reader, 3) == everything


def test_a_reader_with_grants_gets_pages_of_those(
    reader: Client, study: tuple[str, list[str]], orthanc: OrthancNode
) -> None:
    others = [store(orthanc, 1)[0] for _ in range(2)]
    client = Client()
    # A grant may name what is not in the archive.
    client.force_login(reader_of(study[0], *others, "-".join(["0123abcd"] * 5), name="guest"))
    assert set(all_pages(client, 1)) == {study[0], *others}
    assert all_pages(client, 100) == all_pages(client, 2)


class Shelf:
    """What `page_of_studies` asks of an archive, over studies of these dates."""

    def __init__(self, days: list[str]) -> None:
        self.items = [
            {"ID": f"{n:08x}" + "-00000000" * 4, "MainDicomTags": {"StudyDate": day}}
            for n, day in enumerate(days)
        ]
        self.ranges: list[str] = []

    def studies_dated(self, dates: str, limit: int, since: int = 0) -> Described:
        self.ranges.append(dates)
        first, _, last = dates.partition("-")
        found = [
            item
            for item in self.items
            if not dates or first <= item["MainDicomTags"]["StudyDate"] <= (last or "99999999")
        ]
        page = found[since : since + limit]
        return Described(page, len(page), frozenset())


def test_old_and_undated_studies_come_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_pages, "_BATCH", 2)
    days = ["20260102", "", "19991231", "2026.1.1", "20200101", "20260101", "20260102", "00010101"]
    shelf: Any = Shelf(days)
    after, found = None, []
    for _ in range(20):
        page, after = page_of_studies(EVERYTHING, 1, after, orthanc=shelf)
        found += [item["MainDicomTags"]["StudyDate"] for item in page]
        if after is None:
            break
    dated = ["20260102", "20260102", "20260101", "20200101", "19991231", "00010101"]
    assert found[:6] == dated
    assert sorted(found[6:]) == ["", "2026.1.1"]


def test_a_sight_of_nothing_does_not_ask_the_archive(settings: Any) -> None:
    site_with(settings, orthanc_url="http://127.0.0.1:9")
    assert page_of_studies(Scope(everything=False), 5, None, orthanc=archive()) == ([], None)


def test_an_archive_that_is_down_is_503_and_names_no_patient(
    reader: Client, study: tuple[str, list[str]], settings: Any
) -> None:
    site_with(settings, orthanc_url="http://127.0.0.1:9")
    for path in (STUDIES, f"{STUDIES}/{study[0]}", f"{STUDIES}/{study[0]}/phases"):
        answer = reader.get(path)
        assert answer.status_code == 503
        error_of(answer)


def test_labs_and_models_are_told_as_the_labs_describe_them(reader: Client) -> None:
    described = reader.get("/api/v1/models").json()
    assert described["pool"] == "lab"
    assert described["models"][0]["version"] is described["models"][0]["sha256"] is None

    model = ModelDescriptor(
        name="m",
        version="2",
        sha256="b" * 64,
        roles=("image",),
        labels=("tumor",),
        notice="Trained on simulated phantoms, not for clinical use.",
    )
    now = datetime.now(UTC)
    beat = LabHeartbeat(lab="lab1", pool="lab", device="cpu", models=(model,), at=now)
    registry.confirm("lab1", "lab")
    record_heartbeat(beat)
    korean = reader.get("/api/v1/models", headers={"Accept-Language": "ko"}).json()["models"]
    assert [(one["name"], one["version"]) for one in korean] == [("m", "2")]
    assert korean[0]["roles"][0]["role"] == "image"
    assert korean[0]["notice"] != model.notice
    labs = reader.get("/api/v1/labs").json()["labs"]
    assert [(lab["lab"], lab["online"]) for lab in labs] == [("lab1", True)]
    assert reader.get("/api/v1/models", {"pool": "nowhere"}).status_code == 422

    assert korean[0]["disagreement"] == ""
    registry.confirm("lab2", "lab")
    other = model.model_copy(update={"notice": "Approved for clinical use"})
    record_heartbeat(beat.model_copy(update={"lab": "lab2", "models": (other,)}))
    (told,) = reader.get("/api/v1/models").json()["models"]
    assert told["notice"] == model.notice
    assert "differently: the notice." in told["disagreement"]


def test_the_description_needs_no_log_in_and_its_page_does(reader: Client) -> None:
    assert Client().get("/api/v1/openapi.json").json()["openapi"] == "3.1.0"
    away = Client().get("/api/v1/docs")
    assert (away.status_code, away.headers["Location"]) == (302, "/login/?next=/api/v1/docs")
    page = reader.get("/api/v1/docs")
    assert page.status_code == 200
    # No script stands in the page, and none comes from elsewhere.
    text = page.content.decode()
    assert "https://" not in text
    assert [part.split(">")[0] for part in text.split("<script")[1:]] == [
        ' type="application/json" id="swagger-settings"',
        ' src="/static/ninja/swagger-ui-bundle.js"',
        ' src="/static/ninja/swagger-ui-init.js"',
    ]
