"""A clinic's own Django project with the lines of docs/migration.md, on real broker and archive."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pika
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from infra.local.orthanc import OrthancNode
from infra.local.ports import free_ports
from infra.local.process import Service
from infra.local.settings import REPOSITORY, child_environment
from messages import codec, topology
from messages.events import InferenceAccepted
from tests.asks_at_once import ASKS_AT_ONCE
from tests.integration.lab import Clinic, StoredStudy, store_small_study
from tests.integration.nodes import TestBroker
from tests.integration.web_requests import a_run, place

HERE = Path(__file__).parent

PASSWORD = "a password of the clinic"


def documented(language: str) -> dict[str, list[str]]:
    """The code blocks of the guide by the file that each belongs to."""
    text = (REPOSITORY / "docs" / f"migration{language}.md").read_text("utf-8")
    blocks: dict[str, list[str]] = {}
    for file, block in re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", text, re.DOTALL):
        blocks.setdefault(file, []).append(block)
    return blocks


def test_the_project_holds_the_lines_of_the_guide_and_both_languages_show_the_same() -> None:
    blocks = documented("")
    assert blocks == documented(".ko")
    assert set(blocks) == {"clinic/settings.py", "clinic/urls.py", "clinic/asgi.py"}
    for file, parts in blocks.items():
        text = (HERE / file).read_text("utf-8")
        for part in parts:
            assert part in text, file


def test_nothing_else_of_the_project_names_labrelay() -> None:
    known = "\n".join(part for parts in documented("").values() for part in parts)
    for file in (HERE / "clinic").rglob("*.py"):
        rest = [line for line in file.read_text("utf-8").splitlines() if line not in known]
        assert not [
            line for line in rest if re.search(r"(?<![\w.])(web|messages)\b|labrelay", line)
        ], file


class Host:
    """The clinic's project under uvicorn, as the guide starts it."""

    def __init__(self, root: Path, rabbit: TestBroker, orthanc: OrthancNode) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self._environment = child_environment(
            {
                "DJANGO_SETTINGS_MODULE": "clinic.settings",
                "PYTHONPATH": str(HERE),
                "CLINIC_DATA": str(root),
                "RABBITMQ_URL": rabbit.url("web"),
                "ORTHANC_URL": orthanc.url,
                "ORTHANC_USER": orthanc.user,
                "ORTHANC_PASSWORD": orthanc.password,
                "READER": PASSWORD,
                **ASKS_AT_ONCE,
            }
        )
        options = ("--lifespan", "on", "--host", "127.0.0.1", "--port", str(port))
        self.service = Service(
            "the clinic's project",
            (sys.executable, "-m", "uvicorn", "clinic.asgi:application", *options),
            log=root / "clinic.log",
            env=self._environment,
            cwd=root,
        )

    def prepare(self) -> str:
        done = subprocess.run(
            (sys.executable, str(HERE / "prepare.py")),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def start(self) -> None:
        self.service.start()

        def answers() -> bool:
            try:
                return httpx.get(f"{self.url}/", timeout=5.0).status_code == 200
            except httpx.HTTPError:
                return False

        self.service.wait_until(answers, "answer on its port", 60.0)

    @contextmanager
    def reader(self, name: str = "reader") -> Iterator[httpx.Client]:
        """Logged in by the clinic's own page."""
        own = {"Origin": self.url}
        with httpx.Client(base_url=self.url, timeout=30.0, headers=own) as client:
            page = client.get("/mri/")
            assert page.headers["location"] == "/staff/enter/?next=/mri/"
            client.get(page.headers["location"]).raise_for_status()
            form = {"csrfmiddlewaretoken": client.cookies["csrftoken"], "next": "/mri/"}
            form |= {"username": name, "password": PASSWORD}
            answer = client.post("/staff/enter/", data=form)
            assert (answer.status_code, answer.headers["location"]) == (302, "/mri/")
            yield client

    def socket(self, client: httpx.Client, origin: str | None = None, language: str = "ko") -> Any:
        cookies = "; ".join(f"{k}={v}" for k, v in client.cookies.items())
        headers = {"Cookie": cookies, "Origin": origin or self.url, "Accept-Language": language}
        address = self.url.replace("http", "ws", 1) + "/ws/live/"
        return connect(address, additional_headers=headers, proxy=None)


@pytest.fixture(scope="module")
def host(
    tmp_path_factory: pytest.TempPathFactory, rabbit: TestBroker, orthanc: OrthancNode
) -> Iterator[Host]:
    Clinic(rabbit).forget()
    host = Host(tmp_path_factory.mktemp("clinic"), rabbit, orthanc)
    said = host.prepare()
    # Its own model has no BigAutoField; nothing of ours is amiss, and every file is found.
    assert set(re.findall(r"check (\S+)", said)) == {"models.W042"}
    assert re.findall(r"static \S+ (\w+)", said) == ["True"] * 3
    host.start()
    try:
        yield host
    finally:
        host.service.stop()


@pytest.fixture(scope="module")
def study(orthanc: OrthancNode) -> StoredStudy:
    return store_small_study(orthanc)


def test_the_clinics_own_pages_and_errors_stay_its_own(host: Host) -> None:
    with host.reader() as reader:
        home = reader.get("/")
        assert "reader (7동)" in home.text
        assert 'href="/mri/"' in home.text
        assert home.headers["x-clinic"] == "1"
        # A script in the page: our policy of contents is the site's by itself only.
        assert "content-security-policy" not in home.headers
        lost = reader.get("/nowhere/")
        assert (lost.status_code, "클리닉에는" in lost.text) == (404, True)
        error = reader.get("/api/stock/")
        assert error.headers["content-type"] == "application/problem+json"
        assert error.json() == {"title": "empty"}


def test_labrelays_pages_stand_below_their_prefix_in_the_clinics_language(
    host: Host, study: StoredStudy
) -> None:
    with host.reader() as reader:
        listed = reader.get("/mri/").text
        assert "검사" in listed
        assert f'href="/mri/studies/{study.study_id}/"' in listed
        # The clinic has no address of the name "logout", so no such button is shown.
        assert "로그아웃" not in listed
        page = reader.get(f"/mri/studies/{study.study_id}/")
        assert page.status_code == 200
        assert '"requests": "/api/v1/requests"' in page.text
        lost = reader.get(f"/mri/studies/{'0123abcd-' * 4}0123abcd/")
        assert (lost.status_code, "Labrelay" in lost.text) == (404, True)
        assert reader.get("/api/v1/nothing").json()["error"]["code"] == "not_found"
    with host.reader("stranger") as stranger:
        assert stranger.get(f"/mri/studies/{study.study_id}/").status_code == 404


def test_a_click_reaches_the_queue_and_the_socket_tells_what_the_lab_says(
    host: Host, study: StoredStudy, rabbit: TestBroker
) -> None:
    inputs = [{"role": item.role, "series_id": item.series_id} for item in study.inputs]
    with host.reader() as reader, host.socket(reader) as socket:
        body = {"study_id": study.study_id, "inputs": inputs}
        answer = reader.post("/api/v1/requests", json=body)
        assert answer.status_code == 202, answer.text
        request_id = answer.json()["request_id"]
        socket.send(json.dumps({"type": "follow", "request_ids": [request_id]}))
        assert lab_takes_and_tells(rabbit, request_id) == request_id
        assert heard_state(socket, request_id, "reported")
        row = reader.get(f"/api/v1/requests/{request_id}").json()
        # Nothing of it is stored.
        assert (row["state"], row["lab"], row["result"]) == ("reported", "lab1", None)


def test_the_socket_speaks_the_clinics_language_too(host: Host) -> None:
    with host.reader() as reader, host.socket(reader, language="en") as socket:
        socket.send("what?")
        told = json.loads(socket.recv(timeout=10))
        assert (told["type"], told["message"]) == ("error", "이해할 수 없는 메시지입니다.")


def test_pages_of_other_sites_can_neither_click_nor_listen(host: Host, study: StoredStudy) -> None:
    with host.reader() as reader:
        foreign = {"Origin": "https://evil.example"}
        body = {"study_id": study.study_id, "inputs": []}
        assert reader.post("/api/v1/requests", json=body, headers=foreign).status_code == 403
        with pytest.raises(InvalidStatus), host.socket(reader, foreign["Origin"]):
            pass


def test_the_old_front_ends_calls_are_answered(host: Host, study: StoredStudy) -> None:
    old = "/api/mri/segmentation"
    with host.reader() as reader:
        assert reader.get(f"{old}/health/").json()["success"] is True
        # One of those that wait: Channels answers it, before Django's addresses.
        series_id = study.inputs[0].series_id
        wrong = {"sequence_series_ids": [series_id]}
        answer = reader.post(f"{old}/series/{series_id}/segment/", json=wrong)
        assert (answer.status_code, answer.json()["success"]) == (400, False)
        assert reader.get(f"{old}/pending-requests/").status_code == 410
    assert httpx.get(f"{host.url}{old}/requests/").status_code == 401


def test_the_limit_of_a_body_is_for_our_addresses_and_the_clinics_upload_has_its_own(
    host: Host,
) -> None:
    size = 50 * 1024 * 1024
    sheet = {"sheet": ("sheet.pdf", bytes(size))}
    said = httpx.post(f"{host.url}/api/scan/", files=sheet, timeout=60)
    assert (said.status_code, said.text) == (200, str(size))
    for path in ("/api/v1/requests", "/api/v1/nothing", "/mri/", "/dicom-web/studies"):
        refused = httpx.post(f"{host.url}{path}", content=bytes(3 * 1024 * 1024), timeout=60)
        assert refused.status_code == 413, path


def lab_takes_and_tells(rabbit: TestBroker, request_id: str) -> str | None:
    """Take the request as a lab does, and tell of a run; the id that the message names."""
    connection = pika.BlockingConnection(pika.URLParameters(rabbit.url("lab1")))
    try:
        channel = connection.channel()
        channel.confirm_delivery()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            method, properties, _ = channel.basic_get(topology.requests_queue("lab"))
            if method is not None:
                break
            time.sleep(0.05)
        else:
            return None
        channel.basic_ack(method.delivery_tag)
        for event in (InferenceAccepted(**place(UUID(request_id), 0)), a_run(UUID(request_id))[-1]):
            wire = codec.encode(event, app_id="test-lab", user_id="lab1")
            sent = pika.BasicProperties(
                content_type=wire.content_type,
                type=wire.type,
                message_id=wire.message_id,
                correlation_id=wire.correlation_id,
                delivery_mode=2,
                user_id="lab1",
            )
            channel.basic_publish(
                topology.events_exchange("lab"), event.ROUTING_KEY, wire.body, sent
            )
        taken: str = properties.correlation_id
        return taken
    finally:
        connection.close()


def heard_state(socket: Any, request_id: str, state: str, within: float = 15.0) -> bool:
    deadline = time.monotonic() + within
    while (left := deadline - time.monotonic()) > 0:
        message = json.loads(socket.recv(timeout=left))
        told = message.get("requests") or [message.get("request")]
        if any(one and (one["request_id"], one["state"]) == (request_id, state) for one in told):
            return True
    return False
