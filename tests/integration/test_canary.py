"""A patient whose name appears nowhere but on the pages that show the patient.

A whole installation works on studies whose patient fields hold words that are nowhere else; runs
succeed and fail, and the archive goes away. Then those words are looked for in everything that the
run has left behind or sent.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import zlib
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pika
import pytest
from django.core import signing

from infra.demo.reader import PageRefused, ended
from infra.demo.stack import PAGE_USER
from infra.local.orthanc import OrthancNode
from messages import topology
from messages.phases import DCE_ROLES
from tests.dicom_factory import Series
from tests.integration.lab import orthanc_get, orthanc_post
from tests.integration.system import System, running_system

#: In every patient field, in one of its alphabets, is one of these.
CANARIES = ("kanarienvogel", "카나리아", "cnry", "19031104")

#: How they might be hidden: as JSON escapes a Korean letter, as RFC 3986 and as Python write it.
HIDDEN = (json.dumps("카나리아")[1:-1], "%ec%b9%b4%eb%82%98", "b'\\xec\\xb9\\xb4")


def in_base64(word: str) -> Iterator[str]:
    """What base64 makes of a word, wherever in a longer text it begins."""
    for before in range(3):
        text = b64encode(b"\0" * before + word.encode())
        # Without the letters into which a neighbour's bits run.
        whole = (before + len(word.encode())) * 8 // 6
        yield text[-(-before * 8 // 6) : whole].decode()


#: As they stand in the patient's fields: base64 keeps no case that could be overlooked.
AS_WRITTEN = ("Kanarienvogel", "kanarienvogel", "카나리아", "CNRY-", "cnry ", "19031104")

IN_BASE64 = tuple(form for word in AS_WRITTEN for form in in_base64(word))

PATIENT = {
    "PatientName": "Kanarienvogel^Anna=^=카나리아",
    "PatientID": "CNRY-7731",
    "PatientBirthDate": "19031104",
    "PatientComments": "cnry comment",
    "AccessionNumber": "CNRY-ACC",
    "StudyID": "CNRY-S",
    "StudyDescription": "cnry study",
    "SeriesDescription": "cnry series 카나리아",
    "ReferringPhysicianName": "Kanarienvogel^Doc",
    "InstitutionName": "cnry clinic",
    "RequestedProcedureDescription": "cnry procedure",
}


@dataclass(frozen=True)
class Planted:
    """A stored study of the canary: Orthanc's ids."""

    study_id: str
    series_by_role: dict[str, str]


def plant(archive: OrthancNode, *, break_it: Any = None) -> Planted:
    """Store four phases; `break_it(role, series)` may spoil the headers, or return the files."""
    first = Series()
    stored = {}
    for number, role in enumerate(DCE_ROLES):
        pixels = np.full((6, 16, 16), 100, np.uint16)
        pixels[2:4, 5:9, 6:10] += 200 * number
        series = Series(
            rows=16,
            columns=16,
            study_uid=first.study_uid,
            frame_uid=first.frame_uid,
            time=f"10{15 + number}00",
            pixels=pixels,
        )
        for dataset in series.datasets:
            for keyword, value in PATIENT.items():
                setattr(dataset, keyword, value)
        files = (break_it(role, series) if break_it else None) or series.files()
        answers = [orthanc_post(archive, "/instances", data) for data in files]
        stored[role] = answers[0]["ParentSeries"]
    return Planted(answers[0]["ParentStudy"], stored)


def other_grid(role: str, series: Series) -> None:
    """One slice inside the last phase is half as large: the site, which looks at few, passes it."""
    if role == "last":
        dataset = series.datasets[3]
        dataset.Rows, dataset.PixelData = 8, dataset.PixelData[: 8 * 16 * 2]


def name_for_a_number(role: str, series: Series) -> list[bytes] | None:
    """Where a decimal belongs stands a word: what fails on it likes to quote it.

    It stands inside a phase: the site, which looks at each phase's first image, passes it.
    """
    if role != "post1":
        return None
    files = series.files()
    files[3] = files[3].replace(b"0.8\\0.6 ", b"cnry\\0.6")
    return files


def name_in_every_image(role: str, series: Series) -> list[bytes] | None:
    """The same in a whole phase: the site itself refuses it."""
    if role != "post1":
        return None
    return [data.replace(b"0.8\\0.6 ", b"cnry\\0.6") for data in series.files()]


