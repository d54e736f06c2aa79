"""A real lab process for tests, and the view of broker and archive that a test needs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pika
import requests
from pydicom.uid import generate_uid

from infra.local.orthanc import OrthancNode
from infra.local.process import Service, wait_until
from infra.local.settings import REPOSITORY, child_environment
from messages import codec, topology
from messages.control import CancelRequested
from messages.envelope import Message
from messages.events import InferenceCompleted
from messages.lab import LabHeartbeat
from messages.phases import DCE_ROLES
from messages.request import InferenceRequested, InputSeries
from tests.dicom_factory import Series
from tests.integration.nodes import LABS, TestBroker
from tests.integration.plain_lab import module_for
from tests.marked import Mark

#: Seconds for a lab to load torch, MONAI and its bundle on a busy machine.
START_SECONDS = 120.0


class HeldBundle:
    """A copy of the bundle whose inference waits while it is held; `name` is the model's."""

    def __init__(self, directory: Path, name: str = "held") -> None:
        self.path = directory / name
        shutil.copytree(REPOSITORY / "tests" / "bundles" / "held", self.path)

    def hold(self) -> None:
        (self.path / "hold").touch()

    def release(self) -> None:
        (self.path / "hold").unlink(missing_ok=True)

    @property
    def inferences(self) -> int:
        """How many inferences have begun."""
        began = self.path / "began"
        return len(began.read_text()) if began.exists() else 0


