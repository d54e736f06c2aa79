"""All of Labrelay on one machine: broker, archive, web and lab as private processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from infra.local.orthanc import OrthancNode
from infra.local.passwords import stored_passwords
from infra.local.ports import free_ports, require_free
from infra.local.private_files import private_directory, write_private
from infra.local.process import Service, ServiceFailed
from infra.local.rabbitmq import RabbitNode
from infra.local.settings import REPOSITORY, VAR, LocalSettings, child_environment
from messages import topology

#: The lab of the stack and its pool.
LAB, POOL = "lab1", "lab"

#: Who logs in to the page; staff, so that the dead letters can be seen.
PAGE_USER = "demo"

#: Seconds for the lab to load torch, MONAI and the bundles on a slow machine.
LAB_SECONDS = 180.0

#: Seconds for the site to answer.
WEB_SECONDS = 60.0

#: Where a stack keeps the settings of its site, passwords included (0600).
WEB_SETTINGS = "web.json"

#: Bundles that ship with the project.
BUNDLES = REPOSITORY / "consumer" / "bundles"

#: Where the set-up puts the viewer; the page says so where it could not.
VIEWER = VAR / "viewer"


@dataclass(frozen=True)
class Ports:
    """Where the processes listen, all on loopback."""

    web: int
    amqp: int
    dist: int
    epmd: int
    orthanc: int

    @classmethod
    def of(cls, settings: LocalSettings) -> Ports:
        """The ports of the demo; raises `PortTaken` with a sentence when one is in use."""
        ports = cls(
            web=settings.web_port,
            amqp=settings.amqp_port,
            dist=settings.rabbit_dist_port,
            epmd=settings.epmd_port,
            orthanc=settings.orthanc_port,
        )
        for port, variable in (
            (ports.web, "WEB_PORT"),
            (ports.amqp, "AMQP_PORT"),
            (ports.dist, "RABBIT_DIST_PORT"),
            (ports.epmd, "EPMD_PORT"),
            (ports.orthanc, "ORTHANC_PORT"),
        ):
            require_free(port, variable)
        return ports

    @classmethod
    def free(cls) -> Ports:
        """Any free ports: for smoke runs and tests."""
        return cls(*free_ports(len(fields(cls))))


class Stack:
    """The four processes under one directory; the same directory gives the same data again."""

    def __init__(
        self,
        root: Path,
        ports: Ports,
        *,
        model_path: Path = BUNDLES,
        web_settings: dict[str, str] | None = None,
        lab_settings: dict[str, str] | None = None,
        further_labs: Mapping[str, str] | None = None,
        web_seconds: float = WEB_SECONDS,
        lab_module: str = "consumer",
        tree: Path = REPOSITORY,
    ) -> None:
        """`further_labs`: pool by name, of labs that the broker lets in; `lab` makes them.

        `web_seconds` are for the site to answer after each start. `lab_module` is what runs as the
        lab, with the arguments of `mri-consumer`. `tree` holds the programs: another version of
        them, to try an upgrade.
        """
        self.root = root.resolve()
        private_directory(self.root)
        self.ports = ports
        self._web_seconds = web_seconds
        self._lab_module = lab_module
        self._tree = tree
        self.passwords = stored_passwords(
            self.root / "secrets.json",
            ["admin", "web", LAB, "orthanc", PAGE_USER, "secret_key", *(further_labs or {})],
        )
        self._pools = {LAB: POOL, **(further_labs or {})}
        self.rabbitmq = RabbitNode(
            self.root / "rabbitmq",
            amqp_port=ports.amqp,
            dist_port=ports.dist,
            epmd_port=ports.epmd,
            definitions=topology.with_users(self.passwords, self._pools),
        )
        self.orthanc = OrthancNode(
            self.root / "orthanc",
            http_port=ports.orthanc,
            user="labrelay",
            password=self.passwords["orthanc"],
        )
        self._web_settings = {
            **self._archive_settings(),
            "RABBITMQ_URL": self.rabbitmq.url("web", self.passwords["web"]),
            "WEB_PORT": str(ports.web),
            "VAR_DIR": str(self.root / "web"),
            "OHIF_DIR": str(VIEWER),
            "SECRET_KEY": self.passwords["secret_key"],
            **(web_settings or {}),
        }
        self._web_environment = child_environment(self._web_settings)
        self.web = self.site()
        self.consumer = self.lab(model_path, lab_settings or {})

    @property
    def url(self) -> str:
        """The page."""
        return f"http://127.0.0.1:{self.ports.web}"

    @property
    def page_password(self) -> str:
        """Of `PAGE_USER`."""
        return self.passwords[PAGE_USER]

    def site(
        self,
        module: Sequence[str] = ("web.cli", "serve"),
        settings: Mapping[str, str] | None = None,
        log: str = "web",
    ) -> Service:
        """One more process with the settings of the site; not started."""
        return Service(
            "the site",
            (sys.executable, "-m", *module),
            log=self.root / "log" / f"{log}.log",
            env=self._web_environment | dict(settings or {}),
            cwd=self._tree,
        )

    def lab(
        self, model_path: Path, settings: dict[str, str], log: str = "consumer", name: str = LAB
    ) -> Service:
        """One more process of the same lab, or of a further one; not started."""
        run_directory = self.root / "run" / log
        run_directory.mkdir(parents=True, exist_ok=True)
        return Service(
            "the lab",
            (sys.executable, "-m", self._lab_module, "run"),
            log=self.root / "log" / f"{log}.log",
            env=child_environment(
                {
                    **self._archive_settings(),
                    "RABBITMQ_URL": self.rabbitmq.url(name, self.passwords[name]),
                    "LAB_POOL": self._pools[name],
                    "MODEL_PATH": str(model_path),
                    # Of each process: the demo's lab and a smoke run's have the same name.
                    "RUN_DIR": str(run_directory),
                    **settings,
                }
            ),
            cwd=self._tree,
        )

    def services(self) -> dict[str, Service]:
        """The processes by the names that `demo.json` uses."""
        return {
            "rabbitmq": self.rabbitmq.broker,
            "orthanc": self.orthanc.server,
            "web": self.web,
            "consumer": self.consumer,
        }

    def start(self, say: Callable[[str], None], *, with_lab: bool = True) -> None:
        """Start everything and wait until the page answers and the lab takes requests."""
        say("starting RabbitMQ and Orthanc")
        self.rabbitmq.start()
        self.orthanc.start()
        # Also for later, when nothing runs: `make web` reads them.
        write_private(self.root / WEB_SETTINGS, json.dumps(self._web_settings, indent=2) + "\n")
        say("preparing the database")
        self.prepare_database()
        self.register_labs()
        self.orthanc.wait_ready()
        self.rabbitmq.wait_ready()
        say("starting the site and the lab (which loads torch and the models)")
        if with_lab:
            self.consumer.start()
        self.start_web()
        if with_lab:
            self.wait_lab()

    def start_web(self) -> None:
        """Start the site and wait until it answers."""
        self.web.start()
        self.wait_web()

    def wait_web(self) -> None:
        """Wait until the log-in page answers."""
        import httpx

        def answers() -> bool:
            try:
                return httpx.get(f"{self.url}/login/", timeout=5.0).status_code == 200
            except httpx.HTTPError:
                return False

        self.web.wait_until(answers, "answer on its port", self._web_seconds)

    def wait_lab(self) -> None:
        """Wait until the broker sees a consumer on the pool's queue."""
        queue = topology.requests_queue(POOL)

        def consuming() -> bool:
            rows = self.rabbitmq.ctl(
                "-q", "-p", topology.VHOST, "list_queues", "name", "consumers"
            ).splitlines()
            return any(row.split() == [queue, "1"] for row in rows)

        self.consumer.wait_until(consuming, "take requests", LAB_SECONDS)

    def prepare_database(self) -> None:
        """Bring the schema up to date and make the page's user."""
        self._prepare("web.cli", "migrate", "--verbosity", "0")
        self._prepare("infra.demo.user")

    def register_labs(self) -> None:
        """Tell the site which labs there are and what pool each is of, as staff would.

        It believes no other. The broker has their users from its definitions.
        """
        for lab, pool in self._pools.items():
            self._prepare("web.cli", "lab", "add", lab, "--pool", pool, "--registered-only")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module of the site with its settings to its end, however that is."""
        return subprocess.run(
            (sys.executable, "-m", *arguments),
            env=self._web_environment | {"PAGE_USER_PASSWORD": self.page_password},
            cwd=self._tree,
            capture_output=True,
            text=True,
            check=False,
        )

    def _prepare(self, *arguments: str) -> None:
        done = self.command(*arguments)
        if done.returncode:
            raise ServiceFailed(f"the database could not be prepared:\n{done.stderr[-2000:]}")

    def stop(self) -> None:
        """Stop everything, those who speak to others first."""
        self.consumer.stop(grace=30.0)
        self.web.stop()
        self.orthanc.stop()
        self.rabbitmq.stop()

    def update_record(self) -> None:
        """Write ``demo.json`` anew: a process has another id."""
        record = json.loads((self.root / "demo.json").read_text("utf-8"))
        self.write_record(record["study"])

    def remove_record(self) -> None:
        """Remove ``demo.json``: its process ids would name somebody else's processes one day."""
        (self.root / "demo.json").unlink(missing_ok=True)

    def write_record(self, study: dict[str, object]) -> None:
        """Write ``demo.json`` (0600): where everything is, for scripts."""
        record = {
            "urls": {
                "web": self.url,
                "orthanc": self.orthanc.url,
                "rabbitmq": f"amqp://127.0.0.1:{self.ports.amqp}/{topology.VHOST}",
            },
            "credentials": {
                "web": {"user": PAGE_USER, "password": self.page_password},
                "orthanc": {"user": self.orthanc.user, "password": self.orthanc.password},
                "rabbitmq": {name: self.passwords[name] for name in ("admin", "web", LAB)},
            },
            "pids": {name: service.pid for name, service in self.services().items()},
            "logs": {name: str(service.log) for name, service in self.services().items()},
            "study": study,
        }
        write_private(self.root / "demo.json", json.dumps(record, indent=2) + "\n")

    def _archive_settings(self) -> dict[str, str]:
        return {
            "ORTHANC_URL": self.orthanc.url,
            "ORTHANC_USER": self.orthanc.user,
            "ORTHANC_PASSWORD": self.orthanc.password,
        }
