"""``/api/v1/``: a click with a real archive, and every wrong input as a sentence in JSON."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from django.contrib.auth import get_user_model
from django.test import Client
from django.urls import reverse
from pydicom.uid import generate_uid

from infra.local.orthanc import OrthancNode
from messages.codec import decode
from messages.phases import DCE_ROLES
from messages.request import InferenceRequested
from tests.dicom_factory import Series
from tests.site import reader_of, site_with, use_archive
from web.inference import outbox
from web.inference.models import InferenceRequest, Outbox

REQUESTS = "/api/v1/requests"
FOREIGN_ID = "-".join(["0123abcd"] * 5)

pytestmark = pytest.mark.django_db(transaction=True)


def store(
    orthanc: OrthancNode, phases: int, study_uid: str = "", series_uid: str = ""
) -> tuple[str, list[str]]:
    """A study of so many small MR phases, one a series: Orthanc's ids of study and series.

    `series_uid` is that of the first series.
    """
    study_uid, frame_uid, stored = study_uid or generate_uid(), generate_uid(), []
    with httpx.Client(base_url=orthanc.url, auth=(orthanc.user, orthanc.password)) as client:
        for number in range(phases):
            uid = series_uid if series_uid and number == 0 else generate_uid()
            phase = Series(
                slices=2,
                study_uid=study_uid,
                series_uid=uid,
                frame_uid=frame_uid,
                time=f"10{15 + number}00",
            )
            for file in phase.files():
                answer = client.post("/instances", content=file)
                stored.append(answer.raise_for_status().json())
    series = list(dict.fromkeys(answer["ParentSeries"] for answer in stored))
    return stored[0]["ParentStudy"], series


@pytest.fixture(scope="module")
def study(orthanc: OrthancNode) -> tuple[str, list[str]]:
    return store(orthanc, 5)


@pytest.fixture
def reader(orthanc: OrthancNode, settings: Any) -> Client:
    use_archive(settings, orthanc)
    client = Client(raise_request_exception=False)
    client.force_login(reader_of())
    return client


def body(study_id: str, series: list[str], **more: Any) -> dict[str, Any]:
    inputs = [
        {"role": role, "series_id": one} for role, one in zip(DCE_ROLES, series, strict=False)
    ]
    return {"study_id": study_id, "inputs": inputs, **more}


def ask(client: Client, content: Any) -> Any:
    return client.post(REQUESTS, content, content_type="application/json")


def error_of(answer: Any) -> dict[str, Any]:
    assert answer.headers["Content-Type"].startswith("application/json")
    assert set(answer.json()) == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"code", "message", "request_id"}
    assert error["message"]
    assert "Traceback" not in answer.content.decode()
    return error


def nothing_was_written() -> bool:
    return not (InferenceRequest.objects.exists() or Outbox.objects.exists())


def test_a_click_is_written_with_its_message_and_answered_with_its_address(
    reader: Client, study: tuple[str, list[str]]
) -> None:
    study_id, series = study
    content = body(study_id, series[:4], threshold=0.4)
    content["inputs"].reverse()
    answer = ask(reader, content)

    assert answer.status_code == 202
    shown = answer.json()
    assert (shown["state"], shown["pool"]) == ("queued", "lab")
    assert [item["role"] for item in shown["inputs"]] == list(DCE_ROLES)
    assert answer.headers["Location"] == f"{REQUESTS}/{shown['request_id']}"
    assert reader.get(answer.headers["Location"]).json() == shown
    assert reader.get(REQUESTS, {"study_id": study_id}).json() == {
        "requests": [shown],
        "next": None,
    }

    row = Outbox.objects.get()
    message = decode(bytes(row.body), type_=row.type)
    assert isinstance(message, InferenceRequested)
    assert str(message.request_id) == shown["request_id"]
    assert (row.exchange, row.routing_key) == ("mri.requests", "lab.breast_dce_phantom")
    assert [item.series_id for item in message.inputs] == series[:4]
    assert {item.instance_count for item in message.inputs} == {2}
    assert message.threshold == 0.4
    assert b"Phantom" not in bytes(row.body)
    assert InferenceRequest.objects.get().requested_by.get_username() == "reader"


def test_the_relay_is_rung_after_the_commit_only(
    reader: Client, study: tuple[str, list[str]]
) -> None:
    rung: list[bool] = []

    def relay(row: Outbox, **_: object) -> None:
        rung.append(Outbox.objects.filter(pk=row.pk).exists())

    outbox.written.connect(relay)
    try:
        ask(reader, body(study[0], study[1][:3]))
        assert rung == []
        ask(reader, body(study[0], study[1][:4]))
        assert rung == [True]
    finally:
        outbox.written.disconnect(relay)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda b: b["inputs"].pop(), 422, "wrong_phase_count"),
        (lambda b: b["inputs"].append(dict(b["inputs"][0])), 422, "wrong_phase_count"),
        (lambda b: b["inputs"].clear(), 422, "wrong_phase_count"),
        (lambda b: b["inputs"][0].update(role="last"), 422, "wrong_roles"),
        (lambda b: b["inputs"][0].update(series_id=FOREIGN_ID), 404, "series_not_found"),
        (
            lambda b: b["inputs"][0].update(b["inputs"][1] | {"role": "pre"}),
            422,
            "same_series_twice",
        ),
        (lambda b: b["inputs"][0].update(series_id="../../system"), 422, "malformed_id"),
        (lambda b: b["inputs"][0].update(series_id=FOREIGN_ID + "\n"), 422, "malformed_id"),
        (lambda b: b.update(study_id=".."), 422, "malformed_id"),
        (lambda b: b.update(study_id=FOREIGN_ID), 404, "study_not_found"),
        (lambda b: b.update(model="no_such_model"), 422, "unknown_model"),
        (lambda b: b.update(threshold=0), 422, "threshold_out_of_range"),
        (lambda b: b.update(threshold=1.5), 422, "threshold_out_of_range"),
        (lambda b: b.update(threshold="high"), 422, "invalid"),
        (lambda b: b.pop("inputs"), 422, "invalid"),
        (lambda b: b.update(inputs="all"), 422, "invalid"),
        (lambda b: b.update(inputs=b["inputs"] * 20), 422, "invalid"),
    ],
)
def test_a_wrong_input_is_a_sentence_and_nothing_is_written(
    reader: Client, study: tuple[str, list[str]], change: Any, status: int, code: str
) -> None:
    content = body(study[0], study[1][:4])
    change(content)
    answer = ask(reader, content)

    assert answer.status_code == status
    assert error_of(answer)["code"] == code
    assert nothing_was_written()


def test_a_series_of_another_study_is_refused(
    reader: Client, study: tuple[str, list[str]], orthanc: OrthancNode
) -> None:
    _, others = store(orthanc, 1)
    answer = ask(reader, body(study[0], [*study[1][:3], *others]))

    assert answer.status_code == 404
    assert error_of(answer)["code"] == "series_not_found"
    assert nothing_was_written()


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:The value length")
@pytest.mark.parametrize("uid", ["1." + "2" * 66, "1.2.abc.3"], ids=["too long", "with letters"])
@pytest.mark.parametrize("which", ["study_uid", "series_uid"])
def test_a_uid_that_dicom_forbids_is_refused(
    reader: Client, orthanc: OrthancNode, which: str, uid: str
) -> None:
    study_id, series = store(orthanc, 4, **{which: uid})
    answer = ask(reader, body(study_id, series))

    assert answer.status_code == 422
    assert error_of(answer)["code"] == "unsupported_image"
    assert nothing_was_written()


def test_an_archive_that_is_down_is_503_and_nothing_is_written(
    reader: Client, study: tuple[str, list[str]], settings: Any
) -> None:
    site_with(settings, orthanc_url="http://127.0.0.1:9")
    answer = ask(reader, body(study[0], study[1][:4]))

    assert answer.status_code == 503
    assert error_of(answer)["code"] == "archive_unavailable"
    assert nothing_was_written()


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api/v1/nothing",
        "/api/v1/requests/../../login/",
        "/api/v1/../../etc/passwd",
        f"{REQUESTS}/not-a-uuid",
    ],
)
def test_an_unknown_address_is_404_in_json(reader: Client, path: str) -> None:
    answer = reader.get(path)
    assert answer.status_code == 404
    assert error_of(answer)["code"] == "not_found"


def test_an_unknown_request_is_404_and_names_itself(reader: Client) -> None:
    request_id = uuid4()
    answer = reader.get(f"{REQUESTS}/{request_id}")
    assert answer.status_code == 404
    assert error_of(answer)["request_id"] == str(request_id)


def test_a_method_that_is_not_allowed_is_405_in_json(reader: Client) -> None:
    answer = reader.delete(REQUESTS)
    assert answer.status_code == 405
    assert error_of(answer)["code"] == "method_not_allowed"
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("content", ["{", b"\xff\xfe", ""])
def test_a_body_that_is_no_json_is_400_in_json(reader: Client, content: Any) -> None:
    answer = ask(reader, content)
    assert answer.status_code in {400, 422}
    error_of(answer)
    assert nothing_was_written()


def test_without_a_log_in_the_answer_is_401_in_json() -> None:
    for answer in (Client().get(REQUESTS), ask(Client(), {})):
        assert answer.status_code == 401
        assert error_of(answer)["code"] == "unauthorized"


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_a_post_from_another_site_is_403_in_json(
    reader: Client, study: tuple[str, list[str]], headers: dict[str, str]
) -> None:
    content = body(study[0], study[1][:4])
    answer = reader.post(REQUESTS, content, content_type="application/json", headers=headers)

    assert answer.status_code == 403
    error_of(answer)
    assert nothing_was_written()


def test_a_foreign_host_name_is_400_in_json(reader: Client) -> None:
    answer = reader.get(REQUESTS, headers={"Host": "evil.example"})
    assert answer.status_code == 400
    error_of(answer)


def test_a_fault_of_ours_is_500_in_json_without_a_traceback(reader: Client, settings: Any) -> None:
    settings.SITE = None
    answer = ask(reader, body(FOREIGN_ID, [FOREIGN_ID] * 4))
    assert answer.status_code == 500
    assert error_of(answer)["code"] == "internal_server_error"


def test_an_error_is_told_in_korean_to_a_korean_browser(reader: Client) -> None:
    answer = reader.get("/api/v1/nothing", headers={"Accept-Language": "ko"})
    assert error_of(answer)["message"] == "이 주소에는 아무것도 없습니다."


def test_staff_see_requests_dead_letters_and_labs_and_change_none(
    reader: Client, study: tuple[str, list[str]]
) -> None:
    request_id = ask(reader, body(study[0], study[1][:4])).json()["request_id"]
    staff = Client()
    staff.force_login(get_user_model().objects.create_superuser("staff"))
    for kind in ("inference_inferencerequest", "inference_deadletter", "labs_lab"):
        listed = reverse(f"admin:labrelay_{kind}_changelist")
        assert staff.get(listed).status_code == 200
        assert staff.get(f"{listed}add/").status_code == 403
    page = staff.get(f"/admin/labrelay_inference/inferencerequest/{request_id}/change/")
    assert page.status_code == 200
    assert b'name="_save"' not in page.content
