"""The door of a real server: sockets over the wire, and one process for a site. No broker runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from infra.demo.reader import Reader
from infra.local.ports import free_ports
from infra.local.process import Service, wait_until
from infra.local.settings import REPOSITORY, child_environment

PASSWORD = "a long pass phrase"


class Site:
    """Served by uvicorn itself, as another server than `mri-web serve` might."""

    def __init__(self, root: Path) -> None:
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = child_environment(
            {
                "VAR_DIR": str(root),
                "SECRET_KEY": "s" * 50,
                "RABBITMQ_URL": "amqp://web:none@127.0.0.1:9/mri",
                "PAGE_USER_PASSWORD": PASSWORD,
            }
        )
        self.server = self.process(self.port, root / "site.log")

    def process(self, port: int, log: Path) -> Service:
        return Service(
            "the site",
            (sys.executable, "-m", "uvicorn", "web.asgi:application", "--port", str(port)),
            log=log,
            env=self.environment,
            cwd=REPOSITORY,
        )

    def prepare(self) -> None:
        for module in (("web.cli", "migrate", "--verbosity", "0"), ("infra.demo.user",)):
            subprocess.run(
                (sys.executable, "-m", *module), env=self.environment, cwd=REPOSITORY, check=True
            )

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/login/", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.prepare()
    site.server.start()
    try:
        site.server.wait_until(site.answers, "answer", 60)
        yield site
    finally:
        site.server.stop()


@pytest.fixture
def reader(site: Site) -> Iterator[Reader]:
    with Reader(site.url, "demo", PASSWORD) as reader:
        yield reader


def test_a_socket_of_another_site_gets_403_at_the_handshake(site: Site, reader: Reader) -> None:
    url = f"ws://127.0.0.1:{site.port}/ws/live/"
    cookie = {"Cookie": f"sessionid={reader._client.cookies['sessionid']}"}
    for origin in ({"Origin": "https://evil.example"}, {"Origin": "http://127.0.0.1:1"}, {}):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, additional_headers=cookie | origin, proxy=None)
        assert refused.value.response.status_code == 403


def test_a_log_out_closes_the_socket_of_the_other_tab_at_once(reader: Reader) -> None:
    with reader.socket() as socket:
        socket.send(json.dumps({"type": "follow", "worklist": True}))
        assert json.loads(socket.recv(timeout=10))["type"] == "snapshot"
        token = reader._client.cookies["csrftoken"]
        reader._client.post("/logout/", data={"csrfmiddlewaretoken": token})
        with pytest.raises(ConnectionClosed) as closed:
            drain(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401


def drain(socket: Any) -> None:
    while True:
        socket.recv(timeout=10)


def test_a_second_process_on_the_same_site_does_not_serve(site: Site, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    second = site.process(port, tmp_path / "second.log")
    second.start()
    try:
        wait_until(lambda: not second.alive, "give up", 60)
    finally:
        second.stop()
    assert "another process serves this site already" in second.log.read_text("utf-8")
    assert site.answers()
