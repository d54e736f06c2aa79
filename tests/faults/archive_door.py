"""An HTTP door before a real Orthanc that can answer wrongly, as archives and proxies do."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from infra.local.process import wait_until
from tests.faults.hold import Hold, Moment, send_in_two


class Wrong(Enum):
    """How a call is answered wrongly."""

    #: 503, and nothing happened.
    BUSY = auto()
    #: The archive did it, and its answer never arrives.
    ANSWER_LOST = auto()
    #: Half of the answer's body, then the connection ends.
    TRUNCATED = auto()
    #: "Success", and nothing is stored.
    NOT_STORED = auto()
    #: 507 Insufficient Storage, and nothing is stored.
    FULL = auto()


@dataclass
class Plan:
    """Which calls are answered wrongly, and how often still."""

    wrong: Wrong
    #: Given method and path.
    where: Callable[[str, str], bool]
    times: int = 1


def is_store(method: str, path: str) -> bool:
    """A lab stores an object."""
    return (method, path) == ("POST", "/instances")


def is_download(method: str, path: str) -> bool:
    """A lab downloads a series."""
    return method == "GET" and path.startswith("/dicom-web/")


def is_read_back(method: str, path: str) -> bool:
    """A lab reads what it has stored."""
    return method == "GET" and path.startswith("/instances/")


def is_any(method: str, path: str) -> bool:
    """Every call."""
    return True


class _Server(ThreadingHTTPServer):
    """Says nothing of callers that were killed or cut off: that is what happens here."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what is no broken connection."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class ArchiveDoor:
    """Passes calls on to the archive, except those of its plan."""

    def __init__(self, archive_port: int) -> None:
        self._archive_port = archive_port
        self._plan: Plan | None = None
        self._hold: Hold | None = None
        self._holds: list[Hold] = []
        self._lock = threading.Lock()
        #: Calls that were answered wrongly since the last plan.
        self.done = 0
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                door._answer(self, None)

            def do_DELETE(self) -> None:
                door._answer(self, None)

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                door._answer(self, self.rfile.read(length))

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Say nothing."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="archive door", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def go_wrong(self, wrong: Wrong, where: Callable[[str, str], bool], times: int = 1) -> None:
        """Answer the next so many of these calls wrongly."""
        with self._lock:
            self._plan, self.done = Plan(wrong, where, times), 0

    def hold(
        self,
        where: Callable[[str, str], bool],
        moment: Moment = Moment.BEFORE,
        *,
        skip: int = 0,
    ) -> None:
        """Keep one of these calls waiting, after `skip` others, until `release`."""
        with self._lock:
            self._hold = Hold(where, moment, skip)
            self._holds.append(self._hold)

    def wait_held(self, seconds: float) -> None:
        """Return once a call waits; raises `ServiceFailed` when none came."""
        wait_until(self._holds[-1].reached.is_set, "call where it was to be held", seconds)

    def release(self) -> None:
        """Let every call go on from where it stands, whether or not its caller still lives."""
        with self._lock:
            for hold in self._holds:
                hold.over.set()
            self._hold, self._holds = None, []

    def mend(self) -> None:
        """Answer everything as the archive does."""
        with self._lock:
            self._plan = None
        self.release()

    def _held(self, method: str, path: str) -> Hold | None:
        with self._lock:
            hold = self._hold
            if hold is None or not hold.where(method, path):
                return None
            if hold.skip:
                hold.skip -= 1
                return None
            self._hold = None
            return hold

    def _due(self, method: str, path: str) -> Wrong | None:
        with self._lock:
            plan = self._plan
            if plan is None or plan.times == 0 or not plan.where(method, path):
                return None
            plan.times -= 1
            self.done += 1
            return plan.wrong

    def _answer(self, call: BaseHTTPRequestHandler, body: bytes | None) -> None:
        wrong = self._due(call.command, call.path)
        if wrong in {Wrong.BUSY, Wrong.FULL}:
            _say(call, 503 if wrong is Wrong.BUSY else 507, b"{}")
            return
        if wrong is Wrong.NOT_STORED:
            said = {"Status": "Success", "ID": "-".join(["0badcafe"] * 5)}
            _say(call, 200, json.dumps(said).encode())
            return
        hold = self._held(call.command, call.path)
        if hold:
            hold.stay(Moment.BEFORE)
        connection = http.client.HTTPConnection("127.0.0.1", self._archive_port, timeout=60)
        try:
            headers = {k: v for k, v in call.headers.items() if k.lower() != "host"}
            if hold and hold.moment is Moment.HALFWAY and body:
                send_in_two(connection, call, body, headers, hold)
            else:
                connection.request(call.command, call.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        except OSError:
            # The archive is down: so is its door.
            call.close_connection = True
            return
        finally:
            connection.close()
        if hold:
            hold.stay(Moment.AFTER)
        if wrong is Wrong.ANSWER_LOST:
            call.close_connection = True
            return
        _pass_back(call, answer, data, data[: len(data) // 2] if wrong is Wrong.TRUNCATED else data)


def _pass_back(
    call: BaseHTTPRequestHandler, answer: http.client.HTTPResponse, data: bytes, shown: bytes
) -> None:
    """The archive's answer, of whose body only `shown` arrives."""
    call.send_response(answer.status)
    for key, value in answer.getheaders():
        if key.lower() not in {"transfer-encoding", "connection", "content-length"}:
            call.send_header(key, value)
    call.send_header("Content-Length", str(len(data)))
    try:
        call.end_headers()
        call.wfile.write(shown)
    except ConnectionError:
        # Its lab was killed or cut off meanwhile.
        call.close_connection = True
    if shown is not data:
        call.close_connection = True


def _say(call: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    call.send_response(status)
    call.send_header("Content-Type", "application/json")
    call.send_header("Content-Length", str(len(body)))
    call.end_headers()
    call.wfile.write(body)
