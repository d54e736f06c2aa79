"""An HTTP gate before a real Orthanc: it can hold or refuse what a lab stores."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


class Gate:
    """Passes everything on, except POSTs to ``/instances`` when it is told otherwise."""

    def __init__(
        self,
        archive_port: int,
        *,
        closes_after_stores: int | None = None,
        refuses_stores: bool = False,
    ) -> None:
        self._left = closes_after_stores
        self._refuses = refuses_stores
        self._held = threading.Event()
        self._opened = threading.Event()
        self._lock = threading.Lock()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass_on(None)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path == "/instances" and not gate._lets_store():
                    self.send_response(403)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self._pass_on(body)

            def _pass_on(self, body: bytes | None) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", archive_port, timeout=60)
                headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
                self.send_response(answer.status)
                for key, value in answer.getheaders():
                    if key.lower() not in {"transfer-encoding", "connection", "content-length"}:
                        self.send_header(key, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                connection.close()

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Say nothing: a test's output is its own."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What is held is refused, not passed on: whoever asked is dead by now.
        self._refuses = True
        self._opened.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_held(self, timeout: float = 60.0) -> None:
        """Wait until a store is held at the gate."""
        assert self._held.wait(timeout), "nothing came to the gate"

    def open(self) -> None:
        """Pass on what is held, and whatever comes from now on."""
        with self._lock:
            self._left = None
        self._opened.set()

    def accept_stores(self) -> None:
        self._refuses = False

    def _lets_store(self) -> bool:
        with self._lock:
            closed = self._left == 0
            if self._left:
                self._left -= 1
        if closed:
            self._held.set()
            self._opened.wait()
        return not self._refuses
