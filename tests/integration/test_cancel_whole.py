"""A cancelled request leaves nothing behind: the whole system, at chosen and random moments.

``--cancel-seed`` repeats the moments of another run.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from infra.demo.reader import ENDED, Reader
from infra.demo.stack import LAB
from infra.local.process import Service, wait_until
from messages import topology
from messages.identity import primary_instance_uid, report_instance_uid
from tests.integration.gate import Gate
from tests.integration.lab import StoredStudy, orthanc_post, stored_objects
from tests.integration.system import System, click, running_system
from tests.integration.wire import AckHold

#: Requests under way at once: each in a study of its own.
BATCH = 5

#: Moments of a cancel while everything runs; with the lab killed right after; and without a lab.
PLAIN, KILLED, STOPPED = 40, 6, 4

#: Seconds until a batch has ended: a lab that was killed loads torch anew.
END_SECONDS = 240.0


@dataclass(frozen=True)
class Tried:
    """One moment: what was asked, when, and what the cancel was answered."""

    request_id: str
    study: StoredStudy
    #: Seconds from the click to the cancel.
    after: float
    status: int
    #: The state that the answer shows, or the code of its error.
    said: str


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("system"), lab_settings={"PREFETCH": "2"}) as made:
        yield made


@pytest.fixture(scope="module")
def reader(system: System) -> Iterator[Reader]:
    with system.reader() as made:
        yield made


@pytest.fixture(autouse=True)
def healed(system: System) -> Iterator[None]:
    yield
    system.heal()


def cancel(reader: Reader, request_id: str) -> tuple[int, str]:
    answer = reader.post(f"/api/v1/requests/{request_id}/cancel", None)
    body = answer.json()
    return answer.status_code, body["state"] if answer.is_success else body["error"]["code"]


def found(system: System, uid: str) -> int:
    return len(orthanc_post(system.stack.orthanc, "/tools/lookup", uid))


def objects_of(system: System, request_id: str) -> tuple[int, int]:
    """How many primary objects and reports of a request the archive holds."""
    key = UUID(request_id)
    return found(system, primary_instance_uid(key)), found(system, report_instance_uid(key))


def until_ended(reader: Reader, request_ids: list[str]) -> None:
    def all_ended() -> bool:
        return all(reader.read(request_id)["state"] in ENDED for request_id in request_ids)

    wait_until(all_ended, "see every request ended", END_SECONDS)


def messages_left(system: System) -> int:
    """Messages in every queue but that of the hints: ready or unacknowledged."""
    rows = system.stack.rabbitmq.ctl(
        "-q", "-p", topology.VHOST, "list_queues", "name", "messages"
    ).splitlines()
    cells = [row.split() for row in rows]
    return sum(
        int(c[1])
        for c in cells
        if c[1:] and c[1].isdecimal() and not c[0].startswith(("mri.progress.", "mri.control."))
    )


def owed(system: System) -> int:
    """Messages that the site has not sent yet, and looks into the archive that are due now."""
    path = next(Path(system.stack.root / "web").glob("*.sqlite3"))
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as database:
        unsent = "SELECT count(*) FROM labrelay_inference_outbox WHERE sent_at IS NULL"
        due = (
            "SELECT count(*) FROM labrelay_inference_inferencerequest"
            " WHERE sweep_due_at <= strftime('%Y-%m-%d %H:%M:%f', 'now')"
        )
        return sum(database.execute(query).fetchone()[0] for query in (unsent, due))


def at_rest(system: System, reader: Reader, request_ids: list[str]) -> None:
    """Every request has ended, nothing is on its way, and nothing is owed."""
    until_ended(reader, request_ids)
    wait_until(
        lambda: messages_left(system) == 0 and owed(system) == 0, "come to rest", END_SECONDS
    )


def process_lives(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_a_cancel_during_the_inference_ends_it_and_leaves_nothing(
    system: System, reader: Reader
) -> None:
    system.bundle.hold()
    study = system.new_study()
    request_id = click(reader, study)
    reader.wait(request_id, lambda r: r["state"] == "inferring", 120)
    wait_until(lambda: system.bundle.inferences == 1, "see the inference begin", 60)
    segmenter = int((system.bundle.path / "pid").read_text())
    assert process_lives(segmenter)

    asked = time.monotonic()
    assert cancel(reader, request_id) == (202, "cancelling")
    wait_until(lambda: not process_lives(segmenter), "see the segmenter gone", 60)
    print(f"the segmenter was gone {time.monotonic() - asked:.2f} s after the cancel")

    at_rest(system, reader, [request_id])
    assert reader.read(request_id)["state"] == "cancelled"
    assert cancel(reader, request_id) == (202, "cancelled")
    assert objects_of(system, request_id) == (0, 0)
    assert stored_objects(system.stack.orthanc, study) == {}

    # The lab takes the next one, in a new segmenter.
    system.bundle.release()
    after = click(reader, study)
    reader.wait(after, lambda r: r["state"] == "completed", 120)
    assert objects_of(system, after) == (1, 1)


@contextmanager
def another_lab(system: System, log: str, **settings: str) -> Iterator[Service]:
    """The lab with other settings instead of the system's own; killed at the end."""
    system.stack.consumer.stop(grace=30.0)
    lab = system.stack.lab(system.bundle.path, settings, log=log)
    lab.start()
    try:
        yield lab
    finally:
        lab.kill()


