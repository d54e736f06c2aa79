"""One pool works while a lab of another pool is in the wrong hands."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from infra.demo.reader import Reader, ended
from infra.demo.stack import LAB, PAGE_USER, POOL, Ports, Stack
from infra.local.process import wait_until
from infra.local.settings import REPOSITORY, child_environment
from messages import topology
from tests.asks_at_once import ASKS_AT_ONCE
from tests.integration.lab import HeldBundle, StoredStudy, store_small_study

#: The lab that works, and its pool.
VICTIM, VICTIM_POOL = "server1", "server"

#: Seconds for a click to end.
CLICK_SECONDS = 60.0

#: Pages that a reader has open.
PAGES = ("/", "/api/v1/labs", "/api/v1/requests")

#: Clicks on one study, in quiet and under attack: a study's page lists every result that it has.
#: One with all clicks of ten minutes would say what results cost, and not what the attack does.
CLICKS_OF_A_STUDY = 30

#: Megabytes that the site may grow by: a bound that a queue in memory would pass within seconds.
MORE_MEGABYTES = 250.0


@dataclass
class Seen:
    """What a reader of the other pool met in one stretch of time."""

    #: Seconds from a click to its end.
    clicks: list[float] = field(default_factory=list)
    #: How each ended.
    states: list[str] = field(default_factory=list)
    #: Seconds for an answer, and what was answered.
    pages: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    #: Of the site's process, in megabytes.
    memory: float = 0.0

    @property
    def median(self) -> float:
        """Of the clicks."""
        return statistics.median(self.clicks)


@dataclass(frozen=True)
class Outcome:
    """The same before and during the attack."""

    quiet: Seen
    attacked: Seen
    #: What the attacker reports.
    attack: dict[str, Any]
    letters: int

    @property
    def faults(self) -> list[str]:
        """What did not hold; empty when all did. Times are reported and not judged."""
        found = []
        bad = [s for s in self.attacked.states if s != "completed"]
        if bad:
            found.append(f"{len(bad)} clicks did not complete: {sorted(set(bad))}")
        wrong = [s for s in self.attacked.statuses if s != httpx.codes.OK]
        if wrong:
            found.append(f"{len(wrong)} pages did not answer: {sorted(set(wrong))}")
        if self.attacked.memory > self.quiet.memory + MORE_MEGABYTES:
            found.append(f"the site grew to {self.attacked.memory:.0f} MB")
        if not self.attack.get("named_newest"):
            found.append("the attacker named no open request")
        return found

    def table(self) -> str:
        """Figures, a line each."""
        attacked, quiet = self.attacked, self.quiet
        ratio = attacked.median / quiet.median
        return "\n".join(
            [
                (
                    f"attack: {self.attack['sent']} messages, tried {self.attack['tried']}, "
                    f"refused {self.attack['refused']}; "
                    f"{self.attack['named_newest']} named the newest request of the other pool"
                ),
                (
                    f"clicks: {len(attacked.clicks)} under attack, median {attacked.median:.2f} s, "
                    f"longest {max(attacked.clicks):.2f} s; quiet {len(quiet.clicks)}, "
                    f"median {quiet.median:.2f} s; ratio {ratio:.2f}, "
                    f"within 2 x: {'yes' if ratio <= 2 else 'no'}"
                ),
                (
                    f"pages: {len(attacked.pages)}, "
                    f"median {statistics.median(attacked.pages):.3f} s, "
                    f"longest {max(attacked.pages):.2f} s; quiet median "
                    f"{statistics.median(quiet.pages):.3f} s"
                ),
                f"memory of the site: {attacked.memory:.0f} MB, quiet {quiet.memory:.0f} MB",
                f"dead letters kept: {self.letters}",
            ]
        )


class Trial:
    """A running system with a lab in each of two pools."""

    def __init__(
        self, stack: Stack, study: StoredStudy, say: Callable[[str], None], asked: Path
    ) -> None:
        self._stack = stack
        self._study = study
        self._clicks_of_study = 0
        self._say = say
        #: Ids of the requests, a line each: the attacker reads them while they are open.
        self._asked = asked
        asked.touch()

    def run(self, *, quiet_clicks: int, seconds: float, seed: int) -> Outcome:
        """Click in quiet, then for `seconds` under attack."""
        with Reader(self._stack.url, PAGE_USER, self._stack.page_password) as reader:
            quiet, attacked = Seen(), Seen()
            for _ in range(quiet_clicks):
                self._look(reader, quiet)
            self._say(f"quiet: median {quiet.median:.2f} s of {len(quiet.clicks)} clicks")
            with self._attack(seconds, seed) as attacker:
                told = time.monotonic()
                while attacker.poll() is None:
                    self._look(reader, attacked)
                    if time.monotonic() - told > 30:
                        told = time.monotonic()
                        self._say(f"under attack: {len(attacked.clicks)} clicks so far")
                report, _ = attacker.communicate()
            self._look(reader, attacked)
        return Outcome(quiet, attacked, json.loads(report), self._letters())

    def _look(self, reader: Reader, seen: Seen) -> None:
        if self._clicks_of_study == CLICKS_OF_A_STUDY:
            self._study, self._clicks_of_study = store_small_study(self._stack.orthanc), 0
        self._clicks_of_study += 1
        began = time.monotonic()
        series = {item.role: item.series_id for item in self._study.inputs}
        asked = reader.ask(self._study.study_id, series)
        with self._asked.open("a", encoding="ascii") as file:
            file.write(f"{asked['request_id']}\n")
        try:
            seen.states.append(reader.wait(asked["request_id"], ended, CLICK_SECONDS)["state"])
        except TimeoutError:
            seen.states.append(reader.read(asked["request_id"])["state"])
        seen.clicks.append(time.monotonic() - began)
        for page in (*PAGES, f"/studies/{self._study.study_id}/"):
            began = time.monotonic()
            seen.statuses.append(reader.get(page).status_code)
            seen.pages.append(time.monotonic() - began)
        seen.memory = max(seen.memory, _megabytes(self._stack.web.pid))

    @contextmanager
    def _attack(self, seconds: float, seed: int) -> Iterator[subprocess.Popen[str]]:
        orders = {
            "url": self._stack.rabbitmq.url(LAB, self._stack.passwords[LAB]),
            "lab": LAB,
            "pool": POOL,
            "victim": VICTIM,
            "victim_pool": VICTIM_POOL,
            "requests": str(self._asked),
            "seed": seed,
            "seconds": seconds,
        }
        with subprocess.Popen(
            (sys.executable, "-m", "tests.hostile.attacker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=child_environment(),
            cwd=REPOSITORY,
            text=True,
        ) as attacker:
            assert attacker.stdin is not None
            attacker.stdin.write(json.dumps(orders))
            attacker.stdin.close()
            attacker.stdin = None
            try:
                yield attacker
            finally:
                attacker.kill()

    def _letters(self) -> int:
        done = self._stack.command("web.cli", "dead_letters", "list")
        done.check_returncode()
        return len(done.stdout.splitlines())


@contextmanager
def running(root: Path, say: Callable[[str], None]) -> Iterator[Trial]:
    """Start broker, archive, site and the victim's lab; the attacker's lab has no process."""
    bundle = HeldBundle(root)
    stack = Stack(
        root / "var",
        Ports.free(),
        model_path=bundle.path,
        lab_module="tests.integration.plain_lab",
        web_settings={
            **ASKS_AT_ONCE,
            "DEFAULT_MODEL": "held",
            # Clicks go to the pool `VICTIM_POOL`.
            "USE_LOCAL_INFERENCE": "false",
        },
        further_labs={VICTIM: VICTIM_POOL},
    )
    victim = stack.lab(bundle.path, {"LAB_NAME": VICTIM}, log=VICTIM, name=VICTIM)
    try:
        stack.start(say, with_lab=False)
        victim.start()
        wait_until(lambda: _consumed(stack), "take requests", 120.0, service=victim)
        yield Trial(stack, store_small_study(stack.orthanc), say, root / "asked")
    finally:
        victim.stop(grace=30.0)
        stack.stop()


def _consumed(stack: Stack) -> bool:
    rows = stack.rabbitmq.ctl("-q", "-p", topology.VHOST, "list_queues", "name", "consumers")
    queue = topology.requests_queue(VICTIM_POOL)
    return any(row.split() == [queue, "1"] for row in rows.splitlines())


def _megabytes(pid: int | None) -> float:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024
