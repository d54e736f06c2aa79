"""What systemd is told, heard on a socket of the test in its place."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from infra.local.orthanc import OrthancNode
from infra.local.ports import free_ports
from infra.local.process import wait_until
from tests.integration.lab import HeldBundle, LabProcess
from tests.integration.nodes import TestBroker
from web import systemd


class NotifySocket:
    """The socket that systemd gives a service."""

    def __init__(self) -> None:
        # An abstract name: a path may be too long for a socket.
        self.name = f"@labrelay-{uuid4().hex}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.name[1:])
        self._socket.setblocking(False)
        self.heard: list[str] = []

    def said(self, state: str) -> bool:
        self.listen()
        return state in self.heard

    def listen(self) -> None:
        while True:
            try:
                self.heard += self._socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return

    def close(self) -> None:
        self._socket.close()


@contextmanager
def door(port: int, to: int) -> Iterator[None]:
    """Let connections to `port` through to the broker's port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", to)) as broker:
                back = threading.Thread(target=pipe, args=(broker, self.request))
                back.start()
                pipe(self.request, broker)
                back.join()

    server = socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def pipe(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def notify() -> Iterator[NotifySocket]:
    listening = NotifySocket()
    yield listening
    listening.close()


def test_a_lab_is_ready_once_it_takes_requests_and_alive_until_it_is_told_to_stop(
    tmp_path: Path, rabbit: TestBroker, orthanc: OrthancNode, notify: NotifySocket
) -> None:
    (port,) = free_ports(1)
    lab = LabProcess(
        tmp_path,
        broker=rabbit,
        broker_port=port,
        archive=orthanc,
        archive_url=orthanc.url,
        bundle=HeldBundle(tmp_path).path,
        notify_socket=notify.name,
    )
    lab.start()
    try:
        # Its models are loaded, and it is alive: but no broker answers yet.
        lab.wait_for("broker.away", 120)
        wait_until(lambda: notify.said("WATCHDOG=1"), "say that it is alive", 30)
        assert not notify.said("READY=1")
        assert notify.said("STATUS=waiting for the broker")
        with door(port, rabbit.node.amqp_port):
            wait_until(lambda: notify.said("READY=1"), "say that it is ready", 60)
            assert lab.count("broker.consuming") == 1
            wait_until(lambda: notify.said("STATUS=taking requests"), "say what it does", 15)
            notify.heard.clear()
            wait_until(lambda: notify.said("WATCHDOG=1"), "say that it is alive, again", 15)
            assert not notify.said("STOPPING=1")
            lab.service.terminate()
            wait_until(lambda: notify.said("STOPPING=1"), "say that it stops", 15)
            wait_until(lambda: not lab.service.alive, "stop", 30)
    finally:
        lab.service.stop()


@pytest.mark.asyncio
async def test_a_site_is_ready_once_its_port_answers_and_alive_while_its_loop_turns(
    notify: NotifySocket, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    settings.SITE = settings.SITE.model_copy(update={"web_port": port})
    monkeypatch.setenv("NOTIFY_SOCKET", notify.name)
    monkeypatch.setattr(systemd, "WATCHDOG_SECONDS", 0.1)
    task = asyncio.create_task(systemd.watchdog())
    await asyncio.sleep(0.3)
    assert not notify.said("READY=1")
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", port)
    async with server:
        await asyncio.sleep(0.5)
        assert notify.said("READY=1")
        assert notify.heard.count("WATCHDOG=1") >= 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert notify.said("STOPPING=1")


@pytest.mark.asyncio
async def test_without_systemd_nothing_is_said_and_nothing_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    # Returns, and does not knock at a port that a host project may never open.
    await asyncio.wait_for(systemd.watchdog(), timeout=1)
