"""A study that arrives in three parts while a program, a reader and an old call ask for it.

``make arriving`` lets it take a minute, with the archive's own idea of a stable series.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom.uid import generate_uid

from infra.demo.reader import Reader, ended
from infra.demo.stack import PAGE_USER
from infra.local.process import wait_until
from messages.phases import DCE_ROLES
from tests.dicom_factory import Series
from tests.integration.lab import ONE_RESULT, StoredStudy, orthanc_get, orthanc_post, stored_objects
from tests.integration.system import System, click, running_system

BASE = "/api/mri/segmentation"

#: Slices of each of the four series that each part brings: 24 of 40 images come first.
PARTS = ((0, 6), (6, 8), (8, 10))

#: Slices in which contrast is taken up, 4 x 4 voxels in each: three of them come late.
MARKED = slice(2, 9)

#: Voxels of the result that is computed from all slices.
ALL_VOXELS = 7 * 16

#: Seconds that an old call waits here: it must end while the request is held.
OLD_CALL_SECONDS = 4

#: Seconds after which the archive calls a series stable: longer than the sender's pause and what is
#: done meanwhile, on a busy machine too.
STABLE_SECONDS = 8


class InParts:
    """A study of four phases, each a series of ten slices; only what was sent is in the archive."""

    def __init__(self, system: System) -> None:
        self._archive = system.stack.orthanc
        study_uid, frame_uid = generate_uid(), generate_uid()
        self._files = []
        for number in range(len(DCE_ROLES)):
            pixels = np.full((10, 16, 16), 100, np.uint16)
            pixels[MARKED, 5:9, 6:10] += 200 * number
            phase = Series(
                slices=10,
                rows=16,
                columns=16,
                study_uid=study_uid,
                frame_uid=frame_uid,
                time=f"10{15 + number}00",
                pixels=pixels,
            )
            self._files.append(phase.files())
        self.study_uid, self.study_id = study_uid, ""
        self.series: list[str] = []

    def send(self, part: int) -> None:
        start, end = PARTS[part]
        for files in self._files:
            for file in files[start:end]:
                answer = orthanc_post(self._archive, "/instances", file)
                if answer["ParentSeries"] not in self.series:
                    self.series.append(answer["ParentSeries"])
        self.study_id = answer["ParentStudy"]

    @property
    def stored(self) -> StoredStudy:
        return StoredStudy(self.study_id, self.study_uid, ())

    def by_role(self) -> dict[str, str]:
        return dict(zip(DCE_ROLES, self.series, strict=True))


class Program:
    """A machine with a token."""

    def __init__(self, system: System) -> None:
        issue = system.stack.site(("web.cli", "token", "create", PAGE_USER, "program"), log="token")
        issue.start()
        wait_until(lambda: not issue.alive, "issue a token", 60)
        issue.kill()
        token = next(
            word for word in issue.log.read_text("utf-8").split() if word.startswith("lrt_")
        )
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=system.stack.url, headers=headers, timeout=30.0)

    def ask(self, study: InParts) -> dict[str, Any]:
        inputs = [{"role": role, "series_id": one} for role, one in study.by_role().items()]
        asked = {"study_id": study.study_id, "inputs": inputs}
        answer = self._client.post("/api/v1/requests", json=asked)
        assert answer.status_code == 202, answer.text
        request: dict[str, Any] = answer.json()
        return request

    def get(self, path: str, **query: str) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get(path, params=query).raise_for_status().json()
        return found

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def gap(request: pytest.FixtureRequest) -> float:
    seconds: float = request.config.getoption("--arriving-gap")
    return seconds


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, gap: float) -> Iterator[System]:
    settings = {
        "LEGACY_WAIT_SECONDS": str(OLD_CALL_SECONDS),
        "LEGACY_TRUSTED_NETWORKS": "127.0.0.0/8",
        "DEFAULT_MODEL": "held",
    }
    # With a gap of 30 s it is Orthanc's default.
    with running_system(
        tmp_path_factory.mktemp("arriving"),
        web_settings=settings,
        stable_age=max(STABLE_SECONDS, round(2 * gap)),
    ) as system:
        yield system


@pytest.fixture
def reader(system: System) -> Iterator[Reader]:
    with system.reader() as reader:
        yield reader


@pytest.fixture
def program(system: System) -> Iterator[Program]:
    program = Program(system)
    yield program
    program.close()


def old_call(system: System, study: InParts) -> httpx.Response:
    """The button of the old viewer, which waits."""
    return httpx.post(
        f"{system.stack.url}{BASE}/series/{study.series[0]}/segment/",
        json={"sequence_series_ids": study.series},
        timeout=60.0,
    )


def test_at_rest_there_is_one_result_and_it_was_computed_from_all_that_arrived(
    system: System, reader: Reader, program: Program, gap: float
) -> None:
    # Whole and quiet long before it is asked for.
    quiet = system.new_study()
    study = InParts(system)
    system.bundle.hold()
    began = time.monotonic()
    study.send(0)
    asked = program.ask(study)
    assert (asked["state"], asked["waits_for"]) == ("queued", "series_arriving")
    request_id = asked["request_id"]
    with ThreadPoolExecutor(1) as pool:
        old: Future[httpx.Response] = pool.submit(old_call, system, study)
        assert reader.ask(study.study_id, study.by_role())["request_id"] == request_id
        for part in (1, 2):
            _until(began + part * gap)
            study.send(part)
            assert program.ask(study)["request_id"] == request_id
            assert reader.read(request_id)["waits_for"] == "series_arriving"
            assert system.copies_waiting(request_id) == 0
        late = old.result()
    assert late.status_code == 504, late.text
    assert (late.json()["success"], late.json()["request_id"]) == (False, request_id)
    waiting = httpx.get(f"{system.stack.url}{BASE}/status/{request_id}/").json()
    assert waiting["status"] == "pending"

    reader.wait(request_id, lambda told: told["state"] == "inferring", 180 + 4 * gap)
    # The lab holds one at a time: this one is sent at once, and changes while it waits.
    other = click(reader, quiet)
    sent = reader.wait(other, lambda told: told["state"] == "published", 60)
    assert sent["waits_for"] is None
    _one_more(system, quiet)
    system.bundle.release()

    told = reader.wait(request_id, ended, 180)
    assert told["state"] == "completed"
    assert told["result"]["slices"] == 10
    assert told["result"]["volume_voxels"] == ALL_VOXELS
    assert [item["instance_count"] for item in _series(system, study)] == [10] * 4
    done = httpx.get(f"{system.stack.url}{BASE}/status/{request_id}/").json()
    assert (done["status"], done["result"]["tumor_volume_voxels"]) == ("completed", ALL_VOXELS)
    requests = program.get("/api/v1/requests", study_id=study.study_id)["requests"]
    assert [one["request_id"] for one in requests] == [request_id]
    assert stored_objects(system.stack.orthanc, study.stored) == ONE_RESULT

    changed = reader.wait(other, ended, 180)
    assert (changed["state"], changed["failure"]["code"]) == ("failed", "series_changed")
    assert stored_objects(system.stack.orthanc, quiet) == {}
    assert system.bundle.inferences == 1


def _until(moment: float) -> None:
    """The sender pauses."""
    wait_until(lambda: time.monotonic() >= moment, "let the time pass", 120)


def _series(system: System, study: InParts) -> list[dict[str, Any]]:
    return [
        {"instance_count": len(orthanc_get(system.stack.orthanc, f"/series/{one}")["Instances"])}
        for one in study.series
    ]


def _one_more(system: System, study: StoredStudy) -> None:
    """A slice behind the last one, as the end of a series that comes late."""
    last = study.inputs[-1]
    phase = Series(
        slices=7,
        rows=16,
        columns=16,
        study_uid=study.study_uid,
        series_uid=last.series_uid,
        time="101800",
        pixels=np.full((7, 16, 16), 100, np.uint16),
    )
    answer = orthanc_post(system.stack.orthanc, "/instances", phase.files()[6])
    assert answer["ParentSeries"] == last.series_id