def garbage_pixels(role: str, series: Series) -> None:
    """Fewer bytes than the header says."""
    if role == "post2":
        for dataset in series.datasets:
            dataset.PixelData = "카나리아 cnry".encode()


#: The cursor of a list's next page.
_CURSOR = re.compile(r'"next":\s*"([^"]+)"')


def base64_text(text: str) -> str:
    """What stands in a cursor."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


@dataclass
class Seen:
    """Everything that went over the wires of the run, by where it was seen."""

    messages: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    cursors: list[str] = field(default_factory=list)

    def answered(self, answer: httpx.Response) -> None:
        """Keep an answer of the site: its address, its headers, and its body if it is JSON."""
        answer.read()
        self.urls += [str(answer.request.url), answer.headers.get("location", "")]
        kept = f"{answer.status_code} {dict(answer.headers)} {answer.text}"
        (self.errors if answer.is_error else self.answers).append(kept)
        if not answer.is_error and "json" in answer.headers["content-type"]:
            self.cursors += [base64_text(found) for found in _CURSOR.findall(answer.text)]


@contextmanager
def listening(system: System, seen: Seen) -> Iterator[None]:
    """Copy every message of the broker while the block runs."""
    url = system.stack.rabbitmq.url("admin", system.stack.passwords["admin"])
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    definitions = topology.definitions()
    for exchange in definitions["exchanges"]:
        channel.queue_bind(queue, exchange["name"], "#")

    def keep(_channel: Any, method: Any, properties: Any, body: bytes) -> None:
        seen.messages.append(f"{method} {properties} {body.decode('utf-8', 'replace')}")

    channel.basic_consume(queue, keep, auto_ack=True)
    stop = threading.Event()

    def consume() -> None:
        while not stop.is_set():
            connection.process_data_events(time_limit=0.2)
        connection.process_data_events(time_limit=0)

    thread = threading.Thread(target=consume)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)
        connection.close()


@dataclass
class Run:
    """What the whole run left behind."""

    system: System
    seen: Seen
    states: list[tuple[str, str]]
    page: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    # The old calls take the default model, and no other that a lab may have.
    settings = {"DEFAULT_MODEL": "held"}
    with running_system(tmp_path_factory.mktemp("canary"), web_settings=settings) as system:
        seen = Seen()
        with listening(system, seen):
            states, page = everything(system, seen)
        # SQLite's log goes into the database, and the processes' last lines into their files.
        system.stack.consumer.stop(grace=30.0)
        system.stack.web.stop()
        yield Run(system, seen, states, page)


def everything(system: System, seen: Seen) -> tuple[list[tuple[str, str]], str]:
    """One run of every kind; the outcome of each request, and the study's page."""
    archive = system.stack.orthanc
    studies = [
        plant(archive),
        plant(archive, break_it=other_grid),
        plant(archive, break_it=name_for_a_number),
        plant(archive, break_it=garbage_pixels),
    ]
    with system.reader() as reader:
        reader._client.event_hooks["response"].append(seen.answered)
        reader._client.headers["Accept-Language"] = "ko"
        ids = [reader.ask(one.study_id, one.series_by_role)["request_id"] for one in studies]
        refused = plant(archive, break_it=name_in_every_image)
        with pytest.raises(PageRefused, match="PixelSpacing") as refusal:
            reader.ask(refused.study_id, refused.series_by_role)
        seen.answers.append(str(refusal.value))
        told = [reader.wait(request_id, ended, 90) for request_id in ids]
        seen.answers += [json.dumps(one, ensure_ascii=False) for one in told]
        page = walk(reader, studies[0], ids[0])
        old_front_end(reader, studies[0])
        mistakes(reader, studies[0])
        archive.stop()
        walk(reader, studies[1], ids[1])
        reader.post("/api/v1/requests", ask_for(studies[0]))
        archive.start()
        archive.wait_ready()
    strangers(system, seen)
    states = [(one["state"], (one["failure"] or {"code": ""})["code"]) for one in told]
    return states, page


def ask_for(study: Planted) -> dict[str, Any]:
    inputs = [{"role": r, "series_id": s} for r, s in study.series_by_role.items()]
    return {"study_id": study.study_id, "inputs": inputs}


