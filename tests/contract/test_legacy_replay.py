"""The calls of the front end that exists already, replayed against the whole running system.

A browser's same-origin headers and session cookie, no CSRF token; the operators' calls are plain
ones from this machine.
"""

from __future__ import annotations

import http.client
import io
import json
import sqlite3
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from infra.demo.stack import PAGE_USER
from infra.local.process import wait_until
from tests.dicom_factory import Series
from tests.integration.lab import orthanc_get, orthanc_post, stored_objects
from tests.integration.system import System, running_system

BASE = "/api/mri/segmentation"
UNKNOWN = "-".join(["0123abcd"] * 5)

#: Seconds that the viewer itself waits.
VIEWER_SECONDS = 300.0

KEYS_OF_SUCCESS = {
    "success",
    "series_id",
    "request_id",
    "tumor_detected",
    "tumor_volume_voxels",
    "seg_instance_id",
    "elapsed_time_seconds",
    "saved_to_orthanc",
    "processed_by",
    "successful_slices",
    "total_slices",
}

SERVER_LAB = "server1"


class Study:
    """Four phases of six slices in the archive: series and the middle instance of each."""

    def __init__(
        self,
        system: System,
        *,
        before: int = 100,
        after: int = 300,
        gap: bool = False,
        clock: Sequence[str] = ("101500", "101600", "101700", "101800"),
        dated: bool = True,
        turned: bool = False,
    ) -> None:
        study_uid, frame_uid = generate_uid(), generate_uid()
        self.series: list[str] = []
        self.instances: list[str] = []
        for number, at in enumerate(clock):
            pixels = np.full((6, 16, 16), before, np.uint16)
            if number:
                # Where `after` is less nothing takes up contrast, and the bundle marks nothing.
                block = np.s_[:] if after < before else np.s_[1:3, 5:9, 6:10]
                pixels[block] = after
            phase = Series(
                rows=16,
                columns=16,
                study_uid=study_uid,
                frame_uid=frame_uid,
                time=at,
                pixels=pixels,
            )
            if not dated:
                for ds in phase.datasets:
                    del ds.AcquisitionDate
                    # As they were reconstructed: all of them the next morning.
                    ds.ContentDate, ds.ContentTime = "20260103", "080000"
            if turned and number == 1:
                # The phase on which the result is read counts its slices from the other end.
                for ds in phase.datasets:
                    ds.InstanceNumber = 7 - int(ds.InstanceNumber)
            if gap and number == 2:
                # In the middle, where the site does not look.
                x, y, z = phase.datasets[3].ImagePositionPatient
                phase.datasets[3].ImagePositionPatient = [x, y, float(z) + 1.2]
            stored = [orthanc_post(system.stack.orthanc, "/instances", f) for f in phase.files()]
            self.series.append(stored[0]["ParentSeries"])
            self.instances.append(stored[3]["ID"])
            self.study_id = stored[0]["ParentStudy"]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(
        tmp_path_factory.mktemp("replay"),
        web_settings={"LEGACY_TRUSTED_NETWORKS": "127.0.0.0/8", "DEFAULT_MODEL": "held"},
        further_labs={SERVER_LAB: "server"},
    ) as system:
        # The consumer on the web machine's own processor; it loads while the first tests run.
        server = system.stack.lab(system.bundle.path, {}, log="server", name=SERVER_LAB)
        server.start()
        try:
            wait_until(lambda: "lab1" in labs_known(system), "know the lab", 60)
            yield system
        finally:
            server.stop()


def labs_known(system: System) -> set[str]:
    """Labs whose heartbeat, and with it whose models, the site has heard."""
    with closing(sqlite3.connect(system.stack.root / "web" / "web.sqlite3")) as database:
        return {name for (name,) in database.execute("SELECT name FROM labrelay_labs_lab")}


@pytest.fixture(scope="module")
def session(system: System) -> str:
    with system.reader() as reader:
        return str(reader._client.cookies["sessionid"])


@pytest.fixture
def viewer(system: System, session: str) -> Iterator[httpx.Client]:
    """The viewer's fetch in a browser where the reader is logged in."""
    with httpx.Client(
        base_url=system.stack.url,
        cookies={"sessionid": session},
        headers={
            "Content-Type": "application/json",
            "Origin": system.stack.url,
            "Referer": f"{system.stack.url}/viewer",
            "Sec-Fetch-Site": "same-origin",
            "Sec-Fetch-Mode": "cors",
            "Sec-Fetch-Dest": "empty",
            "Accept": "*/*",
            "Accept-Language": "ko-KR,ko;q=0.9,en-US;q=0.8",
        },
        timeout=VIEWER_SECONDS,
    ) as client:
        yield client


