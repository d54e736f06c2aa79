"""From a click to `accepted`, and beside it Celery on the same broker.

    python -m benchmarks.latency --celery /path/of/an/environment/with/celery/bin/python

Clicks and tasks take turns, one at a time, each after the one before has ended completely. All
times are of one machine's clock: our own HTTP client, the JSON logs of site and lab, the page's
socket.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.figures import head, markdown, p95, row
from benchmarks.page import Page
from benchmarks.peer import line_process
from infra.demo.reader import Reader
from infra.demo.stack import Stack
from infra.local.process import Service, wait_until
from infra.local.settings import REPOSITORY, child_environment
from tests.integration.lab import StoredStudy
from tests.integration.system import System, running_system, series_by_role

#: Virtual host and user of the peer, on the same broker.
PEER = "peer"

#: Seconds for a click, or for Celery's worker to come up.
PATIENCE = 60.0

#: States that a row reaches only when a lab has taken the request.
TAKEN = frozenset({"accepted", "downloading", "inferring", "uploading", "completed"})

#: The goals, in milliseconds.
COMMIT_GOAL, HTTP_GOAL = 10.0, 20.0


@dataclass(frozen=True)
class Click:
    """When what happened to one click, in seconds since the epoch."""

    #: Our client begins to send the POST.
    sent: float
    #: Our client has the answer 202.
    answered: float
    #: The site's log line `request_written`, written by the hook that runs after the commit.
    committed: float
    #: The site's log line `request_published`: the broker has confirmed.
    published: float
    #: The lab's log line `job.accepted`: the lab holds the delivery.
    held: float
    #: The site's log line `request_changed` to `accepted`, or to a later state where the hint
    #: "downloading" came first: written in the transaction, just before its commit.
    accepted: float
    #: Whether that state was `accepted` itself.
    in_order: bool
    #: The page's socket has heard of that state or a later one: the commit was before.
    heard: float


@dataclass(frozen=True)
class Task:
    """When what happened to one task of Celery."""

    handed_in: float
    confirmed: float
    started: float


#: A name, and its seconds for one click.
Span = tuple[str, Callable[[Click], float]]

ENDS: tuple[Span, ...] = (
    ("HTTP sent → lab holds it", lambda c: c.held - c.sent),
    ("HTTP sent → row `accepted`", lambda c: c.accepted - c.sent),
    ("HTTP sent → the page has `accepted`", lambda c: c.heard - c.sent),
    ("commit → lab holds it", lambda c: c.held - c.committed),
    ("commit → row `accepted`", lambda c: c.accepted - c.committed),
    ("commit → the page has `accepted`", lambda c: c.heard - c.committed),
)

PARTS: tuple[Span, ...] = (
    ("HTTP sent → commit", lambda c: c.committed - c.sent),
    ("HTTP sent → 202 received", lambda c: c.answered - c.sent),
    ("commit → publish confirmed", lambda c: c.published - c.committed),
    ("commit → lab holds it", lambda c: c.held - c.committed),
    ("lab holds it → row `accepted`", lambda c: c.accepted - c.held),
    ("row `accepted` → the page has it", lambda c: c.heard - c.accepted),
)


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--clicks", type=int, default=120)
    options.add_argument("--warm-up", type=int, default=10)
    options.add_argument(
        "--celery", default=sys.executable, help="Python of an environment with Celery"
    )
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="labrelay-latency-") as temporary:
        root = Path(temporary)
        with running_system(root / "system") as system:
            clicks, tasks = measure(system, root, given.celery, given.clicks, given.warm_up)
    print(report(clicks, tasks))


def measure(
    system: System, root: Path, python: str, count: int, warm_up: int
) -> tuple[list[Click], list[Task]]:
    """Click and hand in tasks in turn; the warm-up is left out of what is returned."""
    # A study for each click: results of earlier clicks would make a study's list of series long.
    studies = [system.new_study() for _ in range(count + warm_up)]
    body = studies[0].request().model_dump_json()
    sent: list[tuple[str, float, float]] = []
    tasks: list[Task] = []
    heard: dict[str, float] = {}
    with (
        celery(system.stack, root, python) as hand_in,
        system.reader() as reader,
        Page(reader) as page,
    ):
        for study in studies:
            sent.append(press(reader, study))
            page.outcome(sent[-1][0], PATIENCE)
            # At different points of the loops that look about once a second.
            time.sleep(random.uniform(0.1, 0.2))
            tasks.append(hand_in(body))
            time.sleep(random.uniform(0.1, 0.2))
        for request_id, _, _ in sent:
            heard[request_id] = page.heard(request_id, TAKEN)
    site, lab = Log(system.stack.web.log), Log(system.stack.consumer.log)
    taken = {request_id: site.taken(request_id) for request_id, _, _ in sent}
    clicks = [
        Click(
            sent=began,
            answered=answered,
            committed=site.time(request_id, "request_written"),
            published=site.time(request_id, "request_published"),
            held=lab.time(request_id, "job.accepted"),
            accepted=taken[request_id][0],
            in_order=taken[request_id][1] == "accepted",
            heard=heard[request_id],
        )
        for request_id, began, answered in sent
    ]
    return clicks[warm_up:], tasks[warm_up:]


def press(reader: Reader, study: StoredStudy) -> tuple[str, float, float]:
    """Press the button: the request, and when the POST was sent and answered."""
    roles = series_by_role(study)
    began = time.time()
    asked = reader.ask(study.study_id, roles)
    return asked["request_id"], began, time.time()


class Log:
    """The JSON lines of a process."""

    def __init__(self, file: Path) -> None:
        lines = file.read_text(encoding="utf-8").splitlines()
        self._entries: list[dict[str, Any]] = [
            json.loads(line) for line in lines if line.startswith("{")
        ]

    def time(self, request_id: str, action: str) -> float:
        """When the action was logged for the request, the first time."""
        return _time(self._first(request_id, action))

    def taken(self, request_id: str) -> tuple[float, str]:
        """When the row first changed to a state that only a lab brings about, and to which."""
        entry = self._first(request_id, "request_changed", TAKEN)
        return _time(entry), entry["state"]

    def _first(
        self, request_id: str, action: str, states: frozenset[str] | None = None
    ) -> dict[str, Any]:
        for entry in self._entries:
            if (
                entry.get("request_id") == request_id
                and entry.get("action") == action
                and (states is None or entry["state"] in states)
            ):
                return entry
        raise LookupError(f"the log has no {action} for {request_id}")


def _time(entry: dict[str, Any]) -> float:
    return datetime.fromisoformat(entry["timestamp"]).timestamp()


@contextmanager
def celery(stack: Stack, root: Path, python: str) -> Iterator[Callable[[str], Task]]:
    """Run a worker of Celery and a client beside it; yields what hands in one task."""
    password = secrets.token_hex(16)
    for command in (
        ("add_vhost", PEER),
        ("add_user", PEER, password),
        ("set_permissions", "-p", PEER, PEER, ".*", ".*", ".*"),
    ):
        stack.rabbitmq.ctl("-q", *command)
    environment = child_environment({"CELERY_BROKER_URL": stack.rabbitmq.url(PEER, password, PEER)})
    pipe = root / "started"
    os.mkfifo(pipe, 0o600)
    worker = Service(
        "Celery's worker",
        (python, "-m", "celery", "-A", "benchmarks.celery_peer", "worker", "--loglevel", "INFO"),
        log=root / "celery.log",
        env=environment,
        cwd=REPOSITORY,
    )
    worker.start()
    try:
        wait_until(lambda: " ready." in worker.log_tail(), "become ready", PATIENCE, service=worker)
        client = (python, "-m", "benchmarks.celery_peer", str(pipe))
        with line_process(client, environment) as ask:
            yield lambda body: Task(*json.loads(ask(body)))
    finally:
        worker.stop()


def report(clicks: Sequence[Click], tasks: Sequence[Task]) -> str:
    """Tables in milliseconds."""
    started = milliseconds(t.started - t.handed_in for t in tasks)
    peer = (
        ("Celery: `apply_async` → task starts", started),
        ("Celery: publish confirmed", milliseconds(t.confirmed - t.handed_in for t in tasks)),
    )
    rows = [(name, milliseconds(span(c) for c in clicks)) for name, span in ENDS]
    ratios = [
        (name, f"{median(v) / median(started):.2f}", f"{p95(v) / p95(started):.2f}")
        for name, v in rows
    ]
    parts = [(name, milliseconds(span(c) for c in clicks)) for name, span in PARTS]
    order = (
        f"The row went through `accepted` in {sum(c.in_order for c in clicks)} of {len(clicks)} "
        "clicks, and straight to a later state in the others."
    )
    columns = head("span", "ms", tail=True)
    return "\n\n".join(
        (
            markdown(columns, [row(n, v, digits=1, tail=True) for n, v in (*rows, *peer)]),
            f"Goals: commit → accepted {COMMIT_GOAL:.0f} ms, HTTP → accepted {HTTP_GOAL:.0f} ms.",
            markdown(("ours / Celery's start of a task", "medians", "p95"), ratios),
            order,
            "Where the time goes:",
            markdown(columns, [row(n, v, digits=1, tail=True) for n, v in parts]),
        )
    )


def milliseconds(spans: Iterable[float]) -> list[float]:
    """The same in ms."""
    return [1000.0 * span for span in spans]


if __name__ == "__main__":
    main()
