"""The site is told to stop, or killed, with readers at its door: what was taken is not lost."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pika
import pytest
from websockets.exceptions import ConnectionClosed

from infra.demo.reader import PageRefused, Reader
from infra.local.orthanc import OrthancNode
from infra.local.process import wait_until
from messages import topology
from tests.integration.lab import Clinic, StoredStudy, store_small_study
from tests.integration.nodes import TestBroker
from tests.integration.served import ServedSite, served_site

#: Readers who click at once, and clicks that are taken before the site is told to stop.
READERS, ENOUGH = 4, 40

#: Close code 1012 of RFC 6455's registry: service restart.
SERVICE_RESTART = 1012


@pytest.fixture(scope="module")
def study(orthanc: OrthancNode) -> StoredStudy:
    return store_small_study(orthanc)


@pytest.fixture
def site(
    tmp_path: Path, rabbit: TestBroker, orthanc: OrthancNode, clinic: Clinic
) -> Iterator[ServedSite]:
    assert clinic.ready(topology.requests_queue("lab")) == 0
    with served_site(tmp_path, rabbit, orthanc) as site:
        yield site


class Clicks:
    """Readers who click until the site is gone; each click asks for something else."""

    def __init__(self, site: ServedSite, study: StoredStudy) -> None:
        self.taken: list[str] = []
        self._study = study
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._readers = [site.reader() for _ in range(READERS)]

    def begin(self, pool: ThreadPoolExecutor) -> None:
        self._running = [pool.submit(self._click, reader) for reader in self._readers]

    def wait_gone(self) -> None:
        """Until the site answers none of them any more."""
        for running in self._running:
            running.result(timeout=60)

    def _click(self, reader: Reader) -> None:
        series = {item.role: item.series_id for item in self._study.inputs}
        with reader:
            while True:
                with self._lock:
                    threshold = next(self._numbers) / 1000
                try:
                    request = reader.ask(self._study.study_id, series, threshold=threshold)
                except (httpx.HTTPError, PageRefused, json.JSONDecodeError, KeyError):
                    return
                self.taken.append(request["request_id"])


def outbox(site: ServedSite) -> dict[str, tuple[str, bool]]:
    """Of each request the id of its message, and whether it is marked as sent."""
    query = "SELECT request_id, message_id, sent_at IS NOT NULL FROM labrelay_inference_outbox"
    with closing(sqlite3.connect(site.root / "web.sqlite3", timeout=20)) as database:
        return {_id(row[0]): (_id(row[1]), bool(row[2])) for row in database.execute(query)}


def _id(text: str) -> str:
    return text.replace("-", "")


def published(broker: TestBroker) -> dict[str, list[str]]:
    """Of each request the ids of the messages that lie in the labs' queue."""
    found: dict[str, list[str]] = {}
    connection = pika.BlockingConnection(pika.URLParameters(broker.url("admin")))
    with closing(connection):
        channel = connection.channel()
        while True:
            method, properties, _ = channel.basic_get(topology.requests_queue("lab"), auto_ack=True)
            if method is None:
                return found
            ids = found.setdefault(_id(properties.correlation_id), [])
            ids.append(_id(properties.message_id))


def assert_nothing_lost(site: ServedSite, broker: TestBroker, taken: list[str]) -> int:
    """After a restart each click that was taken is a message; how many were published twice."""
    wait_until(lambda: all(sent for _, sent in outbox(site).values()), "publish every row", 60)
    rows, messages = outbox(site), published(broker)
    assert len(set(taken)) == len(taken) >= ENOUGH
    for request_id in map(_id, taken):
        copies = messages[request_id]
        assert 1 <= len(copies) <= 2
        assert set(copies) == {rows[request_id][0]}
    # What was written and not answered any more is published as well, and nothing else is.
    assert set(messages) == set(rows) >= set(map(_id, taken))
    return sum(len(copies) > 1 for copies in messages.values())


def test_a_stop_amid_clicks_loses_none_that_was_taken_and_is_no_failure(
    site: ServedSite, rabbit: TestBroker, study: StoredStudy
) -> None:
    clicks = Clicks(site, study)
    with ThreadPoolExecutor(READERS) as pool:
        clicks.begin(pool)
        wait_until(lambda: len(clicks.taken) >= ENOUGH, "take clicks", 60)
        site.terminate()
        clicks.wait_gone()
    assert site.ended() == 0
    assert '"site_stopped"' in site.log()
    site.start()
    # What was on its way was confirmed and marked before the end.
    assert assert_nothing_lost(site, rabbit, clicks.taken) == 0


def test_a_site_that_is_killed_amid_clicks_publishes_the_same_messages_after_its_restart(
    site: ServedSite, rabbit: TestBroker, study: StoredStudy
) -> None:
    clicks = Clicks(site, study)
    with ThreadPoolExecutor(READERS) as pool:
        clicks.begin(pool)
        wait_until(lambda: len(clicks.taken) >= ENOUGH, "take clicks", 60)
        site.service.kill()
        clicks.wait_gone()
    site.start()
    assert_nothing_lost(site, rabbit, clicks.taken)


def test_a_stop_sends_pages_away_to_come_again_and_answers_those_who_wait(
    site: ServedSite, study: StoredStudy
) -> None:
    with site.reader() as reader, reader.socket() as socket, ThreadPoolExecutor(1) as pool:
        socket.send(json.dumps({"type": "follow", "worklist": True}))
        assert json.loads(socket.recv(timeout=30))["type"] == "snapshot"
        ids = [item.series_id for item in study.inputs]
        path = f"/api/mri/segmentation/series/{ids[0]}/segment/"
        waiting = pool.submit(reader.post, path, {"sequence_series_ids": ids})
        wait_until(lambda: '"request_written"' in site.log(), "take the call", 30)

        site.terminate()

        with pytest.raises(ConnectionClosed) as closed:
            _listen(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == SERVICE_RESTART
        answer = waiting.result(timeout=60)
        assert answer.status_code == 503
        assert answer.json()["request_id"]
        assert answer.json()["error"].endswith(".")
    assert site.ended() == 0
    # Told to go, and not cut off when their time was up.
    assert "timeout graceful shutdown exceeded" not in site.log()


def _listen(socket: Any) -> None:
    while True:
        socket.recv(timeout=30)