@pytest.fixture
def curl(system: System) -> Iterator[httpx.Client]:
    """An operator on the server itself."""
    with httpx.Client(
        base_url=system.stack.url, headers={"User-Agent": "curl/7.88.1"}, timeout=VIEWER_SECONDS
    ) as client:
        yield client


def press(client: httpx.Client, series: list[str], call: str = "segment/") -> httpx.Response:
    """The button of the old viewer."""
    content = json.dumps({"sequence_series_ids": series})
    return client.post(f"{BASE}/series/{series[0]}/{call}", content=content)


def succeeded(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    assert set(told) == KEYS_OF_SUCCESS
    assert (told["success"], told["saved_to_orthanc"]) == (True, True)
    assert isinstance(told["elapsed_time_seconds"], float)
    return told


def sentence_in(answer: httpx.Response) -> str:
    told = answer.json()
    assert told["success"] is False
    assert told["error"].endswith((".", ")"))
    assert "Traceback" not in answer.text
    return str(told["error"])


@pytest.mark.parametrize("turned", [False, True], ids=["alike", "post1 reversed"])
def test_the_button_blocks_until_the_result_is_there_and_the_frames_lie_on_the_tumour(
    system: System, viewer: httpx.Client, turned: bool
) -> None:
    study = Study(system, turned=turned)
    told = succeeded(press(viewer, study.series))
    assert told["series_id"] == study.series[0]
    assert (told["tumor_detected"], told["tumor_volume_voxels"]) == (True, 32)
    assert (told["successful_slices"], told["total_slices"]) == (6, 6)
    assert told["processed_by"] == "local_worker"
    parent = orthanc_get(system.stack.orthanc, f"/instances/{told['seg_instance_id']}")
    series = orthanc_get(system.stack.orthanc, f"/series/{parent['ParentSeries']}")
    assert series["MainDicomTags"]["Modality"] == "SEG"

    answer = viewer.get(f"{BASE}/instances/{told['seg_instance_id']}/frames/")
    frames = answer.json()
    assert (frames["num_frames"], frames["start_slice_index"]) == (6, 0)
    shown = np.stack(
        [
            np.asarray(Image.open(io.BytesIO(b64decode(frame["mask_base64"]))))
            for frame in frames["frames"]
        ]
    )
    truth = np.zeros((6, 16, 16), np.uint8)
    truth[1:3, 5:9, 6:10] = 255
    assert np.array_equal(shown, truth)

    status = viewer.get(f"{BASE}/status/{told['request_id']}/").json()
    assert (status["status"], status["requested_by"]) == ("completed", PAGE_USER)
    assert status["result"] == {
        "success": True,
        "seg_instance_id": told["seg_instance_id"],
        "tumor_detected": True,
        "tumor_volume_voxels": 32,
        "elapsed_time_seconds": told["elapsed_time_seconds"],
        "error": None,
    }
    assert status["series_ids"] == study.series
    assert status["requested_at"] < status["started_at"] < status["completed_at"]


@pytest.mark.parametrize(
    ("clock", "dated"),
    [
        # A run of GE that was split into four series keeps its one acquisition time.
        (["101500"] * 4, True),
        # Past midnight, and no image says a date.
        (["235800", "235900", "000000", "000100"], False),
        # A late phase.
        (["101500", "101600", "101700", "130000"], True),
    ],
    ids=["one time", "midnight without dates", "late"],
)
def test_times_that_do_not_confirm_the_order_of_a_person_refuse_nothing(
    system: System, viewer: httpx.Client, clock: list[str], dated: bool
) -> None:
    told = succeeded(press(viewer, Study(system, clock=clock, dated=dated).series))
    assert told["tumor_volume_voxels"] == 32


def test_nothing_found_is_a_success_without_a_segmentation(
    system: System, viewer: httpx.Client
) -> None:
    study = Study(system, before=300, after=100)
    told = succeeded(press(viewer, study.series))
    assert (told["tumor_detected"], told["tumor_volume_voxels"]) == (False, 0)
    assert (told["seg_instance_id"], told["successful_slices"]) == (None, 0)
    assert told["total_slices"] == 6
    assert stored_objects(system.stack.orthanc, study) == {"SR": 1}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "processed_by"),
    [
        ("segment/?use_local=true", "local_worker"),
        ("segment/?force_gcp=true", "server"),
        ("request-local/", "local_worker"),
        ("request-local/?force_gcp=true", "local_worker"),
    ],
)
def test_the_caller_chooses_where_it_is_computed(
    system: System, viewer: httpx.Client, call: str, processed_by: str
) -> None:
    wait_until(lambda: SERVER_LAB in labs_known(system), "know the server's lab", 120)
    told = succeeded(press(viewer, Study(system).series, call))
    assert (told["processed_by"], told["tumor_volume_voxels"]) == (processed_by, 32)


