"""``mri-web serve`` in a process of its own, with a database that a test can read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from infra.demo.reader import Reader
from infra.local.orthanc import OrthancNode
from infra.local.ports import free_ports
from infra.local.process import Service, wait_until
from infra.local.settings import REPOSITORY, child_environment
from tests.asks_at_once import ASKS_AT_ONCE
from tests.integration.nodes import TestBroker

PASSWORD = "a long pass phrase"

#: Seconds for a site to start or to stop on a busy machine.
PATIENCE = 60.0


class ServedSite:
    """One site; a restart finds what the process before it has left."""

    def __init__(
        self, root: Path, broker: TestBroker, archive: OrthancNode, **settings: str
    ) -> None:
        (self.port,) = free_ports(1)
        self.root = root
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = child_environment(
            {
                "RABBITMQ_URL": broker.url("web"),
                "ORTHANC_URL": archive.url,
                "ORTHANC_USER": archive.user,
                "ORTHANC_PASSWORD": archive.password,
                "WEB_PORT": str(self.port),
                "VAR_DIR": str(root),
                "SECRET_KEY": "s" * 50,
                "PAGE_USER_PASSWORD": PASSWORD,
                **ASKS_AT_ONCE,
                **settings,
            }
        )
        self.service = Service(
            "the site",
            (sys.executable, "-m", "web.cli", "serve"),
            log=root / "site.log",
            env=self._environment,
            cwd=REPOSITORY,
        )

    def prepare(self) -> None:
        """Make the database and its reader, and name the lab whose word counts."""
        lab = ("web.cli", "lab", "add", "lab1", "--pool", "lab", "--registered-only")
        for module in (("web.cli", "migrate", "--verbosity", "0"), ("infra.demo.user",), lab):
            subprocess.run(
                (sys.executable, "-m", *module),
                env=self._environment,
                cwd=REPOSITORY,
                stdout=subprocess.DEVNULL,
                check=True,
            )

    def start(self) -> None:
        self.service.start()
        self.service.wait_until(self._answers, "answer", PATIENCE)

    def reader(self) -> Reader:
        return Reader(self.url, "demo", PASSWORD)

    def shell(self, code: str) -> None:
        """Run Python with the site's models and database, in a process of its own."""
        subprocess.run(
            (sys.executable, "-m", "web.cli", "shell", "--verbosity", "0", "-c", code),
            env=self._environment,
            cwd=REPOSITORY,
            check=True,
        )

    def terminate(self) -> None:
        """SIGTERM; `ended` waits for the end."""
        assert self.service.pid is not None
        os.kill(self.service.pid, signal.SIGTERM)

    def ended(self) -> int:
        """Wait for the end; the exit status, or the negative number of the signal that killed."""
        pid = self.service.pid
        assert pid is not None
        wait_until(lambda: not self.service.alive, "end", PATIENCE)
        # WNOWAIT: the service reaps it.
        end = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert end is not None
        self.service.kill()
        return end.si_status if end.si_code == os.CLD_EXITED else -end.si_status

    def log(self) -> str:
        return self.service.log.read_text("utf-8")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/login/", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False


@contextmanager
def served_site(
    root: Path, broker: TestBroker, archive: OrthancNode, **settings: str
) -> Iterator[ServedSite]:
    """A site that answers; whatever a test has made of it, it is ended."""
    site = ServedSite(root, broker, archive, **settings)
    site.prepare()
    site.start()
    try:
        yield site
    finally:
        site.service.stop()
