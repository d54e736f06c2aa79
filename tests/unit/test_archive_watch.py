"""The watch on an archive that stops and starts: a real server, asked over HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from structlog.testing import capture_logs

from consumer.errors import ArchiveUnavailable, DeadlineExceeded, LabStopping, RequestCancelled
from consumer.orthanc import Archive
from consumer.orthanc.archive_watch import ArchiveWatch
from consumer.stop_conditions import StopConditions
from infra.local.ports import free_ports
from infra.local.process import wait_until

#: Seconds for an archive that is back to be noticed on a busy machine; the longest pause is 15.
PATIENCE = 60.0


class SmallArchive:
    """Answers a probe while it runs."""

    def __init__(self) -> None:
        (self.port,) = free_ports(1)
        self.probes = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def client(self) -> Archive:
        return Archive(f"http://127.0.0.1:{self.port}", "lab", "secret")

    def start(self) -> None:
        archive = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                archive.probes += 1
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@pytest.fixture
def archive() -> Iterator[SmallArchive]:
    archive = SmallArchive()
    yield archive
    archive.stop()


@pytest.fixture
def watch(archive: SmallArchive) -> Iterator[ArchiveWatch]:
    watch = ArchiveWatch(archive.client.probe)
    yield watch
    watch.stop()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_an_archive_that_answers_is_not_waited_for(
    archive: SmallArchive, watch: ArchiveWatch
) -> None:
    archive.start()
    watch.start()
    assert watch.wait_if_away(StopConditions()) is False
    assert not watch.away
    asked = archive.probes
    assert watch.wait_if_away(StopConditions()) is False
    assert archive.probes == asked + 1, "each question is a probe of its own"


def test_an_archive_that_is_away_at_the_start_is_noticed_without_a_question(
    archive: SmallArchive, watch: ArchiveWatch
) -> None:
    watch.start()
    wait_until(lambda: watch.away, "notice that the archive is away", PATIENCE)
    archive.start()
    wait_until(lambda: not watch.away, "notice that the archive is back", PATIENCE)


def test_jobs_wait_until_an_archive_that_went_away_is_back(
    archive: SmallArchive, watch: ArchiveWatch, threads: ThreadPoolExecutor
) -> None:
    archive.start()
    with capture_logs() as logs:
        watch.start()
        assert watch.wait_if_away(StopConditions()) is False
        archive.stop()
        first = threads.submit(watch.wait_if_away, StopConditions())
        wait_until(lambda: watch.away, "notice that the archive is away", PATIENCE)
        second = threads.submit(watch.wait_if_away, StopConditions())
        # Two seconds: at least one more probe finds nobody.
        with pytest.raises(TimeoutError):
            first.result(2)
        assert not second.done()
        archive.start()
        assert first.result(PATIENCE) is True
        assert second.result(PATIENCE) is True
        assert not watch.away
    actions = [line["action"] for line in logs]
    assert actions == ["archive.away", "archive.back"], "each is logged once"


def test_who_waits_is_ended_by_its_own_halt_only(
    watch: ArchiveWatch, threads: ThreadPoolExecutor
) -> None:
    watch.start()
    wait_until(lambda: watch.away, "notice that the archive is away", PATIENCE)
    cancelled = threading.Event()
    overdue = StopConditions()
    overdue.set_deadline(1)
    ends = [
        threads.submit(watch.wait_if_away, h)
        for h in (StopConditions(cancelled=cancelled), overdue)
    ]
    patient = threads.submit(watch.wait_if_away, StopConditions())
    began = time.monotonic()
    cancelled.set()
    with pytest.raises(RequestCancelled):
        ends[0].result(PATIENCE)
    print(f"cancel heard after {time.monotonic() - began:.2f} s")
    with pytest.raises(DeadlineExceeded):
        ends[1].result(PATIENCE)
    assert not patient.done()
    watch.stop()
    with pytest.raises(LabStopping):
        patient.result(PATIENCE)


def test_questions_do_not_hurry_the_probes_of_an_archive_that_is_away(
    threads: ThreadPoolExecutor,
) -> None:
    probes: list[float] = []

    def probe() -> None:
        probes.append(time.monotonic())
        raise ArchiveUnavailable("away")

    watch = ArchiveWatch(probe)
    watch.start()
    asking = [threads.submit(watch.wait_if_away, StopConditions()) for _ in range(4)]
    wait_until(lambda: len(probes) >= 4, "probe four times", PATIENCE)
    watch.stop()
    for one in asking:
        with pytest.raises(LabStopping):
            one.result(PATIENCE)
    # The first probe answers the start, the second perhaps a question; then the pauses grow.
    assert probes[3] - probes[2] >= 0.5
    assert not watch._thread.is_alive()


def test_a_probe_with_a_fault_of_its_own_holds_nobody() -> None:
    def probe() -> None:
        raise RuntimeError("a fault")

    watch = ArchiveWatch(probe)
    with capture_logs() as logs:
        watch.start()
        assert watch.wait_if_away(StopConditions()) is False
        watch.stop()
    assert {line["action"] for line in logs} == {"archive.fault"}


def test_a_watch_that_was_never_started_can_be_stopped() -> None:
    ArchiveWatch(lambda: None).stop()
