"""A lab behind the recipe for nginx: its jobs run, and nothing else of Orthanc is open to it.

The attacker has the lab's name and password, and asks as no library would let it.
"""

from __future__ import annotations

import base64
import gzip
import http.client
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from consumer.checks.archive import check
from consumer.checks.line import State
from consumer.orthanc import Archive
from consumer.orthanc.images import Images
from infra.local.orthanc import OrthancNode
from messages.part10 import RESULT_BYTES
from tests.dicom_factory import Series
from tests.integration.lab import (
    ONE_RESULT,
    Clinic,
    StoredStudy,
    completed,
    orthanc_get,
    orthanc_post,
    running_lab,
    store_small_study,
    stored_objects,
)
from tests.integration.lab_proxy import LabProxy, running_proxy


@pytest.fixture
def proxy(tmp_path: Path, orthanc: OrthancNode) -> Iterator[LabProxy]:
    with running_proxy(tmp_path / "nginx", orthanc) as running:
        yield running


@pytest.fixture
def study(orthanc: OrthancNode) -> StoredStudy:
    return store_small_study(orthanc)


class Attacker:
    """Sends what it likes, letter by letter."""

    def __init__(self, proxy: LabProxy, *, password: str | None = None) -> None:
        self._port = proxy.port
        words = f"{proxy.user}:{proxy.password if password is None else password}"
        self._headers = {"Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> int:
        return self.told(method, path, body, **headers)[0]

    def told(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as line:
            line.putrequest(method, path, skip_accept_encoding=True)
            named = {name.replace("_", "-"): text for name, text in headers.items()}
            if body is not None:
                named.setdefault("Content-Length", str(len(body)))
            for name, text in {**self._headers, **named}.items():
                line.putheader(name, text)
            line.endheaders()
            if body:
                line.send(body)
            answer = line.getresponse()
            return answer.status, answer.read()


def test_a_whole_job_runs_through_the_proxy_and_a_second_delivery_reads_what_is_stored(
    arguments: dict[str, Any],
    clinic: Clinic,
    orthanc: OrthancNode,
    proxy: LabProxy,
    study: StoredStudy,
) -> None:
    behind = {**arguments, "archive": proxy, "archive_url": proxy.url}
    request = study.request()
    with running_lab(**behind) as lab:
        clinic.ask(request)
        (event,) = completed(clinic.replies(lambda r: bool(completed(r))))
        clinic.ask(request.model_copy(update={"attempt": 2}))
        (again,) = completed(clinic.replies(lambda r: bool(completed(r))))
        assert lab.count("job.skip_inference") == 1
    assert event.volume_voxels == again.volume_voxels == 32
    assert stored_objects(orthanc, study) == ONE_RESULT


def test_the_check_of_a_lab_is_content_with_the_proxy(
    tmp_path: Path, arguments: dict[str, Any], proxy: LabProxy
) -> None:
    lines = list(check(Archive(proxy.url, proxy.user, proxy.password), lab="lab1", store=False))
    nouns = ["archive", "archive credentials", "clock", "DICOMweb"]
    assert [(line.noun, line.state) for line in lines] == [(noun, State.OK) for noun in nouns]


def test_a_run_by_hand_reads_what_it_needs_of_the_images(
    orthanc: OrthancNode, proxy: LabProxy, study: StoredStudy
) -> None:
    series_id = study.inputs[0].series_id
    direct = Images(orthanc.url, orthanc.user, orthanc.password)
    behind = Images(proxy.url, proxy.user, proxy.password)
    found = behind.series(series_id)
    assert found == direct.series(series_id)
    image = found.images[0].instance_id
    assert behind.tags(image, ["Rows"]) == direct.tags(image, ["Rows"])
    assert behind.rows_turned(image) == direct.rows_turned(image)
    assert behind.has_pixels(image)


def _refused(study: StoredStudy, instance_id: str) -> list[tuple[str, str]]:
    series_id = study.inputs[0].series_id
    file = f"/instances/{instance_id}/file"
    return [
        ("DELETE", f"/studies/{study.study_id}"),
        ("DELETE", f"/series/{series_id}"),
        ("DELETE", f"/instances/{instance_id}"),
        ("DELETE", f"/series/{series_id}/study"),
        ("GET", f"/studies/{study.study_id}"),
        ("GET", "/studies"),
        ("GET", "/patients"),
        ("GET", "/series"),
        ("GET", "/instances"),
        ("GET", "/changes"),
        ("GET", "/statistics"),
        ("GET", "/jobs"),
        ("GET", "/plugins"),
        ("GET", "/app/explorer.html"),
        ("GET", "/dicom-web/studies"),
        ("GET", "/dicom-web/studies?StudyInstanceUID=2.25.0&limit=1&includefield=all"),
        ("GET", f"/dicom-web/studies?StudyInstanceUID={study.study_uid}&limit=1"),
        ("GET", f"/dicom-web/studies/{study.study_uid}"),
        ("POST", "/dicom-web/studies"),
        ("GET", f"/instances/{instance_id}/preview"),
        ("GET", f"/instances/{instance_id}/attachments/dicom/data"),
        ("DELETE", f"/instances/{instance_id}/attachments/dicom"),
        ("PUT", f"/instances/{instance_id}/metadata/1024"),
        ("POST", f"/instances/{instance_id}/anonymize"),
        ("POST", f"/instances/{instance_id}/modify"),
        ("POST", f"/studies/{study.study_id}/modify"),
        ("POST", f"/studies/{study.study_id}/merge"),
        ("POST", "/tools/execute-script"),
        ("POST", "/tools/find"),
        ("POST", "/tools/bulk-content"),
        ("POST", "/tools/bulk-delete"),
        ("POST", "/tools/create-dicom"),
        ("POST", "/tools/create-archive"),
        ("POST", "/tools/reconstruct"),
        ("POST", "/tools/reset"),
        ("POST", "/tools/shutdown"),
        ("PUT", "/tools/log-level"),
        ("GET", "/modalities"),
        ("PUT", "/modalities/mine"),
        ("PUT", "/peers/mine"),
        # Not quite the addresses that are open.
        ("HEAD", "/system"),
        ("get", "/system"),
        ("GET", "/SYSTEM"),
        ("GET", "/system/"),
        ("GET", "//system"),
        ("GET", "/system?_method=DELETE"),
        ("GET", "/%73ystem"),
        ("GET", f"{file}/"),
        ("GET", f"{file}?_method=DELETE"),
        ("GET", f"{file}/../../{instance_id}/preview"),
        ("GET", f"/instances/../changes/../{file[1:]}"),
        ("GET", f"/instances/{instance_id}%2ffile"),
        ("GET", f"{file}%00"),
        ("GET", f"{file}#"),
        ("GET", f"/instances/{instance_id.upper()}/simplified-TAGS"),
        ("POST", "/instances/"),
        ("POST", "/instances?_method=DELETE"),
        ("POST", "/instances%3f"),
        ("POST", "/tools/../tools/lookup"),
        ("POST", "/tools/lookup?_method=DELETE"),
        ("PUT", "/instances"),
        ("DELETE", "/instances"),
    ]


def test_no_other_call_is_answered_whatever_it_is_called(
    orthanc: OrthancNode, proxy: LabProxy, study: StoredStudy
) -> None:
    (first, *_) = orthanc_get(orthanc, f"/series/{study.inputs[0].series_id}")["Instances"]
    before = orthanc_get(orthanc, f"/studies/{study.study_id}/statistics")
    attacker = Attacker(proxy)
    # What is tried is tried with an account that may: nothing but the address is refused.
    assert attacker.ask("GET", "/system") == 200
    assert attacker.ask("GET", f"/instances/{first}/file") == 200

    answers = {
        one: attacker.ask(*one, b"" if one[0] != "GET" else None) for one in _refused(study, first)
    }

    # 400: nginx itself finds no address in it. 405: no method.
    assert {one: status for one, status in answers.items() if status not in {403, 400, 405}} == {}
    assert orthanc_get(orthanc, f"/studies/{study.study_id}/statistics") == before


def test_a_header_gives_a_call_no_other_meaning(
    orthanc: OrthancNode, proxy: LabProxy, study: StoredStudy
) -> None:
    (first, *_) = orthanc_get(orthanc, f"/series/{study.inputs[0].series_id}")["Instances"]
    attacker = Attacker(proxy)
    for name in ("X_HTTP_Method_Override", "X_Original_URL", "X_Rewrite_URL"):
        for value in ("DELETE", f"/instances/{first}"):
            status = attacker.ask("GET", f"/instances/{first}", **{name: value})
            assert status == 200
    series = Series(slices=1)
    # Orthanc itself would inflate it.
    squeezed = gzip.compress(series.files()[0])
    assert attacker.ask("POST", "/instances", squeezed, Content_Encoding="gzip") == 400
    form = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    body = form + series.files()[0] + b"\r\n--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    assert attacker.ask("POST", "/instances", body, Content_Type=kind) == 400
    assert orthanc_get(orthanc, f"/instances/{first}")["ID"] == first
    assert orthanc_post(orthanc, "/tools/lookup", series.study_uid) == []


def test_a_stranger_and_a_lab_with_a_wrong_password_are_let_in_nowhere(proxy: LabProxy) -> None:
    for password in ("", "wrong"):
        for method, path in (("GET", "/system"), ("POST", "/instances"), ("POST", "/tools/lookup")):
            assert Attacker(proxy, password=password).ask(method, path, b"1") == 401


def test_a_body_that_no_call_has_is_refused_before_it_is_read(proxy: LabProxy) -> None:
    attacker = Attacker(proxy)
    long = {"Content_Length": str(RESULT_BYTES + 1)}
    assert attacker.ask("POST", "/instances", b"", **long) == 413
    assert attacker.ask("POST", "/tools/lookup", b"", Content_Length="2000") == 413
    assert attacker.ask("GET", "/system", b"", Content_Length="2000") == 413


def test_an_archive_of_files_is_the_one_thing_that_a_lab_may_store_beside_objects(
    orthanc: OrthancNode, proxy: LabProxy
) -> None:
    # Not wanted, and only Orthanc could tell: said in docs/security.md.
    series, packed = Series(slices=1), BytesIO()
    with ZipFile(packed, "w") as file:
        file.writestr("a.dcm", series.files()[0])
    assert Attacker(proxy).ask("POST", "/instances", packed.getvalue()) == 200
    assert len(orthanc_post(orthanc, "/tools/lookup", series.study_uid)) == 1
