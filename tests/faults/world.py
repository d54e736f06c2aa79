"""Everything that a fault can hit: real processes, with links and a door between them."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from infra.demo.reader import Reader
from infra.demo.stack import LAB, PAGE_USER, Ports, Stack
from infra.local.passwords import stored_passwords
from infra.local.process import Service, wait_until
from messages import topology
from tests.faults.archive_door import ArchiveDoor
from tests.faults.link import Link
from tests.faults.witness import Witness
from tests.integration.lab import HeldBundle, StoredStudy, store_small_study

#: A second lab of the same pool.
OTHER_LAB = "lab2"

#: Seconds for anything that the system must do by itself after a fault.
PATIENCE = 240.0


@dataclass
class Click:
    """One press of the button, and the page that stays open afterwards."""

    request_id: str
    study: StoredStudy
    witness: Witness
    #: When it was pressed, by `time.monotonic`.
    at: float = field(default_factory=time.monotonic)


class World:
    """A running system whose every link can fail, seen by a reader."""

    def __init__(
        self, stack: Stack, bundle: HeldBundle, links: dict[str, Link], door: ArchiveDoor
    ) -> None:
        self.stack = stack
        self.bundle = bundle
        #: Between site and broker, between lab and broker.
        self.site_link, self.lab_link = links["site"], links["lab"]
        #: Between lab and archive: bytes, and below it calls.
        self.archive_link, self.door = links["archive"], door
        self.clicks: list[Click] = []
        self._reader: Reader | None = None
        #: What had happened before the row.
        self._inferences = self._letters = 0
        #: Further labs that a row has started.
        self.others: list[Service] = []

    @property
    def lab(self) -> Service:
        """The first lab's process."""
        return self.stack.consumer

    @property
    def reader(self) -> Reader:
        """A reader who is logged in."""
        if self._reader is None:
            self._reader = Reader(self.stack.url, PAGE_USER, self.stack.page_password)
        return self._reader

    def click(self, study: StoredStudy | None = None, **more: Any) -> Click:
        """Press the button for a study, a new one if none is given, and leave the page open."""
        study = study or store_small_study(self.stack.orthanc)
        series = {item.role: item.series_id for item in study.inputs}
        asked = self.reader.ask(study.study_id, series, **more)
        click = Click(asked["request_id"], study, Witness(self.reader, asked["request_id"]))
        self.clicks.append(click)
        return click

    def state(self, click: Click) -> dict[str, Any]:
        """The request as a fresh load shows it; empty while the site does not answer."""
        try:
            return self.reader.read(click.request_id)
        except (httpx.HTTPError, ValueError):
            return {}

    def wait_state(self, click: Click, *states: str, timeout: float = PATIENCE) -> float:
        """Wait until a fresh load shows one of the states; returns the time, monotonic."""
        wait_until(
            lambda: self.state(click).get("state") in states,
            f"show {' or '.join(states)} (it shows {self.state(click).get('state')})",
            timeout,
        )
        return time.monotonic()

    def wait_inferring(self, count: int = 1, timeout: float = 120.0) -> None:
        """Wait until so many inferences have begun since the row began."""
        wait_until(
            lambda: self.bundle.inferences - self._inferences >= count,
            f"begin {count} inferences",
            timeout,
        )

    @property
    def inferences(self) -> int:
        """Inferences that have begun since the row began."""
        return self.bundle.inferences - self._inferences

    def wait_logged(self, action: str, request_id: str, count: int = 1) -> None:
        """Wait until the lab's log names the action for the request so often."""
        wait_until(lambda: self.logged(action, request_id) >= count, f"log {action}", PATIENCE)

    def logged(self, action: str, request_id: str) -> int:
        """How often the first lab's log names the action for the request."""
        if not self.lab.log.exists():
            return 0
        lines = self.lab.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return sum(f'"{action}"' in line and request_id in line for line in lines)

    def child(self) -> int:
        """Process id of the child that runs the held inference."""
        return int((self.bundle.path / "pid").read_text())

    def queues(self) -> dict[str, tuple[int, int]]:
        """(messages, of them unacknowledged) by queue, as rabbitmqctl sees them."""
        rows = self.stack.rabbitmq.ctl(
            "-q", "-p", topology.VHOST, "list_queues", "name", "messages", "messages_unacknowledged"
        )
        cells = [row.split() for row in rows.splitlines()]
        return {c[0]: (int(c[1]), int(c[2])) for c in cells if c[1:2] and c[1].isdecimal()}

    def letters(self) -> int:
        """Dead letters that the site has written down since the row began."""
        return self._count("labrelay_inference_deadletter") - self._letters

    def _count(self, table: str) -> int:
        ((count,),) = self.ask_database(f"SELECT COUNT(*) FROM {table}")  # noqa: S608
        return int(count)

    def ask_database(self, query: str, *values: object) -> list[Any]:
        """What the site's SQLite answers to a reader, also while somebody locks it."""
        path = f"file:{self.database}?mode=ro"
        with closing(sqlite3.connect(path, uri=True, timeout=60)) as database:
            return database.execute(query, values).fetchall()

    @property
    def database(self) -> Path:
        """The site's SQLite."""
        return self.stack.root / "web" / "web.sqlite3"

    def pause(self, service: Service) -> None:
        """SIGSTOP the process and all that it has started."""
        for pid in _family(service):
            os.kill(pid, signal.SIGSTOP)

    def resume(self, service: Service) -> None:
        """SIGCONT the same."""
        for pid in _family(service):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def start_other_lab(self, **settings: str) -> Service:
        """One more lab of the pool, by a user of its own, without links between."""
        other = self.stack.lab(self.bundle.path, settings, log=OTHER_LAB, name=OTHER_LAB)
        other.start()
        self.others.append(other)
        return other

    def begin(self) -> None:
        """Before a row: everything is well and nothing is under way."""
        self.heal()
        self.clicks = []
        # What a row that did not hold has left must not be the next one's.
        for name, (messages, _) in self.queues().items():
            if messages:
                self.stack.rabbitmq.ctl("-q", "-p", topology.VHOST, "purge_queue", name)
        wait_until(self.idle, "be at rest before the row", PATIENCE)
        self._inferences = self.bundle.inferences
        self._letters = self._count("labrelay_inference_deadletter")

    def heal(self) -> None:
        """Mend what a fault left: links, holds, processes, pauses."""
        self.bundle.release()
        for link in (self.site_link, self.lab_link, self.archive_link):
            link.mend()
        self.door.mend()
        stack = self.stack
        self.heal_broker()
        for service in (stack.orthanc.server, stack.web, stack.consumer):
            if service.alive:
                self.resume(service)
        if not stack.orthanc.server.alive:
            stack.orthanc.start()
            stack.orthanc.wait_ready()
        if not stack.web.alive:
            stack.start_web()
        if not stack.consumer.alive:
            stack.consumer.start()

    def heal_broker(self) -> None:
        """Have the broker run again."""
        rabbitmq = self.stack.rabbitmq
        if rabbitmq.broker.alive:
            self.resume(rabbitmq.broker)
        else:
            rabbitmq.start()
            rabbitmq.wait_ready()

    def end(self) -> None:
        """After a row: close the pages and stop what only this row had."""
        for click in self.clicks:
            click.witness.stop()
        for other in self.others:
            other.stop()
        self.others = []

    def idle(self) -> bool:
        """Whether no queue but that of the hints holds a message."""
        return not any(
            messages
            for name, (messages, _) in self.queues().items()
            if name != topology.PROGRESS_QUEUE
        )