def test_while_the_result_is_being_stored_a_cancel_comes_too_late(
    system: System, reader: Reader
) -> None:
    study = system.new_study()
    with (
        Gate(system.stack.ports.orthanc, closes_after_stores=1) as gate,
        another_lab(system, "late", ORTHANC_URL=gate.url),
    ):
        request_id = click(reader, study)
        gate.wait_held(120)
        assert cancel(reader, request_id) == (202, "cancelling")
        gate.open()
        shown = reader.wait(request_id, lambda r: r["state"] in ENDED, 120)
        assert shown["state"] == "completed"
        assert shown["cancel_asked_at"]
        assert cancel(reader, request_id) == (409, "too_late")
        at_rest(system, reader, [request_id])
        assert objects_of(system, request_id) == (1, 1)


def test_what_a_lab_stored_before_it_died_is_removed_although_no_lab_is_left(
    system: System, reader: Reader
) -> None:
    study = system.new_study()
    with Gate(system.stack.ports.orthanc, closes_after_stores=1) as gate:
        with another_lab(system, "dies", ORTHANC_URL=gate.url):
            request_id = click(reader, study)
            gate.wait_held(120)
            assert objects_of(system, request_id) == (1, 0)
            assert cancel(reader, request_id) == (202, "cancelling")
        # Nobody holds it: seen once the lab's last heartbeat is too old.
        until_ended(reader, [request_id])
    assert reader.read(request_id)["state"] == "cancelled"
    wait_until(lambda: owed(system) == 0, "see the archive swept", END_SECONDS)
    assert objects_of(system, request_id) == (0, 0)
    assert stored_objects(system.stack.orthanc, study) == {}

    # Its delivery is still there for the next lab, which is told again.
    system.stack.consumer.start()
    at_rest(system, reader, [request_id])
    assert reader.read(request_id)["state"] == "cancelled"
    assert objects_of(system, request_id) == (0, 0)


def test_a_lab_that_dies_between_its_answer_and_the_ack_leaves_a_request_that_stays_cancelled(
    system: System, reader: Reader
) -> None:
    study, stack = system.new_study(), system.stack
    system.bundle.hold()
    with AckHold(stack.ports.amqp) as hold:
        url = stack.rabbitmq.url(LAB, stack.passwords[LAB])
        url = url.replace(f":{stack.ports.amqp}/", f":{hold.port}/")
        with another_lab(system, "unacked", RABBITMQ_URL=url):
            request_id = click(reader, study)
            reader.wait(request_id, lambda r: r["state"] == "inferring", 120)
            cancel(reader, request_id)
            reader.wait(request_id, lambda r: r["state"] == "cancelled", 120)
            assert hold.acks_held.wait(60)
    system.bundle.release()
    version = reader.read(request_id)["version"]
    stack.consumer.start()
    # The request has ended already, and the broker counts a quorum queue's messages only every
    # few seconds: it may still show none of the one that came back.
    wait_until(lambda: system.times("job.accepted", request_id) > 0, "be taken again", 120)
    at_rest(system, reader, [request_id])
    assert system.times("job.accepted", request_id) == 1
    assert reader.read(request_id)["state"] == "cancelled"
    assert reader.read(request_id)["version"] == version
    assert objects_of(system, request_id) == (0, 0)