def walk(reader: Any, study: Planted, request_id: str) -> str:
    """Every page and address of a study and its request."""
    series_id = study.series_by_role["pre"]
    page: str = reader.get(f"/studies/{study.study_id}/").text
    for path in (
        "/",
        f"/studies/{study.study_id}/series/{series_id}/slices/2.png?of=6",
        f"/studies/{study.study_id}/series/{series_id}/slices/99.png",
        f"/requests/{request_id}/overlay.json",
        f"/api/v1/requests/{request_id}",
        f"/api/v1/requests/{request_id}/events",
        f"/api/v1/requests/{request_id}/result",
        f"/api/v1/requests?study_id={study.study_id}",
        "/api/v1/requests?limit=1",
        "/api/v1/studies?limit=1",
        f"/api/v1/studies/{study.study_id}/phases",
        f"/api/mri/segmentation/status/{request_id}",
        f"/api/mri/segmentation/requests/?series_id={series_id}",
        f"/api/mri/segmentation/instances/{series_id}/frames",
        "/api/mri/segmentation/health",
        "/admin/labrelay_inference/inferencerequest/",
        "/admin/labrelay_door/auditentry/",
    ):
        reader.get(path)
    return page


def old_front_end(reader: Any, study: Planted) -> None:
    """A call that waits for its result, and the masks of that result."""
    old = "/api/mri/segmentation"
    series = [study.series_by_role[role] for role in DCE_ROLES]
    told = reader.post(f"{old}/series/{series[0]}/segment/", {"sequence_series_ids": series})
    assert told.status_code == 200, told.text
    frames = reader.get(f"{old}/instances/{told.json()['seg_instance_id']}/frames/")
    assert frames.status_code == 200, frames.text
    assert frames.json()["num_frames"] == 6


def mistakes(reader: Any, study: Planted) -> None:
    """Wrong input with the patient's name in it, where a careless page would quote it."""
    whole = ask_for(study)
    for change in (
        {"study_id": "CNRY-7731"},
        {"model": "kanarienvogel"},
        {"threshold": "카나리아"},
        {"inputs": [{"role": "cnry", "series_id": "카나리아"}] * 4},
        {"inputs": "cnry"},
        {"cnry": "카나리아"},
    ):
        reader.post("/api/v1/requests", whole | change)
    client = reader._client
    content = '{"study_id": "카나리아'.encode()
    headers = {"Content-Type": "application/json"}
    client.post("/api/v1/requests", content=content, headers=headers)
    # The name of another site is logged, for the operator whose proxy changes it; no words.
    for origin in ("https://evil.example/cnry", "cnry comment"):
        client.post("/api/v1/requests", json=whole, headers={"Origin": origin})


def strangers(system: System, seen: Seen) -> None:
    """What somebody types into addresses and forms; those addresses are theirs, not the site's."""
    with httpx.Client(base_url=system.stack.url, timeout=60.0) as client:
        client.get("/login/")
        token = client.cookies["csrftoken"]
        form = {"username": "카나리아", "password": "cnry", "csrfmiddlewaretoken": token}
        typed = [
            client.post("/login/", data=form, headers={"Referer": system.stack.url}),
            client.get("/studies/CNRY-7731/"),
            client.get("/api/v1/requests/카나리아"),
            client.get("/api/v1/studies/CNRY-7731?name=cnry"),
            client.get("/api/mri/segmentation/status/CNRY-7731"),
            client.post("/api/mri/segmentation/series/CNRY-7731/segment", json={"cnry": 1}),
            client.get("/kanarienvogel"),
        ]
    # The log-in form gives the name back that was typed; the redirects to it the address.
    seen.errors += [answer.text for answer in typed[1:] if answer.is_error]


def found_in(text: str) -> list[str]:
    """The canaries that a text holds, in any case and disguise."""
    lowered = text.casefold()
    plain = [word for word in (*CANARIES, *HIDDEN) if word.casefold() in lowered]
    return plain + [form for form in IN_BASE64 if form in text]


def assert_clean(texts: dict[str, str]) -> None:
    assert texts, "nothing was looked at"
    found = {name: words for name, text in texts.items() if (words := found_in(text))}
    places = {
        name: [line[:300] for line in texts[name].splitlines() if found_in(line)][:3]
        for name in found
    }
    assert not found, json.dumps(places, indent=1, ensure_ascii=False)


