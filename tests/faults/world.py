"""Everything that a fault can hit: real processes, with links and a door between them."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from infra.demo.reader import PageRefused, Reader
from infra.demo.stack import PAGE_USER, Stack
from infra.local.process import Service, ServiceFailed, wait_until
from messages import topology
from tests.faults import processes, stored
from tests.faults.archive_door import ArchiveDoor
from tests.faults.link import Link
from tests.faults.logs import said
from tests.faults.press import Click
from tests.faults.queue_list import QueueList, unrest
from tests.faults.site_rows import cancel_unfinished, letters, sweeps_due
from tests.faults.witness import Witness
from tests.integration.lab import HeldBundle, StoredStudy, store_small_study

#: A second lab of the same pool.
OTHER_LAB = "lab2"

#: Seconds for anything that the system must do by itself after a fault.
PATIENCE = 240.0


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
        #: Clicks whose row is gone. What a lab stores for one stays, and is nobody's fault.
        self.forgotten: list[Click] = []
        #: Further labs that a row has started.
        self.others: list[Service] = []
        self._queue_list = QueueList(stack.rabbitmq)
        self._reader: Reader | None = None
        #: Readers that a row has logged in beside that one.
        self.visitors: list[Reader] = []
        #: What had happened before the row, and what the archive held beside images.
        self._inferences = self._letters = 0
        self._objects: frozenset[str] = frozenset()

    @property
    def root(self) -> Path:
        """The directory that holds all that this world writes."""
        return self.stack.root.parent

    @property
    def database(self) -> Path:
        """The site's SQLite."""
        return self.stack.root / "web" / "web.sqlite3"

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

    def forget(self, click: Click) -> None:
        """The row of the click is gone: nothing is promised of it any more."""
        self.clicks.remove(click)
        self.forgotten.append(click)

    def state(self, click: Click) -> dict[str, Any]:
        """The request as a fresh load shows it; empty while the site does not show it."""
        try:
            answer = self.reader.get(f"/api/v1/requests/{click.request_id}")
            shown: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
        except (httpx.HTTPError, PageRefused, ValueError):
            return {}
        return shown

    def wait_state(self, click: Click, *states: str, timeout: float = PATIENCE) -> float:
        """Wait until a fresh load shows one of the states; returns the time, monotonic."""
        try:
            wait_until(lambda: self.state(click).get("state") in states, "", timeout)
        except ServiceFailed:
            wanted, shown = " or ".join(states), self.state(click).get("state", "nothing")
            sentence = f"a load shows {shown} and not {wanted} after {timeout:.0f} s"
            raise ServiceFailed(f"{click.request_id}: {sentence}") from None
        return time.monotonic()

    def wait_inferring(self, count: int = 1, timeout: float = 120.0) -> None:
        """Wait until so many inferences have begun since the row began."""
        wait_until(lambda: self.inferences >= count, f"begin {count} inferences", timeout)

    @property
    def inferences(self) -> int:
        """Inferences that have begun since the row began."""
        return self.bundle.inferences - self._inferences

    def wait_logged(self, action: str, request_id: str, count: int = 1) -> None:
        """Wait until the lab's log names the action for the request so often."""
        wait_until(lambda: self.logged(action, request_id) >= count, f"log {action}", PATIENCE)

    def logged(self, action: str, request_id: str) -> int:
        """How often the first lab's log names the action for the request."""
        return said(self.lab, action, request_id)

    def child(self) -> int:
        """Process id of the child that runs the held inference."""
        return int((self.bundle.path / "pid").read_text())

    def listed(self, *columns: str) -> dict[str, list[str]]:
        """What rabbitmqctl lists of each queue, asked once a second at most."""
        return self._queue_list.listed(*columns)

    def queues(self) -> dict[str, tuple[int, int]]:
        """(messages, of them unacknowledged) by queue, of those that answer rabbitmqctl."""
        return self._queue_list.counts()

    def objects(self) -> list[stored.StoredObject]:
        """What the archive holds beside images that it did not hold before the row."""
        return stored.stored_objects(self.stack.orthanc, self._objects)

    def letters(self) -> int:
        """Dead letters that the site has written down since the row began."""
        return letters(self) - self._letters

    def ask_database(self, query: str, *values: object) -> list[Any]:
        """What the site's SQLite answers to a reader, also while somebody locks it."""
        path = f"file:{self.database}?mode=ro"
        with closing(sqlite3.connect(path, uri=True, timeout=60)) as database:
            return database.execute(query, values).fetchall()

    def pause(self, service: Service) -> None:
        """SIGSTOP the process and all that it has started."""
        processes.pause(service)

    def resume(self, service: Service) -> None:
        """SIGCONT the same."""
        processes.resume(service)

    def start_other_lab(self, **settings: str) -> Service:
        """One more lab of the pool, by a user of its own, without links between."""
        settings = {"TMPDIR": str(self.root / "tmp"), **settings}
        other = self.stack.lab(self.bundle.path, settings, log=OTHER_LAB, name=OTHER_LAB)
        other.start()
        self.others.append(other)
        return other

    def services(self) -> list[Service]:
        """Every process that is to live now, with all that it starts."""
        stack = self.stack
        return [*self.broker_services(), stack.orthanc.server, stack.web, self.lab, *self.others]

    def broker_services(self) -> list[Service]:
        """Those of the broker."""
        return [self.stack.rabbitmq.epmd, self.stack.rabbitmq.broker]

    def begin(self) -> None:
        """Before a row: everything is well and nothing is under way."""
        self.heal()
        self.clicks, self.forgotten = [], []
        # What a row that did not hold has left must not be the next one's.
        for name, (messages, _) in self.queues().items():
            if messages:
                self.stack.rabbitmq.ctl("-q", "-p", topology.VHOST, "purge_queue", name)
        try:
            wait_until(self.idle, "", PATIENCE)
        except ServiceFailed:
            raise ServiceFailed(f"no rest before the row: {'; '.join(self.unrest())}") from None
        self._inferences = self.bundle.inferences
        self._letters = letters(self)
        self._objects = stored.object_ids(self.stack.orthanc)

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

    def clear(self) -> None:
        """After a row that did not hold: cancel what it left, which the next one would meet."""
        self.heal()
        cancel_unfinished(self)

    def end(self) -> None:
        """After a row: close the pages and stop what only this row had."""
        for click in (*self.clicks, *self.forgotten):
            click.witness.stop()
        for other in self.others:
            other.stop()
        self.others = []
        for visitor in self.visitors:
            visitor.close()
        self.visitors = []

    def close(self) -> None:
        """After the last row: end it, and the connections of the reader of all rows."""
        self.end()
        if self._reader is not None:
            self._reader.close()

    def idle(self) -> bool:
        """Whether no queue but that of the hints holds a message, and each says so."""
        return not self.unrest()

    def unrest(self) -> list[str]:
        """Why the system is not at rest, in sentences; none when it is."""
        try:
            found = unrest(self.queues())
        except ServiceFailed as error:
            return [str(error)]
        if due := sweeps_due(self):
            found.append(f"{due} cancelled requests are to be swept from the archive")
        return found
