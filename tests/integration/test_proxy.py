"""The reverse proxy of docs/operations.md before the served site: that text, on a real nginx."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
from collections.abc import Iterator

import httpx
import pytest
from websockets.sync.client import connect

from infra.demo.reader import Reader
from infra.local.orthanc import OrthancNode
from infra.local.ports import free_ports
from infra.local.process import Service
from infra.local.settings import REPOSITORY
from tests.integration.lab import store_small_study
from tests.integration.nodes import TestBroker
from tests.integration.served import PASSWORD, served_site

PATIENCE = 60.0

#: Around the documented text: what every nginx.conf has, for a nginx of its own.
_AROUND = """
{user}
daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    {text}
}}
"""


def documented(port: int, site_port: int) -> str:
    """The text, with ports of the test, without TLS, and with times that a test can wait for."""
    guide = (REPOSITORY / "docs" / "operations.md").read_text("utf-8")
    found = re.search(r"<!-- file: nginx.conf -->\n```nginx\n(.*?)```", guide, re.DOTALL)
    assert found is not None
    text = found[1]
    for old, new in (
        (r"listen 443 ssl;", f"listen 127.0.0.1:{port};"),
        (r"ssl_certificate\w*\s+\S+;", ""),
        (r"127\.0\.0\.1:8000", f"127.0.0.1:{site_port}"),
        (r"_timeout 10s;", "_timeout 1s;"),
    ):
        text, changed = re.subn(old, new, text)
        assert changed, old
    return text


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, rabbit: TestBroker, orthanc: OrthancNode
) -> Iterator[str]:
    """The address of the proxy."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")  # noqa: TID251 - PATH
    if nginx is None:
        pytest.fail("nginx is missing: install the package nginx")
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    root = tmp_path_factory.mktemp("nginx")
    with served_site(
        tmp_path_factory.mktemp("site"), rabbit, orthanc, LEGACY_WAIT_SECONDS="8"
    ) as site:
        user = "user root;" if os.geteuid() == 0 else ""
        text = _AROUND.format(user=user, root=root, text=documented(port, site.port))
        (root / "nginx.conf").write_text(text, "utf-8")
        command = (nginx, "-p", str(root), "-e", str(root / "error.log"))
        server = Service(
            "nginx", (*command, "-c", str(root / "nginx.conf")), log=root / "nginx.log"
        )
        server.start()
        try:
            server.wait_until(lambda: answers(url), "answer", PATIENCE)
            yield url
        finally:
            server.stop()


def answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/login/", timeout=5).status_code == 200
    return False


def line(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def rest(wire: socket.socket) -> bytes:
    """All that the other end still says, until it closes."""
    text = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := wire.recv(65_536):
            text += part
    return bytes(text)


def test_half_sent_headers_and_bodies_are_ended_at_the_proxy(proxy: str) -> None:
    for start in (
        b"GET /login/ HTTP/1.1\r\nHost: 127",
        b"POST /login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx",
    ):
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(line(proxy)) for _ in range(40)]
            for wire in wires:
                wire.sendall(start)
            for wire in wires:
                assert b" 200 " not in rest(wire)


def test_a_body_that_is_too_large_is_refused_by_the_site_in_its_form_or_by_the_proxy(
    proxy: str,
) -> None:
    address = f"{proxy}/api/v1/requests"
    small = httpx.post(address, content=bytes(3_000_000), timeout=PATIENCE)
    assert small.status_code == 413
    assert small.json()["error"]["message"] == "The request is too large."
    with line(proxy) as wire:
        head = f"POST {address} HTTP/1.1\r\nHost: x\r\nContent-Length: 500000000\r\n\r\n"
        wire.sendall(head.encode())
        assert rest(wire).startswith(b"HTTP/1.1 413 ")


def test_a_reader_logs_in_waits_for_a_call_and_follows_by_a_socket_through_the_proxy(
    proxy: str, orthanc: OrthancNode
) -> None:
    study = store_small_study(orthanc)
    series = [item.series_id for item in study.inputs]
    with Reader(proxy, "demo", PASSWORD) as reader:
        cookies = "; ".join(f"{k}={v}" for k, v in reader.cookies.items())
        with connect(
            proxy.replace("http", "ws", 1) + "/ws/live/",
            additional_headers={"Cookie": cookies, "Origin": proxy},
            proxy=None,
        ) as page:
            waited = reader.post(
                f"/api/mri/segmentation/series/{series[0]}/segment/",
                {"sequence_series_ids": series},
            )
            assert (waited.status_code, waited.json()["status"]) == (504, "timeout")
            page.send(json.dumps({"type": "follow", "worklist": True}))
            while json.loads(page.recv(timeout=PATIENCE))["type"] != "snapshot":
                pass


def test_what_a_caller_says_of_its_address_is_not_believed(proxy: str) -> None:
    # 300 calls a minute are taken from an address: another one for each would be no limit.
    path = f"/api/mri/segmentation/series/{'0123abcd-' * 4}0123abcd/segment/"
    with httpx.Client(base_url=proxy, timeout=PATIENCE) as stranger:
        statuses = {
            stranger.post(
                path, json={}, headers={"X-Forwarded-For": f"192.0.{number // 250}.{number % 250}"}
            ).status_code
            for number in range(310)
        }
    assert statuses == {401, 429}
