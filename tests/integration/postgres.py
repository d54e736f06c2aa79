"""A private PostgreSQL on loopback, from Debian's package; it keeps its data over a restart."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from infra.local.ports import free_ports
from infra.local.process import Service, ServiceFailed
from infra.local.settings import child_environment

#: Where Debian puts each version.
VERSIONS = Path("/usr/lib/postgresql")

#: Who runs it where the tests run as root, which it refuses to be.
USER = "postgres"


class PostgresNode:
    """One server with an empty database ``labrelay``."""

    def __init__(self, root: Path) -> None:
        (self.port,) = free_ports(1)
        self._data = root / "data"
        found = sorted(VERSIONS.glob("*/bin/postgres"))
        if not found:
            raise ServiceFailed(f"no PostgreSQL under {VERSIONS}: install Debian's postgresql")
        self._programs = found[-1].parent
        self._as_user: tuple[str, ...] = ()
        if os.geteuid() == 0:
            shutil.chown(root, USER, pwd.getpwnam(USER).pw_gid)
            self._as_user = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
        self._run("initdb", "-D", str(self._data), "-U", USER, "--auth=trust", "-E", "UTF8")
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
        }
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self.service = Service(
            "PostgreSQL",
            (*self._as_user, str(self._programs / "postgres"), "-D", str(self._data), *options),
            log=root / "postgres.log",
        )

    @property
    def url(self) -> str:
        """For ``DATABASE_URL``."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/labrelay"

    def start(self) -> None:
        """Start and wait until it answers."""
        self.service.start()
        self.service.wait_until(self._answers, "answer", 60)

    def stop(self) -> None:
        """Stop at once, whoever is connected; nothing that was committed is lost."""
        self.service.kill()
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def create(self) -> None:
        """Make the database."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "labrelay")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url.replace("/labrelay", "/postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            (*self._as_user, str(self._programs / program), *arguments),
            env=child_environment(),
            cwd="/",
            stdout=subprocess.DEVNULL,
            check=True,
        )


@contextmanager
def running_postgres() -> Iterator[PostgresNode]:
    """Start one. Not under pytest's own directory: into that root's server user may not look."""
    with tempfile.TemporaryDirectory(prefix="labrelay-postgres-") as root:
        node = PostgresNode(Path(root))
        try:
            node.start()
            node.create()
            yield node
        finally:
            node.stop()
