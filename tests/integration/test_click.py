"""One click through the whole system, while its parts are killed: what the reader sees."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from infra.demo.reader import Reader, ended
from infra.local.process import wait_until
from messages import topology
from tests.dicom_factory import part10
from tests.enhanced_factory import enhanced
from tests.integration.lab import StoredStudy, stored_objects
from tests.integration.phased import (
    COLUMNS,
    ROWS,
    SLICES,
    by_keyword,
    four_phases,
    merged,
    stored,
)
from tests.integration.system import System, click, running_system, series_by_role

#: Seconds for a request whose parts are started anew meanwhile.
PATIENCE = 180.0

ONE_RESULT = {"SEG": 1, "SR": 1}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("system")) as system:
        yield system


@pytest.fixture(autouse=True)
def healed(system: System) -> Iterator[None]:
    """Whatever a test did or left undone, the next one finds everything running."""
    yield
    system.heal()


@pytest.fixture
def reader(system: System) -> Iterator[Reader]:
    with system.reader() as reader:
        yield reader


def in_state(state: str) -> Any:
    return lambda request: request["state"] == state


def assert_one_result(
    system: System, reader: Reader, study: StoredStudy, request_id: str
) -> dict[str, Any]:
    """The socket and a fresh load tell the same completed request, and the archive one result."""
    told = reader.wait(request_id, ended, PATIENCE)
    assert told["state"] == "completed"
    assert reader.read(request_id) == told
    assert told["result"]["volume_voxels"] == 32
    assert stored_objects(system.stack.orthanc, study) == ONE_RESULT
    return told


def test_the_reader_sees_every_stage_go_by_and_the_result_is_in_the_archive(
    system: System, reader: Reader
) -> None:
    study = system.new_study()
    system.bundle.hold()
    request_id = click(reader, study)
    seen = []
    for request in reader.follow(request_id, PATIENCE):
        seen.append(request["state"])
        if request["state"] == "inferring" and seen.count("inferring") == 1:
            system.bundle.release()
        if ended(request):
            break
    order = ["published", "accepted", "downloading", "inferring", "uploading", "reported"]
    order += ["completed"]
    assert [s for s in dict.fromkeys(seen) if s in order] == sorted(
        set(seen) & set(order), key=order.index
    )
    assert {"inferring", "completed"} <= set(seen)
    told = assert_one_result(system, reader, study, request_id)
    assert told["result"]["seg_instance_id"]


@pytest.mark.parametrize("keyword", ["TemporalPositionIdentifier", "TemporalPositionIndex"])
def test_a_click_on_the_phases_of_one_series_ends_in_a_result_on_their_slices(
    system: System, reader: Reader, keyword: str
) -> None:
    phases = four_phases()
    for number, phase in enumerate(phases):
        pixels = np.full((SLICES, ROWS, COLUMNS), 100, np.uint16)
        pixels[2:4, 5:9, 6:10] += 200 * number
        for ds, plane in zip(phase.datasets, pixels, strict=True):
            ds.PixelData = plane.tobytes()
    if keyword == "TemporalPositionIndex":
        made = stored(system.stack.orthanc, phases, [part10(enhanced(phases))])
    else:
        merged(phases, partial(by_keyword, keyword))
        made = stored(system.stack.orthanc, phases)
    proposed = reader.get(f"/api/v1/studies/{made.study_id}/phases?model=held").json()["phases"]
    assert [item["phase"]["keyword"] for item in proposed] == [keyword] * 4
    inputs = [{name: item[name] for name in ("role", "series_id", "phase")} for item in proposed]
    wish = {"study_id": made.study_id, "inputs": inputs, "model": "held"}
    request_id = reader.post("/api/v1/requests", wish).json()["request_id"]

    study = StoredStudy(made.study_id, str(phases[0].study_uid), ())
    told = assert_one_result(system, reader, study, request_id)
    assert (told["result"]["slices"], told["result"]["slices_with_tumor"]) == (SLICES, 2)
    overlay = reader.get(f"/requests/{request_id}/overlay.json").json()
    assert (overlay["slices"], overlay["slices_with_tumor"]) == (SLICES, [2, 3])


def test_a_broker_restarted_under_a_running_request_changes_nothing_for_the_reader(
    system: System, reader: Reader
) -> None:
    study = system.new_study()
    system.bundle.hold()
    request_id = click(reader, study)
    reader.wait(request_id, in_state("inferring"), PATIENCE)
    system.stack.rabbitmq.restart()
    system.bundle.release()
    assert_one_result(system, reader, study, request_id)
    assert system.times("job.accepted", request_id) == 1


def test_a_site_killed_between_commit_and_publish_publishes_after_its_restart_once(
    system: System, reader: Reader
) -> None:
    study = system.new_study()
    system.stack.consumer.stop(grace=30.0)
    # Without a broker the relay cannot publish what the click has committed.
    system.stack.rabbitmq.stop()
    request_id = click(reader, study)
    assert reader.read(request_id)["state"] == "queued"
    system.stack.web.kill()
    system.stack.rabbitmq.start()
    system.stack.rabbitmq.wait_ready()
    system.stack.start_web()
    reader.wait(request_id, in_state("published"), PATIENCE)
    wait_until(lambda: system.copies_waiting(request_id) == 1, "hold the request", 30)
    system.stack.consumer.start()
    assert_one_result(system, reader, study, request_id)
    assert system.times("job.accepted", request_id) == 1


def test_with_the_lab_off_the_request_waits_and_completes_when_the_lab_comes(
    system: System, reader: Reader
) -> None:
    study = system.new_study()
    system.stack.consumer.stop(grace=30.0)
    request_id = click(reader, study)
    reader.wait(request_id, in_state("published"), 30)
    wait_until(lambda: system.copies_waiting(request_id) == 1, "hold the request", 30)
    system.stack.consumer.start()
    assert_one_result(system, reader, study, request_id)


def test_a_request_that_cannot_succeed_ends_in_a_sentence(system: System, reader: Reader) -> None:
    study = system.new_study()
    system.stack.consumer.stop(grace=30.0)
    request_id = click(reader, study)
    reader.wait(request_id, in_state("published"), 30)
    delete_series(system, study.inputs[2].series_id)
    system.stack.consumer.start()
    told = reader.wait(request_id, ended, PATIENCE)
    assert told["state"] == "failed"
    failure = told["failure"]
    assert failure["code"] == "series_not_found"
    assert failure["reader"] == "A series of this request is no longer in the archive."
    assert study.inputs[2].series_uid in failure["detail"]
    assert failure["final"]


def delete_series(system: System, series_id: str) -> None:
    import requests

    archive = system.stack.orthanc
    requests.delete(
        f"{archive.url}/series/{series_id}", auth=(archive.user, archive.password), timeout=30
    ).raise_for_status()


def test_garbage_for_the_lab_becomes_a_row_that_staff_can_see(
    system: System, reader: Reader
) -> None:
    import pika

    url = system.stack.rabbitmq.url("web", system.stack.passwords["web"])
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    channel.confirm_delivery()
    properties = pika.BasicProperties(type="garbage-of-this-test", delivery_mode=2)
    channel.basic_publish(
        topology.REQUESTS, "lab.held", b"\xff garbage", properties, mandatory=True
    )
    connection.close()

    def listed() -> bool:
        page = reader.get("/admin/labrelay_inference/deadletter/")
        return page.status_code == 200 and "garbage-of-this-test" in page.text

    wait_until(listed, "show the dead letter to staff", 30)
    study = system.new_study()
    assert_one_result(system, reader, study, click(reader, study))


WRONG_CLICKS: dict[str, Any] = {
    "three series": lambda ask, _: ask["inputs"].pop(),
    "five series": lambda ask, _: ask["inputs"].append({"role": "extra", "series_id": "0" * 44}),
    "the same series twice": lambda ask, _: ask["inputs"][1].update(ask["inputs"][0], role="post1"),
    "an unknown series": lambda ask, _: ask["inputs"][0].update(
        series_id="01234567-89abcdef-01234567-89abcdef-01234567"
    ),
    "a series of another study": lambda ask, other: ask["inputs"][0].update(
        series_id=other.inputs[0].series_id
    ),
    "an unknown study": lambda ask, _: ask.update(
        study_id="01234567-89abcdef-01234567-89abcdef-01234567"
    ),
    "a path for a study": lambda ask, _: ask.update(study_id="../../system"),
    "a path for a series": lambda ask, _: ask["inputs"][0].update(series_id="../../../tools/reset"),
    "an unknown role": lambda ask, _: ask["inputs"][0].update(role="first"),
    "an unknown model": lambda ask, _: ask.update(model="no_such_model"),
    "a threshold of two": lambda ask, _: ask.update(threshold=2),
    "inputs that are no list": lambda ask, _: ask.update(inputs="all"),
    "an empty object": lambda ask, _: ask.clear(),
}


@pytest.mark.parametrize("mistake", WRONG_CLICKS, ids=str)
def test_a_wrong_click_gets_a_sentence_as_json_and_publishes_nothing(
    system: System, reader: Reader, mistake: str, two_studies: tuple[StoredStudy, StoredStudy]
) -> None:
    study, other = two_studies
    ask: dict[str, Any] = {
        "study_id": study.study_id,
        "inputs": [
            {"role": role, "series_id": series_id}
            for role, series_id in series_by_role(study).items()
        ],
    }
    WRONG_CLICKS[mistake](ask, other)
    answer = reader.post("/api/v1/requests", ask)
    assert 400 <= answer.status_code < 500
    error = answer.json()["error"]
    assert error["code"]
    assert error["message"].endswith((".", ")")), "no sentence"
    assert "Traceback" not in answer.text
    listed = reader.get(f"/api/v1/requests?study_id={study.study_id}")
    assert listed.json()["requests"] == []


@pytest.fixture(scope="module")
def two_studies(system: System) -> tuple[StoredStudy, StoredStudy]:
    return system.new_study(), system.new_study()


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/requests/../../../etc/passwd",
        "/api/v1/requests/%2e%2e/%2e%2e/admin",
        "/api/v1/requests/not-a-uuid",
        "/api/v1/nothing",
        "/api/v1/requests/00000000-0000-4000-8000-000000000000",
    ],
)
def test_a_wrong_path_under_api_is_a_4xx_in_json(system: System, path: str) -> None:
    # Not httpx, which tidies a path up before it sends it.
    connection = http.client.HTTPConnection("127.0.0.1", system.stack.ports.web, timeout=30)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    assert 400 <= answer.status < 500
    assert body["error"]["message"].endswith(".")


def test_without_a_log_in_nothing_is_shown(system: System) -> None:
    import httpx

    with httpx.Client(base_url=system.stack.url) as stranger:
        assert stranger.post("/api/v1/requests", json={}).status_code in {401, 403}
        assert stranger.get("/api/v1/requests?study_id=x").status_code == 401
        assert stranger.get("/").headers["location"].startswith("/login/")