def one_moment(reader: Reader, study: StoredStudy, after: float) -> Tried:
    request_id = click(reader, study)
    time.sleep(after)
    return Tried(request_id, study, after, *cancel(reader, request_id))


def batch(reader: Reader, studies: list[StoredStudy], moments: list[float]) -> list[Tried]:
    """Click and cancel, overlapping; returns once every cancel is answered."""
    with ThreadPoolExecutor(BATCH) as readers:
        return list(readers.map(partial(one_moment, reader), studies, moments))


def seconds_of_a_batch(reader: Reader, studies: list[StoredStudy]) -> float:
    """From the clicks to the last result when nobody cancels."""
    began = time.monotonic()
    asked = [click(reader, study) for study in studies]
    until_ended(reader, asked)
    assert {reader.read(request_id)["state"] for request_id in asked} == {"completed"}
    return time.monotonic() - began


def judge(system: System, reader: Reader, tried: Tried) -> str:
    """Compare what became of the request with the archive; returns its state."""
    shown: dict[str, Any] = reader.read(tried.request_id)
    held = objects_of(system, tried.request_id)
    what = f"{tried.request_id}, cancelled after {tried.after:.3f} s: {tried.said}, {held}"
    if shown["state"] == "cancelled":
        assert tried.status == 202, what
        assert held == (0, 0), what
    else:
        assert shown["state"] == "completed", what
        assert tried.said == "too_late" or shown["cancel_asked_at"], what
        assert held == (1, 1), what
    return str(shown["state"])


def test_at_random_moments_a_cancelled_request_has_nothing_in_the_archive_at_rest(
    system: System, reader: Reader, request: pytest.FixtureRequest
) -> None:
    seed = request.config.getoption("--cancel-seed")
    if seed is None:
        seed = random.randrange(10**6)
    print(f"--cancel-seed={seed}")
    chance = random.Random(seed)
    studies = [system.new_study() for _ in range(BATCH)]
    span = seconds_of_a_batch(reader, studies)
    began, done = time.monotonic(), []

    def moments(count: int) -> list[float]:
        return [chance.uniform(0, span) for _ in range(count)]

    def say(kind: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s: {len(done)} moments, the last {kind}")

    for _ in range(PLAIN // BATCH):
        tried = batch(reader, studies, moments(BATCH))
        # The same study again is another request only once the first has ended.
        until_ended(reader, [one.request_id for one in tried])
        done += tried
        say("while everything ran")
    for count in (KILLED // 2, KILLED - KILLED // 2):
        done += (tried := batch(reader, studies[:count], moments(count)))
        system.stack.consumer.kill()
        system.stack.consumer.start()
        until_ended(reader, [one.request_id for one in tried])
        say("with the lab killed after it")
    system.stack.consumer.stop(grace=30.0)
    done += (tried := batch(reader, studies[:STOPPED], moments(STOPPED)))
    system.stack.consumer.start()
    say("without a lab")

    at_rest(system, reader, [one.request_id for one in done])

    ends = Counter(judge(system, reader, one) for one in done)
    say(f"at rest, {dict(ends)}, a batch takes {span:.1f} s")
    assert len(done) == PLAIN + KILLED + STOPPED
    assert ends["cancelled"]
    # And nothing else lies beside the images: one result for each completed request.
    completed = Counter({study.study_id: 1 for study in studies})
    completed.update(one.study.study_id for one in done if objects_of(system, one.request_id)[0])
    for study in studies:
        count = completed[study.study_id]
        assert stored_objects(system.stack.orthanc, study) == {"SEG": count, "SR": count}
