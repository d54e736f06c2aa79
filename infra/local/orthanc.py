"""A private Orthanc with DICOMweb: log-in required, DICOM port closed, data of its own."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.local.debian_root import inside, installed
from infra.local.private_files import private_directory, write_private
from infra.local.process import Service, ServiceFailed
from infra.local.settings import REPOSITORY, child_environment

SERVER = "/usr/sbin/Orthanc"

#: What operators get too; comments in whole lines only, as Orthanc accepts them.
BASE_CONF = REPOSITORY / "infra" / "orthanc" / "orthanc.json"

#: Where the package orthanc-dicomweb puts its plugin: Debian's place, then the one of others.
DICOMWEB_PLUGINS = (
    Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so"),
    Path("/usr/local/share/orthanc/plugins/libOrthancDicomWeb.so"),
)

#: Seconds until it must answer: 0.2 alone, more while other programs hold the processors.
START_SECONDS = 30.0

#: Seconds for a clean stop: about 2.5, as it waits for its threads.
STOP_SECONDS = 20.0


class OrthancNode:
    """One archive under `root`; the same `root` gives the same studies again.

    1.10 listens on every address, whatever it is told, and refuses other machines request by
    request; 1.12.10 and newer bind loopback. Both ask for the password.
    """

    def __init__(
        self,
        root: Path,
        *,
        http_port: int,
        user: str,
        password: str,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """`options` of Orthanc stand beside, or in place of, those of `BASE_CONF`."""
        self.root = root.resolve()
        self.http_port = http_port
        self.user = user
        self.password = password
        self.options = dict(options or {})
        self.url = f"http://127.0.0.1:{http_port}"
        self.server = Service(
            "Orthanc",
            inside((SERVER, str(self.root / "orthanc.json"))),
            log=self.root / "log" / "orthanc.log",
            env=child_environment({"HOME": str(self.root)}),
            # Orthanc writes caches into its working directory.
            cwd=self.root,
        )

    def start(self) -> None:
        """Start it; `wait_ready` says when it answers."""
        private_directory(self.root)
        write_private(self.root / "orthanc.json", json.dumps(self._configuration(), indent=2))
        self.server.start()

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Wait until REST API and DICOMweb answer, and refuse whoever gives no password."""
        self.server.wait_until(
            lambda: self._status("/dicom-web/studies?limit=1", log_in=True) == 200,
            f"answer with DICOMweb on port {self.http_port}",
            timeout,
        )
        if self._status("/system", log_in=False) != 401:
            raise ServiceFailed("Orthanc answers without a password: it ignored its configuration")

    def stop(self) -> None:
        """Stop it cleanly."""
        self.server.stop(STOP_SECONDS)

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL)."""
        self.server.kill()

    def restart(self) -> None:
        """Stop it cleanly, start it on the same data and wait until it is ready."""
        self.stop()
        self.start()
        self.wait_ready()

    def _configuration(self) -> dict[str, Any]:
        lines = BASE_CONF.read_text("utf-8").splitlines()
        base: dict[str, Any] = json.loads(
            "\n".join(line for line in lines if not line.lstrip().startswith("//"))
        )
        return (
            base
            | self.options
            | {
                "HttpPort": self.http_port,
                "StorageDirectory": str(self.root / "storage"),
                "IndexDirectory": str(self.root / "storage"),
                "Plugins": [str(dicomweb_plugin())],
                "RegisteredUsers": {self.user: self.password},
            }
        )

    def _status(self, path: str, *, log_in: bool) -> int:
        """Return the HTTP status of a GET, 0 while nobody answers."""
        request = urllib.request.Request(self.url + path)  # noqa: S310 - our own http URL
        if log_in:
            token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        # A proxy of the environment must not see requests to loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=5.0) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0


def dicomweb_plugin() -> Path:
    """Return the installed DICOMweb plugin; `ServiceFailed` names the package otherwise."""
    for path in DICOMWEB_PLUGINS:
        if installed(path):
            return path
    raise ServiceFailed("Orthanc has no DICOMweb plugin here: install orthanc-dicomweb")
