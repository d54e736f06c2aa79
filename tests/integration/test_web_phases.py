"""Phases in one series, in two and in frames: told, proposed, taken, refused and shown."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from django.test import Client
from django.utils import translation
from PIL import Image
from pydicom.uid import generate_uid

from infra.local.orthanc import OrthancNode
from messages.codec import decode
from messages.phases import DCE_ROLES
from messages.request import InferenceRequested
from tests.integration.phased import (
    SLICES,
    Phased,
    four_phases,
    in_frames,
    in_one_series,
    in_one_series_by_trigger,
    in_two_series,
    lasting,
    merged,
    stored,
)
from tests.integration.test_web_api import ask, error_of
from tests.site import reader_of, use_archive
from web.inference.models import InferenceRequest, Outbox

STUDIES = "/api/v1/studies"

pytestmark = pytest.mark.django_db(transaction=True)

LAYOUTS = {
    "TemporalPositionIdentifier": in_one_series,
    "AcquisitionNumber": lambda orthanc: in_one_series(orthanc, "AcquisitionNumber"),
    "TriggerTime": in_one_series_by_trigger,
    "TemporalPositionIndex": in_frames,
}


@pytest.fixture(scope="module")
def studies(orthanc: OrthancNode) -> dict[str, Phased]:
    """A study of each layout, by the keyword that tells its phases apart."""
    return {keyword: store(orthanc) for keyword, store in LAYOUTS.items()}


@pytest.fixture(params=LAYOUTS)
def keyword(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def reader(orthanc: OrthancNode, settings: Any) -> Client:
    use_archive(settings, orthanc)
    client = Client(raise_request_exception=False)
    client.force_login(reader_of())
    return client


def proposed(client: Client, study: Phased) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"{STUDIES}/{study.study_id}/phases").json()
    return found


def inputs_of(client: Client, study: Phased) -> list[dict[str, Any]]:
    """What is proposed, as a request takes it."""
    names = ("role", "series_id", "phase")
    found = proposed(client, study)
    assert found["problem"] is None
    return [{name: phase[name] for name in names} for phase in found["phases"]]


def wish(study: Phased, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"study_id": study.study_id, "inputs": inputs}


def test_the_phases_of_one_series_are_told_and_proposed(
    reader: Client, studies: dict[str, Phased], keyword: str
) -> None:
    study = studies[keyword]
    (series,) = reader.get(f"{STUDIES}/{study.study_id}").json()["series"]
    assert series["unclear"] is None
    assert [phase["phase"]["keyword"] for phase in series["phases"]] == [keyword] * 4
    assert [phase["image_count"] for phase in series["phases"]] == [SLICES] * 4
    first = series["phases"][0]["acquired_at_s"]
    since = [phase["acquired_at_s"] - first for phase in series["phases"]]
    assert since == pytest.approx([0, 95, 190, 285])

    with translation.override("en"):
        made = proposed(reader, study)
    assert made["problem"] is None
    assert [phase["phase"] for phase in made["phases"]] == [
        phase["phase"] for phase in series["phases"]
    ]
    assert made["phases"][1]["reason"] == (
        f"Phase 2 of 4 in this series by {keyword}. "
        "No. 2 of 4 by acquisition time, 95 s after the first"
    )


def test_phases_in_two_series_are_proposed_across_them(reader: Client, orthanc: Any) -> None:
    study = in_two_series(orthanc)
    chosen = inputs_of(reader, study)
    assert [item["series_id"] for item in chosen] == [study.series_ids[i] for i in (0, 1, 1, 1)]
    assert [item["phase"] for item in chosen] == [
        None,
        *({"keyword": "AcquisitionNumber", "value": str(number)} for number in (1, 2, 3)),
    ]
    assert ask(reader, wish(study, chosen)).status_code == 202


def test_what_is_proposed_is_taken_and_published_with_its_phases(
    reader: Client, studies: dict[str, Phased], keyword: str
) -> None:
    study = studies[keyword]
    answer = ask(reader, wish(study, inputs_of(reader, study)))
    assert answer.status_code == 202
    told = answer.json()["inputs"]
    assert [item["phase"]["keyword"] for item in told] == [keyword] * 4
    row = Outbox.objects.get()
    message = decode(bytes(row.body), type_=row.type)
    assert isinstance(message, InferenceRequested)
    selectors = [item.phase_selector for item in message.inputs]
    assert [one and one.model_dump() for one in selectors] == [item["phase"] for item in told]
    count = 1 if keyword == "TemporalPositionIndex" else 4 * SLICES
    assert {item.instance_count for item in message.inputs} == {count}
    assert [item.role for item in message.inputs] == list(DCE_ROLES)


def test_a_retry_asks_for_the_same_phases(reader: Client, studies: dict[str, Phased]) -> None:
    study = studies["TemporalPositionIdentifier"]
    first = ask(reader, wish(study, inputs_of(reader, study))).json()
    InferenceRequest.objects.update(state="failed", failure_code="worker_crashed")
    again = reader.post(f"/api/v1/requests/{first['request_id']}/retry")
    assert again.status_code == 202
    assert again.json()["inputs"] == first["inputs"]
    assert again.json()["request_id"] != first["request_id"]


def test_a_series_of_several_phases_is_not_taken_as_one(
    reader: Client, studies: dict[str, Phased]
) -> None:
    study = studies["TemporalPositionIdentifier"]
    chosen = inputs_of(reader, study)
    chosen[0]["phase"] = None
    answer = ask(reader, wish(study, chosen))
    assert (answer.status_code, error_of(answer)["code"]) == (422, "several_phases")
    assert "4" in error_of(answer)["message"]
    assert not Outbox.objects.exists()


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        ({"keyword": "TemporalPositionIdentifier", "value": "9"}, "phase_not_found"),
        ({"keyword": "AcquisitionNumber", "value": "1"}, "phase_not_found"),
        ({"keyword": "TemporalPositionIdentifier", "value": "2"}, "same_series_twice"),
        ({"keyword": "TemporalPositionIdentifier", "value": "2.0"}, "same_series_twice"),
        ({"keyword": "Patient Name", "value": "2"}, "invalid"),
        ({"keyword": "TemporalPositionIdentifier", "value": "../2"}, "invalid"),
    ],
)
def test_a_phase_that_is_none_is_refused_with_a_sentence(
    reader: Client, studies: dict[str, Phased], phase: dict[str, str], code: str
) -> None:
    study = studies["TemporalPositionIdentifier"]
    chosen = inputs_of(reader, study)
    chosen[0]["phase"] = phase
    answer = ask(reader, wish(study, chosen))
    assert answer.status_code == 422
    assert error_of(answer)["code"] == code
    assert error_of(answer)["message"]


def test_phases_out_of_order_are_refused_in_the_readers_language(
    reader: Client, studies: dict[str, Phased]
) -> None:
    study = studies["TriggerTime"]
    chosen = inputs_of(reader, study)
    chosen[1]["phase"], chosen[2]["phase"] = chosen[2]["phase"], chosen[1]["phase"]
    english = ask(reader, wish(study, chosen))
    assert error_of(english)["code"] == "phases_out_of_order"
    korean = reader.post(
        "/api/v1/requests",
        json.dumps(wish(study, chosen)),
        content_type="application/json",
        headers={"Accept-Language": "ko"},
    )
    assert "조영 후 1차" in error_of(korean)["message"]


def breaking(kind: str) -> tuple[Any, ...]:
    """Four phases of which the third differs from the others."""
    phases = four_phases()
    for ds in phases[2].datasets:
        match kind:
            case "shifted":
                x, y, z = ds.ImagePositionPatient
                ds.ImagePositionPatient = [x + 3, y, z]
            case "finer":
                ds.PixelSpacing = ["0.4", "0.3"]
            case "moved":
                ds.FrameOfReferenceUID = generate_uid()
            case "tilted":
                ds.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
            case "earlier":
                ds.AcquisitionTime = "101000"
            case "another day":
                ds.AcquisitionDate = "20260103"
    if kind == "shorter":
        phases[2].datasets.pop()
    return phases


def mixing(kind: str) -> tuple[Any, ...]:
    """Four phases of which the third is no single acquisition."""
    phases = four_phases()
    if kind == "phase maps":
        for ds in phases[2].datasets[1:3]:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]
    if kind == "half of the last":
        for ds in phases[2].datasets[3:]:
            ds.AcquisitionTime = phases[3].datasets[0].AcquisitionTime
    return phases


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [
        ("shifted", "geometry_mismatch", "lie 3 mm away"),
        ("finer", "geometry_mismatch", "0.4 mm apart"),
        ("moved", "geometry_mismatch", "frames of reference"),
        ("tilted", "geometry_mismatch", "another direction"),
        ("shorter", "geometry_mismatch", "has 4 slices"),
        ("earlier", "phases_out_of_order", "was acquired before"),
        ("another day", "phases_out_of_order", "was acquired before"),
        ("phase maps", "mixed_phase", "Slice 2 of"),
        ("half of the last", "mixed_phase", "has another acquisition time"),
    ],
)
def test_phases_that_do_not_belong_together_are_refused_by_what_differs(
    reader: Client, orthanc: OrthancNode, kind: str, code: str, words: str
) -> None:
    made = mixing(kind) if code == "mixed_phase" else breaking(kind)
    study = stored(orthanc, made)
    chosen = [
        {"role": role, "series_id": series}
        for role, series in zip(DCE_ROLES, study.series_ids, strict=True)
    ]
    error = error_of(ask(reader, wish(study, chosen)))
    assert error["code"] == code
    assert words in error["message"]
    told = reader.get(
        f"{STUDIES}/{study.study_id}/concerns", {"phase": [item["series_id"] for item in chosen]}
    ).json()["concerns"]
    assert {"code": code, "message": error["message"], "refuses": True} in told
    assert "Post-contrast 2" in error["message"]
    assert not Outbox.objects.exists()


def test_a_mixed_phase_is_said_with_the_proposal(reader: Client, orthanc: OrthancNode) -> None:
    made = proposed(reader, stored(orthanc, mixing("half of the last")))
    assert made["problem"] is None
    (concern,) = lasting(made["concerns"])
    assert (concern["code"], concern["refuses"]) == ("mixed_phase", True)


def test_phases_on_different_scales_are_told_before_the_click(
    reader: Client, orthanc: OrthancNode
) -> None:
    for stated in (False, True):
        phases = four_phases()
        for number, series in enumerate(phases, 1):
            for ds in series.datasets:
                ds.Manufacturer, ds.RescaleSlope, ds.RescaleIntercept = "Philips", number, "0"
                if stated:
                    ds.add_new(0x20050010, "LO", "Philips MR Imaging DD 001")
                    ds.add_new(0x2005100E, "FL", 0.5 * number)
        study = stored(orthanc, phases)
        said = lasting(proposed(reader, study)["concerns"])
        told = [(one["code"], one["refuses"]) for one in said]
        assert told == ([] if stated else [("different_scales", False)])
        assert ask(reader, wish(study, inputs_of(reader, study))).status_code == 202


def test_phases_that_lack_a_slice_or_a_mark_are_not_told_apart(
    reader: Client, orthanc: OrthancNode
) -> None:
    for spoil, why in ((True, "incomplete_phase"), (False, "not_separable")):
        phases = four_phases()
        merged(phases, (lambda ds, n: setattr(ds, "AcquisitionNumber", n)) if spoil else same_time)
        if spoil:
            phases[3].datasets.pop()
        study = stored(orthanc, phases)
        (series,) = reader.get(f"{STUDIES}/{study.study_id}").json()["series"]
        assert (series["unclear"], series["phases"]) == (why, [])
        made = proposed(reader, study)
        assert made["problem"]
        assert made["left_out"][0]["series_id"] == study.series_ids[0]
        chosen = [{"role": role, "series_id": study.series_ids[0]} for role in DCE_ROLES]
        chosen[0]["phase"] = {"keyword": "AcquisitionNumber", "value": "1"}  # type: ignore[assignment]
        error = error_of(ask(reader, wish(study, chosen)))
        assert error["code"] in {"phases_unclear", "same_series_twice"}


def same_time(ds: Any, _phase: int) -> None:
    ds.AcquisitionTime = ds.ContentTime = "101500"


def grey(answer: Any) -> int:
    """The middle of the grey values of a picture."""
    assert answer.status_code == 200, answer.content
    return int(np.median(np.asarray(Image.open(io.BytesIO(answer.content)))))


def test_a_slice_of_a_phase_is_shown_in_the_order_of_its_phase(
    reader: Client, studies: dict[str, Phased], keyword: str
) -> None:
    study = studies[keyword]
    phases = reader.get(f"{STUDIES}/{study.study_id}").json()["series"][0]["phases"]
    named = [f"{one['phase']['keyword']}:{one['phase']['value']}" for one in phases]
    address = f"/studies/{study.study_id}/series/{study.series_ids[0]}/slices"
    window = f"{study.series_ids[0]}:{named[2]}"

    def shown(phase: int, index: int) -> int:
        query = {"of": SLICES, "window": window, "phase": named[phase]}
        return grey(reader.get(f"{address}/{index}.png", query))

    # In the window of the third phase: grey rises with its slices, the first phase lies below it.
    greys = [shown(2, index) for index in range(SLICES)]
    assert greys == sorted(set(greys))
    assert shown(0, SLICES - 1) == 0
    assert shown(3, 0) == 255
    assert reader.get(f"{address}/0.png", {"of": 4 * SLICES, "phase": named[0]}).status_code == 409
    assert reader.get(f"{address}/{SLICES}.png", {"phase": named[0]}).status_code == 404
    for wrong in ("TemporalPositionIdentifier:77", "no phase", "a:b", ":"):
        answer = reader.get(f"{address}/0.png", {"phase": wrong})
        assert answer.status_code == (200 if wrong == ":" else 404)


def concerns(client: Client, study: Phased, phases: list[str], **headers: str) -> Any:
    return client.get(
        f"{STUDIES}/{study.study_id}/concerns", {"phase": phases}, headers=headers or None
    )


def doubtful(kind: str) -> tuple[Any, ...]:
    """Four phases that a person may well have ordered so."""
    phases = four_phases()
    for ds in (ds for phase in phases for ds in phase.datasets):
        match kind:
            case "same_time":
                ds.AcquisitionTime = ds.ContentTime = "101500"
            case "doubtful_order" | "too_far_apart":
                del ds.AcquisitionDate, ds.ContentDate
    if kind == "doubtful_order":
        for ds in phases[1].datasets:
            ds.AcquisitionTime = ds.ContentTime = "101400"
    if kind == "too_far_apart":
        for ds in phases[3].datasets:
            ds.AcquisitionTime = ds.ContentTime = "133000"
    return phases


@pytest.mark.parametrize("kind", ["same_time", "doubtful_order", "too_far_apart"])
def test_what_is_only_doubtful_is_said_and_still_taken(
    reader: Client, orthanc: OrthancNode, kind: str
) -> None:
    study = stored(orthanc, doubtful(kind))
    english = concerns(reader, study, list(study.series_ids)).json()["concerns"]
    assert kind in {one["code"] for one in english}
    assert not any(one["refuses"] for one in english)
    korean = concerns(reader, study, list(study.series_ids), accept_language="ko")
    assert "조영" in lasting(korean.json()["concerns"])[0]["message"]
    chosen = [
        {"role": role, "series_id": series}
        for role, series in zip(DCE_ROLES, study.series_ids, strict=True)
    ]
    assert ask(reader, wish(study, chosen)).status_code == 202


def test_a_choice_is_looked_at_without_a_request(
    reader: Client, studies: dict[str, Phased]
) -> None:
    study = studies["TemporalPositionIdentifier"]
    assert lasting(proposed(reader, study)["concerns"]) == []
    named = [f"{study.series_ids[0]}:TemporalPositionIdentifier:{n}" for n in (1, 3, 2, 4)]
    (concern,) = lasting(concerns(reader, study, named).json()["concerns"])
    assert (concern["code"], concern["refuses"]) == ("phases_out_of_order", True)
    assert "Post-contrast 2" in concern["message"]
    assert lasting(concerns(reader, study, sorted(named)).json()["concerns"]) == []
    for phases, status, code in (
        (named[:3], 422, "wrong_phase_count"),
        ([*named, named[0]], 422, "wrong_phase_count"),
        ([named[0], *named[:3]], 422, "same_series_twice"),
        ([*named[:3], f"{study.series_ids[0]}:TemporalPositionIdentifier:9"], 422, None),
        ([*named[:3], "x"], 422, "malformed_id"),
        ([*named[:3], f"{study.series_ids[0]}:a b:1"], 404, None),
        (studies["TriggerTime"].series_ids * 4, 422, None),
        ([*named[:3], studies["TriggerTime"].series_ids[0]], 404, "series_not_found"),
        ([], 422, "invalid"),
    ):
        answer = concerns(reader, study, list(phases))
        assert answer.status_code == status, phases
        assert code is None or error_of(answer)["code"] == code
    assert not InferenceRequest.objects.exists()