def _family(service: Service) -> list[int]:
    """The processes of the service's session: children with a group of their own too."""
    session = str(service.pid)
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and _session(entry) == session:
                found.append(int(entry.name))
    return found


def _session(process: Path) -> str:
    # proc(5): after the name in parentheses come state, ppid, pgrp, session.
    return (process / "stat").read_text().rpartition(")")[2].split()[3]


@contextmanager
def running_world(
    root: Path,
    say: Callable[[str], None],
    *,
    kind: Callable[..., World] = World,
    web_settings: Mapping[str, str] | None = None,
) -> Iterator[World]:
    """Start everything; stop everything at the end. `kind` makes the world of its parts."""
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / "tmp"
    temporary.mkdir(exist_ok=True)
    with ExitStack() as open_:
        ports = Ports.free()
        door = open_.enter_context(ArchiveDoor(ports.orthanc))
        links = {
            "site": open_.enter_context(Link(ports.amqp)),
            "lab": open_.enter_context(Link(ports.amqp)),
            "archive": open_.enter_context(Link(door.port)),
        }
        passwords = stored_passwords(root / "var" / "secrets.json", ["web", LAB])
        bundle = HeldBundle(root)
        stack = Stack(
            root / "var",
            ports,
            model_path=bundle.path,
            further_labs={OTHER_LAB: "lab"},
            web_settings={
                "RABBITMQ_URL": _url("web", passwords["web"], links["site"].port),
                **(web_settings or {}),
            },
            lab_settings={
                "RABBITMQ_URL": _url(LAB, passwords[LAB], links["lab"].port),
                "ORTHANC_URL": f"http://127.0.0.1:{links['archive'].port}",
                "TMPDIR": str(temporary),
            },
        )
        try:
            stack.start(say)
            yield kind(stack, bundle, links, door)
        finally:
            stack.stop()
        require_nothing_left(root)


def require_nothing_left(root: Path) -> None:
    """After a world's end: no file of the lab and no process of anybody's."""
    left = [path.name for path in (root / "tmp").iterdir()]
    assert not left, f"the lab left files behind: {left}"
    assert not _left_over(root), "processes were left behind"


def _url(user: str, password: str, port: int) -> str:
    return f"amqp://{user}:{password}@127.0.0.1:{port}/{topology.VHOST}"


def _left_over(root: Path) -> list[int]:
    """Living processes whose environment names the world's directory."""
    mine, mark = str(os.getpid()), str(root).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or entry.name == mine:
            continue
        with suppress(OSError):
            if mark in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found