def test_instances_stand_for_their_series(system: System, viewer: httpx.Client) -> None:
    study = Study(system)
    answer = viewer.post(
        f"{BASE}/instances/{study.instances[1]}/segment/",
        content=json.dumps({"sequence_instance_ids": study.instances}),
    )
    told = succeeded(answer)
    assert (told["series_id"], told["tumor_volume_voxels"]) == (study.series[1], 32)
    status = viewer.get(f"{BASE}/status/{told['request_id']}/").json()
    assert status["series_ids"] == study.series


WRONG: dict[str, tuple[int, Callable[[list[str]], tuple[str, Any]]]] = {
    "three series": (400, lambda ids: (ids[0], {"sequence_series_ids": ids[:3]})),
    "five series": (400, lambda ids: (ids[0], {"sequence_series_ids": [*ids, UNKNOWN]})),
    "none": (400, lambda ids: (ids[0], {"sequence_series_ids": []})),
    "another in the path": (400, lambda ids: (UNKNOWN, {"sequence_series_ids": ids})),
    "twice the same": (400, lambda ids: (ids[0], {"sequence_series_ids": [*ids[:3], ids[0]]})),
    "no list": (400, lambda ids: (ids[0], {"sequence_series_ids": ids[0]})),
    "numbers": (400, lambda ids: (ids[0], {"sequence_series_ids": [1, 2, 3, 4]})),
    "no key": (400, lambda ids: (ids[0], {"series": ids})),
    "a list": (400, lambda ids: (ids[0], ids)),
    "no JSON": (400, lambda ids: (ids[0], b"{")),
    "no text": (400, lambda ids: (ids[0], b"\xff\xfe\x00")),
    "nothing": (400, lambda ids: (ids[0], b"")),
    "deep": (400, lambda ids: (ids[0], b"[" * 30_000)),
    "huge": (400, lambda ids: (ids[0], b'{"x": "' + b"x" * 3_000_000 + b'"}')),
    "a path": (400, lambda ids: ("..", {"sequence_series_ids": ["..", *ids[1:]]})),
    "unknown": (404, lambda ids: (UNKNOWN, {"sequence_series_ids": [UNKNOWN, *ids[1:]]})),
    "unknown behind": (404, lambda ids: (ids[0], {"sequence_series_ids": [*ids[:3], UNKNOWN]})),
}


@pytest.fixture(scope="module")
def study(system: System) -> Study:
    return Study(system)


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_call_is_a_sentence_and_queues_nothing(
    system: System, viewer: httpx.Client, curl: httpx.Client, study: Study, mistake: str
) -> None:
    before = curl.get(f"{BASE}/requests/?limit=500").json()["count"]
    status, wrong = WRONG[mistake]
    path, body = wrong(study.series)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    code, text = raw(system, f"{BASE}/series/{path}/segment/", content, viewer)
    told = json.loads(text)
    assert (code, told["success"]) == (status, False)
    assert told["error"].endswith((".", ")"))
    assert any("가" <= letter <= "힣" for letter in told["error"]), "in Korean"
    assert curl.get(f"{BASE}/requests/?limit=500").json()["count"] == before