class LabProcess:
    """``mri-consumer run`` in a process of its own."""

    def __init__(
        self,
        directory: Path,
        *,
        broker: TestBroker,
        archive_url: str,
        archive: OrthancNode,
        bundle: Path,
        name: str = "lab1",
        broker_port: int | None = None,
        **settings: str | int,
    ) -> None:
        port = broker_port or broker.node.amqp_port
        self._mark = Mark()
        environment = {
            "RABBITMQ_URL": broker.url(name).replace(f":{broker.node.amqp_port}/", f":{port}/"),
            "ORTHANC_URL": archive_url,
            "ORTHANC_USER": archive.user,
            "ORTHANC_PASSWORD": archive.password,
            "LAB_POOL": LABS[name],
            "MODEL_PATH": str(bundle),
            # Of its own: labs of one name run side by side here.
            "RUN_DIR": tempfile.mkdtemp(prefix="run-", dir=directory),
            **{key.upper(): str(value) for key, value in settings.items()},
            **self._mark.environment,
        }
        self.log = directory / f"{name}-{uuid4().hex[:6]}.log"
        self._environment = child_environment(environment)
        self.service = Service(
            f"lab {name}",
            (sys.executable, "-m", module_for(bundle), "run"),
            log=self.log,
            env=self._environment,
            cwd=REPOSITORY,
        )

    def start(self) -> None:
        self.service.start()

    def wait_consuming(self) -> None:
        self.wait_for("broker.consuming", START_SECONDS)

    def wait_for(self, action: str, timeout: float = 60.0) -> None:
        self.service.wait_until(lambda: self.count(action) > 0, f"log {action}", timeout)

    def command(self, name: str) -> subprocess.Popen[str]:
        """Another ``mri-consumer`` command with the settings of this lab, begun."""
        return subprocess.Popen(
            (sys.executable, "-m", "consumer", name),
            env=self._environment,
            cwd=REPOSITORY,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def signal(self, number: signal.Signals) -> None:
        """Signal the lab's own process, as systemd does, and not its group."""
        assert self.service.pid is not None
        os.kill(self.service.pid, number)

    def processes(self) -> list[int]:
        """Every living process of this lab."""
        own = self.service.pid if self.service.alive else None
        return sorted({*self._mark.processes(), *([own] if own else [])})

    def count(self, action: str) -> int:
        """How often the log names the action."""
        return sum(entry.get("action") == action for entry in self.entries())

    def entries(self) -> list[dict[str, Any]]:
        if not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


@contextmanager
def running_lab(directory: Path, **arguments: Any) -> Iterator[LabProcess]:
    """Start a lab, wait until it consumes, and stop it at the end."""
    lab = LabProcess(directory, **arguments)
    lab.start()
    try:
        lab.wait_consuming()
        yield lab
    finally:
        lab.service.stop()


@dataclass(frozen=True)
class StoredStudy:
    """A small four-phase study in the archive."""

    study_id: str
    study_uid: str
    inputs: tuple[InputSeries, ...]

    def request(self, *, model: str = "held", **changes: Any) -> InferenceRequested:
        values: dict[str, Any] = {
            "request_id": uuid4(),
            "attempt": 1,
            "pool": "lab",
            "model": model,
            "study_uid": self.study_uid,
            "inputs": self.inputs,
            "deadline_s": 3600,
            **changes,
        }
        return InferenceRequested(**values)


def store_small_study(
    archive: OrthancNode, *, timed: bool = True, mixed: bool = False
) -> StoredStudy:
    """Four phases of 6 x 16 x 16 in which a block of 2 x 4 x 4 voxels takes up contrast.

    Where it is not `timed`, nothing says in which order they were acquired. Where it is `mixed`,
    the fourth and fifth slice of the first phase after contrast are phase maps.
    """
    study_uid, frame_uid = generate_uid(), generate_uid()
    inputs = []
    study_id = ""
    for number, role in enumerate(DCE_ROLES):
        pixels = np.full((6, 16, 16), 100, np.uint16)
        pixels[2:4, 5:9, 6:10] += 200 * number
        series = Series(
            rows=16,
            columns=16,
            study_uid=study_uid,
            frame_uid=frame_uid,
            time=f"10{15 + number}00",
            pixels=pixels,
        )
        if not timed:
            for ds in series.datasets:
                del ds.AcquisitionTime, ds.ContentTime, ds.AcquisitionDate, ds.ContentDate
        for ds in series.datasets[3:5] if mixed and role == "post1" else ():
            ds.ImageType = ["ORIGINAL", "PRIMARY", "PHASE MAP", "P", "FFE"]
        for data in series.files():
            answer = orthanc_post(archive, "/instances", data)
            study_id, series_id = answer["ParentStudy"], answer["ParentSeries"]
        inputs.append(
            InputSeries(
                role=role,
                series_id=series_id,
                series_uid=series.series_uid,
                instance_count=series.slices,
            )
        )
    return StoredStudy(study_id, study_uid, tuple(inputs))


#: What one finished analysis leaves in the archive.
ONE_RESULT = {"SEG": 1, "SR": 1}

#: The queues of the pool that these tests ask.
QUEUE, RULES_QUEUE = topology.requests_queue("lab"), topology.rules_queue("lab")
REPLIES, PROGRESS = topology.replies_queue("lab"), topology.progress_queue("lab")


def completed(replies: list[Message]) -> list[InferenceCompleted]:
    return [m for m in replies if isinstance(m, InferenceCompleted)]


def assert_acknowledged(clinic: Clinic) -> None:
    """The lab has stopped; what it had not acknowledged would be back in the queue."""
    wait_until(lambda: clinic.ready(QUEUE) == 0, "hold no delivery that was not settled", 30)


def orthanc_post(archive: OrthancNode, path: str, data: bytes | str) -> Any:
    answer = requests.post(
        archive.url + path, data=data, auth=(archive.user, archive.password), timeout=30
    )
    answer.raise_for_status()
    return answer.json()


def orthanc_get(archive: OrthancNode, path: str) -> Any:
    answer = requests.get(archive.url + path, auth=(archive.user, archive.password), timeout=30)
    answer.raise_for_status()
    return answer.json()


def stored_objects(archive: OrthancNode, study: StoredStudy) -> dict[str, int]:
    """How many objects of each result modality the study holds."""
    found: dict[str, int] = {}
    for series in orthanc_get(archive, f"/studies/{study.study_id}/series"):
        modality = series["MainDicomTags"]["Modality"]
        if modality != "MR":
            found[modality] = found.get(modality, 0) + len(series["Instances"])
    return found


class Clinic:
    """What the web does at the broker, for tests of the lab alone: ask, and read the replies."""

    def __init__(self, broker: TestBroker) -> None:
        self._broker = broker

    @contextmanager
    def _channel(self, user: str = "web") -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self._broker.url(user)))
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel
        finally:
            if connection.is_open:
                connection.close()

    def ask(self, request: InferenceRequested) -> None:
        wire = codec.encode(request, app_id="test", user_id="web")
        self.send_raw(wire.body, request.routing_key, type_=wire.type)

    def send_raw(self, body: bytes, routing_key: str, *, type_: str) -> None:
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            type=type_,
            user_id="web",
            timestamp=int(time.time()),
        )
        with self._channel() as channel:
            channel.basic_publish(topology.REQUESTS, routing_key, body, properties, mandatory=True)

    def cancel(self, request_id: UUID) -> None:
        """What the site sends when a reader cancels."""
        wire = codec.encode(CancelRequested(request_id=request_id), app_id="test", user_id="web")
        self.control_raw(wire.body, type_=wire.type)

    def control_raw(self, body: bytes, *, type_: str) -> None:
        properties = pika.BasicProperties(
            content_type="application/json", type=type_, user_id="web"
        )
        with self._channel() as channel:
            channel.basic_publish(topology.control_exchange("lab"), "", body, properties)

    def heartbeats(
        self, until: Callable[[LabHeartbeat], bool], timeout: float = 60.0
    ) -> LabHeartbeat:
        """Take hints until a heartbeat is one that is waited for."""
        found: list[LabHeartbeat] = []
        with self._channel() as channel:

            def look() -> bool:
                method, properties, body = channel.basic_get(PROGRESS, auto_ack=True)
                if method is not None:
                    message = codec.decode(body, type_=properties.type)
                    if isinstance(message, LabHeartbeat) and until(message):
                        found.append(message)
                return bool(found)

            wait_until(look, "see the expected heartbeat", timeout)
        return found[0]

    def replies(
        self,
        until: Callable[[list[Message]], bool],
        timeout: float = 60.0,
        *,
        pool: str = "lab",
    ) -> list[Message]:
        """Take a pool's replies until the condition holds for all taken so far."""
        taken: list[Message] = []
        with self._channel() as channel:

            def look() -> bool:
                method, properties, body = channel.basic_get(topology.replies_queue(pool))
                if method is not None:
                    taken.append(codec.decode(body, type_=properties.type))
                    channel.basic_ack(method.delivery_tag)
                return until(taken)

            wait_until(look, "see the expected replies", timeout)
        return taken

    def wear(self, queue: str, reader: str, count: int) -> None:
        """Give what waits in the queue back until the broker has counted each so often."""
        with self._channel(reader) as channel:
            for _ in range(count):
                tags = []
                while (method := channel.basic_get(queue)[0]) is not None:
                    tags.append(method.delivery_tag)
                for tag in tags:
                    channel.basic_reject(tag, requeue=True)
                wait_until(partial(self._has, queue, len(tags)), "have them back", 30)

    def _has(self, queue: str, count: int) -> bool:
        return self.ready(queue) == count

    def dead(self, timeout: float = 30.0) -> tuple[bytes, dict[str, Any]]:
        """Take one dead letter: body and headers."""
        found: list[tuple[bytes, dict[str, Any]]] = []
        with self._channel() as channel:

            def look() -> bool:
                method, properties, body = channel.basic_get(topology.DEAD_QUEUE)
                if method is not None:
                    found.append((body, properties.headers or {}))
                    channel.basic_ack(method.delivery_tag)
                return bool(found)

            wait_until(look, "find a dead letter", timeout)
        return found[0]

    def ready(self, name: str) -> int:
        """Messages that wait in a queue, asked of the queue itself: true at once.

        With its consumers gone, this counts what they had not acknowledged.
        """
        with self._channel() as channel:
            count: int = channel.queue_declare(name, passive=True).method.message_count
            return count

    def queue(self, name: str) -> tuple[int, int]:
        """(messages, of them unacknowledged) as rabbitmqctl sees them, up to 5 s late."""
        return self._queues()[name]

    def total(self) -> int:
        """Messages in all queues but those of hints: ready, unacknowledged or held back."""
        return sum(n for name, (n, _) in self._queues().items() if not _is_hint(name))

    def _queues(self) -> dict[str, tuple[int, int]]:
        rows = self._broker.node.ctl(
            "-q", "-p", topology.VHOST, "list_queues", "name", "messages", "messages_unacknowledged"
        )
        cells = [row.split() for row in rows.splitlines()]
        return {c[0]: (int(c[1]), int(c[2])) for c in cells if c[1:2] and c[1].isdecimal()}

    def wait_for_heartbeats(self, lab: str, seconds: float) -> None:
        """Watch the lab's connections for this long; fails when one of them is closed."""
        deadline = time.monotonic() + seconds

        def connections() -> str:
            return self._broker.node.ctl("-q", "list_connections", "user", "pid", "timeout")

        before = {row for row in connections().splitlines() if row.startswith(lab)}
        assert len(before) == 2, "the lab has a consuming and a publishing connection"
        wait_until(lambda: time.monotonic() > deadline, "let the time pass", seconds + 5)
        after = {row for row in connections().splitlines() if row.startswith(lab)}
        assert before == after

    def forget(self, *names: str) -> None:
        """Empty these queues, or for the next test all; asked of the queues: counts lag."""
        with self._channel("admin") as channel:
            for name in names or [queue.name for queue in topology.queues(labs=LABS)]:
                channel.queue_purge(name)


def _is_hint(queue: str) -> bool:
    """Steps and heartbeats, or cancels for a process that is not there: they expire."""
    return queue.startswith(("mri.progress.", "mri.control."))
