"""Debian's nginx before an Orthanc, with the recipe of infra/nginx: on loopback, without TLS."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from infra.local.orthanc import OrthancNode
from infra.local.ports import free_ports
from infra.local.private_files import private_directory, write_private
from infra.local.process import Service
from infra.local.settings import REPOSITORY

NGINX = "/usr/sbin/nginx"

RECIPE = REPOSITORY / "infra" / "nginx"

#: What is particular to an installation, around the recipe.
_CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid {root}/nginx.pid;
error_log {root}/error.log warn;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    include {recipe}/labs-http.conf;
    server {{
        listen 127.0.0.1:{port};
        include {recipe}/labs-server.conf;
    }}
}}
"""


@dataclass(frozen=True)
class LabProxy:
    """What a lab is given in the place of Orthanc, and its name and password there."""

    port: int
    user: str
    password: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def running_proxy(root: Path, archive: OrthancNode) -> Iterator[LabProxy]:
    """Start it before this archive; ended with all its processes."""
    (port,) = free_ports(1)
    proxy = LabProxy(port, "lab1", "a password that is not Orthanc's")
    private_directory(root / "labrelay")
    token = base64.b64encode(f"{archive.user}:{archive.password}".encode()).decode()
    files = {
        "orthanc-address.conf": f"server 127.0.0.1:{archive.http_port};\n",
        "orthanc-account.conf": f'proxy_set_header Authorization "Basic {token}";\n',
        "labs.htpasswd": f"{proxy.user}:{{PLAIN}}{proxy.password}\n",
    }
    for name, text in files.items():
        write_private(root / "labrelay" / name, text)
    # Its workers would be nobody's, to whom the files of a test are closed.
    user = "user root;" if os.getuid() == 0 else ""
    text = _CONFIGURATION.format(root=root, recipe=RECIPE, port=port, user=user)
    write_private(root / "nginx.conf", text)
    command = (
        NGINX,
        "-p",
        str(root),
        "-c",
        str(root / "nginx.conf"),
        "-e",
        str(root / "error.log"),
    )
    service = Service("nginx", command, log=root / "output.log", cwd=root)
    service.start()
    try:
        service.wait_until(lambda: _answers(proxy), "answer", 30.0)
        yield proxy
    finally:
        service.stop()


def _answers(proxy: LabProxy) -> bool:
    try:
        return httpx.get(f"{proxy.url}/system", timeout=5, trust_env=False).status_code == 401
    except httpx.HTTPError:
        return False