def test_the_run_had_results_and_failures(run: Run) -> None:
    (state, _), *failures = run.states
    assert state == "completed"
    assert {state for state, _ in failures} == {"failed"}
    assert {code for _, code in failures} >= {"geometry_mismatch", "unreadable_dicom"}
    assert {int(error[:3]) for error in run.seen.errors if error[:3].isdecimal()} >= {
        403,
        404,
        422,
        503,
    }


def test_the_search_finds_what_is_there(run: Run) -> None:
    assert set(found_in(run.page)) >= {"kanarienvogel", "cnry"} or "카나리아" in found_in(run.page)
    (study, *_) = orthanc_get(run.system.stack.orthanc, "/studies?expand")
    assert set(found_in(json.dumps(study, ensure_ascii=False))) >= set(CANARIES)
    assert found_in('{"name": "\\uce74\\ub098\\ub9ac\\uc544"}')
    assert found_in("Not Found: /studies/Cnry-7731/")


def test_no_message_holds_it(run: Run) -> None:
    heard = "\n".join(run.seen.messages)
    for name in ("requested", "accepted", "completed", "failed", "heartbeat"):
        assert f"{name}.v1" in heard
    assert_clean({f"message {n}": text for n, text in enumerate(run.seen.messages)})


def test_no_log_holds_it(run: Run) -> None:
    logs = {
        str(path.relative_to(run.system.stack.root)): path.read_text("utf-8", "replace")
        for path in run.system.stack.root.rglob("*")
        if path.is_file() and "log" in path.parts
    }
    assert {"log/web.log", "log/consumer.log", "orthanc/log/orthanc.log"} <= set(logs)
    assert any(name.startswith("rabbitmq/log/") for name in logs)
    assert "foreign_call_refused" in logs["log/web.log"]
    assert "Not Found: (no such address)" in logs["log/web.log"]
    assert_clean(logs)


def unpacked(session_data: str) -> str:
    """What Django keeps of a session: base64, compressed where a dot stands first, and signed."""
    payload = session_data.partition(":")[0]
    content = signing.b64_decode(payload.lstrip(".").encode())
    return (zlib.decompress(content) if payload.startswith(".") else content).decode()


def test_no_row_of_the_database_holds_it(run: Run) -> None:
    path = next(Path(run.system.stack.root / "web").glob("*.sqlite3"))
    with closing(sqlite3.connect(path)) as database:
        tables = {
            name: "\n".join(map(str, database.execute(f'SELECT * FROM "{name}"')))  # noqa: S608
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        sessions = [data for (data,) in database.execute("SELECT session_data FROM django_session")]
    assert "completed" in tables["labrelay_inference_inferencerequest"]
    assert "study_viewed" in tables["labrelay_door_auditentry"]
    tables["sessions"] = "".join(map(unpacked, sessions))
    assert "_auth_user_id" in tables["sessions"]
    assert_clean(tables)
    assert_clean({"the file": path.read_bytes().decode("utf-8", "replace")})


def test_no_cursor_of_a_list_holds_it(run: Run) -> None:
    assert len(run.seen.cursors) >= 2
    assert all(text.startswith(("[", "{")) for text in run.seen.cursors)
    assert_clean({f"cursor {n}": text for n, text in enumerate(run.seen.cursors)})


@pytest.mark.parametrize("before", ["", "a", "ab"])
@pytest.mark.parametrize("word", AS_WRITTEN)
def test_the_search_finds_a_word_in_base64(before: str, word: str) -> None:
    assert found_in(b64encode(f"{before}{word}, and more".encode()).decode())


def test_no_address_holds_it(run: Run) -> None:
    assert len(run.seen.urls) > 40
    assert_clean({"addresses": "\n".join(run.seen.urls)})


def test_no_error_holds_it(run: Run) -> None:
    assert len(run.seen.errors) > 15
    assert_clean({f"error {n}": text for n, text in enumerate(run.seen.errors)})


def test_no_request_that_a_page_is_told_of_holds_it(run: Run) -> None:
    told = [text for text in run.seen.answers if '"request_id"' in text and "<html" not in text]
    assert len(told) >= 8
    told += [text for text in run.seen.answers if '"mask_base64"' in text]
    assert '"num_frames": 6' in told[-1]
    assert_clean({f"answer {n}": text for n, text in enumerate(told)})


def test_the_demos_user_is_no_canary() -> None:
    assert not found_in(PAGE_USER)