def raw(
    system: System, path: str, content: bytes, client: httpx.Client, method: str = "POST"
) -> tuple[int, str]:
    """Send a path as it is: httpx would tidy it up."""
    connection = http.client.HTTPConnection("127.0.0.1", system.stack.ports.web, timeout=60)
    headers = {name: client.headers[name] for name in ("Content-Type", "Origin", "Accept-Language")}
    headers["Cookie"] = f"sessionid={client.cookies['sessionid']}"
    try:
        connection.request(method, path, content, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_wrong_instance_is_a_sentence(viewer: httpx.Client, study: Study) -> None:
    for status, path, ids in (
        (404, UNKNOWN, [UNKNOWN, *study.instances[1:]]),
        (400, study.instances[0], study.instances[:3]),
        (400, study.instances[0], study.series),
        # Two slices of one series.
        (404, study.series[0], study.series),
    ):
        content = json.dumps({"sequence_instance_ids": ids})
        answer = viewer.post(f"{BASE}/instances/{path}/segment/", content=content)
        assert answer.status_code == status
        sentence_in(answer)


@pytest.mark.parametrize(
    "path",
    [
        f"{BASE}/series/../../../../etc/passwd",
        f"{BASE}/series/%2e%2e/%2e%2e/segment/",
        f"{BASE}/../../admin/",
        f"{BASE}/nothing/",
        f"{BASE}/status/not-a-uuid/",
        f"{BASE}/instances/..%2f..%2fsystem/frames/",
    ],
)
def test_a_wrong_path_is_a_4xx_in_json(system: System, viewer: httpx.Client, path: str) -> None:
    for method in ("GET", "POST"):
        code, text = raw(system, path, b"{}", viewer, method)
        assert 400 <= code < 500
        assert "error" in json.loads(text)


def test_an_inference_that_fails_is_500_with_its_reason(
    system: System, viewer: httpx.Client
) -> None:
    # The slices of one phase are unequally spaced: no geometry for the model.
    answer = press(viewer, Study(system, gap=True).series)
    assert answer.status_code == 500
    sentence = sentence_in(answer)
    request_id = answer.json()["request_id"]
    status = viewer.get(f"{BASE}/status/{request_id}/").json()
    assert (status["status"], status["message"]) == ("failed", sentence)
    assert (status["result"]["success"], status["result"]["error"]) == (False, sentence)
    failed = viewer.get(f"{BASE}/requests/?status=failed").json()
    assert request_id in [one["request_id"] for one in failed["requests"]]


def test_an_operator_on_the_server_asks_with_plain_curl(system: System, curl: httpx.Client) -> None:
    told = succeeded(curl.post(**operators_post(Study(system).series)))
    health = curl.get(f"{BASE}/health/").json()
    assert (health["success"], health["status"], health["lab_online"]) == (True, "healthy", True)
    assert health["orthanc_url"] == system.stack.orthanc.url
    newest = curl.get(f"{BASE}/requests/?status=completed&limit=1").json()
    assert newest["filter"] == {"status": "completed", "limit": 1}
    assert newest["count"] == 1
    (one,) = newest["requests"]
    assert set(one) == {
        "request_id",
        "status",
        "requested_at",
        "started_at",
        "completed_at",
        "series_ids",
        "requested_by",
        "has_result",
    }
    assert one["request_id"] == told["request_id"]
    assert (one["requested_by"], one["has_result"]) == ("anonymous", True)
    for wrong in ("status=done", "limit=0"):
        answer = curl.get(f"{BASE}/requests/?{wrong}")
        assert answer.status_code == 400
        sentence_in(answer)


def operators_post(series: list[str]) -> dict[str, Any]:
    return {
        "url": f"{BASE}/series/{series[0]}/segment/",
        "content": json.dumps({"sequence_series_ids": series}),
        "headers": {"Content-Type": "application/json"},
    }


def test_another_sites_page_cannot_press_the_button(
    system: System, viewer: httpx.Client, study: Study
) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        viewer.headers.update(headers)
        answer = press(viewer, study.series)
        assert answer.status_code == 403
        sentence_in(answer)
        viewer.headers["Origin"] = system.stack.url


def test_calls_that_wait_hold_up_nothing_and_one_that_goes_away_changes_nothing(
    system: System, viewer: httpx.Client, curl: httpx.Client
) -> None:
    studies = [Study(system) for _ in range(3)]
    system.bundle.hold()
    try:
        with pytest.raises(httpx.ReadTimeout):
            curl.post(**operators_post(studies[0].series), timeout=1.5)
        with ThreadPoolExecutor(2) as threads:
            calls = [threads.submit(press, viewer, s.series) for s in studies[1:]]
            waiting = "pending", "processing"
            wait_until(lambda: len(listed(curl, *waiting)) >= 3, "hold three requests", 30)
            began = time.monotonic()
            assert curl.get("/login/").status_code == 200
            assert time.monotonic() - began < 5
            assert not any(call.done() for call in calls)
            system.bundle.release()
            for call in calls:
                succeeded(call.result())
    finally:
        system.bundle.release()
    left = {tuple(one["series_ids"]) for one in listed(curl, "completed")}
    assert {tuple(study.series) for study in studies} <= left


def listed(client: httpx.Client, *statuses: str) -> list[dict[str, Any]]:
    return [
        one
        for status in statuses
        for one in client.get(f"{BASE}/requests/?status={status}&limit=500").json()["requests"]
    ]


def test_after_its_time_the_call_is_504_and_the_request_completes(
    system: System, viewer: httpx.Client
) -> None:
    study = Study(system)
    system.bundle.hold()
    try:
        restarted(system, {"LEGACY_WAIT_SECONDS": "3"})
        answer = press(viewer, study.series)
        assert answer.status_code == 504
        sentence_in(answer)
        told = answer.json()
        assert told["status"] == "timeout"
    finally:
        system.bundle.release()
        # For the tests after this one.
        restarted(system, {})

    def status() -> Any:
        return viewer.get(f"{BASE}/status/{told['request_id']}/").json()

    wait_until(lambda: status()["status"] == "completed", "complete the request", 60)
    assert status()["result"]["tumor_volume_voxels"] == 32


def restarted(system: System, settings: dict[str, str]) -> None:
    """Serve anew with the settings of the module and these."""
    site = system.stack.web
    site.stop()
    site._env = system.stack._web_environment | settings
    system.stack.start_web()
