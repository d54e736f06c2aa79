"""``make soak``: many requests under faults at random, and what became of every one.

``python -m tests.faults.soak --requests 2000 --minutes 60 --seed 7``. Exit status 0 when nothing
was lost, stuck, doubled or disagreeing. The seed decides the clicks, the faults, their order and
their lengths; what they hit is up to the clock.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.demo.reader import ENDED
from infra.local.process import ServiceFailed
from messages import topology
from tests.faults.link import Link
from tests.faults.reckoning import reckon
from tests.faults.soak_outcome import Outcome, Plan, table
from tests.faults.soak_readers import SoakReaders, Wish, wishes
from tests.faults.storms import Target, weather
from tests.faults.tiers import shorten
from tests.faults.world import OTHER_LAB, World, running_world
from tests.integration.lab import store_small_study

#: Clicks on one study: an archive lists a study's series at each of them.
PER_STUDY = 25

#: Seconds of calm between two faults on average: a share of the soak, and at least so many.
CALM_SHARE, LEAST_CALM = 1 / 240, 8.0

#: Seconds without any news after which what is not at rest is stuck: longer than the longest tier
#: and than the site needs to find a lost request.
SILENCE = 900.0

#: Seconds that the open pages get, once all is at rest, to be told so.
PAGES_SECONDS = 60.0

#: Seconds between two lines that say how far it is.
_TELL = 30.0


def soak(plan: Plan, root: Path, say: Callable[[str], None]) -> Outcome:
    """Run it in a world of its own under `root`."""
    with running_world(root, say) as world:
        return _Soak(plan, world, say).run()


class _Soak:
    def __init__(self, plan: Plan, world: World, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._world = world
        self._say = say
        self._told = 0.0

    def run(self) -> Outcome:
        plan, world = self._plan, self._world
        if plan.short_tiers:
            shorten(world)
        with Link(world.stack.ports.amqp) as other_link:
            labs = [world.lab, self._other_lab(other_link)]
            links = {
                "site and broker": world.site_link,
                "lab 1 and broker": world.lab_link,
                "lab 2 and broker": other_link,
                "labs and archive": world.archive_link,
            }
            target = Target(world, labs, links, random.Random(f"{plan.seed} blows"))
            studies = [
                store_small_study(world.stack.orthanc)
                for _ in range(-(-plan.requests // PER_STUDY))
            ]
            dice = random.Random(f"{plan.seed} clicks")
            wanted = wishes(studies, plan.requests, plan.minutes * 60, dice)
            readers = SoakReaders(world.reader, wanted, key=f"soak-{plan.seed}")
            world.begin()
            try:
                began = time.monotonic()
                readers.start()
                self._storm(target, readers, began + plan.minutes * 60)
                calm = time.monotonic()
                self._mend(target)
                self._wait_for_rest(readers)
                rested = time.monotonic()
                self._wait_for_pages(readers, wanted)
                return Outcome(
                    plan,
                    reckon(world, wanted, readers),
                    dict(target.counts),
                    cancels=sum(w.cancel_taken for w in wanted),
                    letters=world.letters(),
                    left=self._left(),
                    took=rested - began,
                    settling=rested - calm,
                )
            finally:
                readers.stop()
                world.end()

    def _other_lab(self, link: Link) -> Any:
        world = self._world
        password = world.stack.passwords[OTHER_LAB]
        return world.start_other_lab(
            RABBITMQ_URL=f"amqp://{OTHER_LAB}:{password}@127.0.0.1:{link.port}/{topology.VHOST}",
            ORTHANC_URL=f"http://127.0.0.1:{world.archive_link.port}",
            TMPDIR=str(world.stack.root.parent / "tmp"),
        )

    def _storm(self, target: Target, readers: SoakReaders, until: float) -> None:
        mean = max(LEAST_CALM, self._plan.minutes * 60 * CALM_SHARE)
        for calm, name, storm in weather(random.Random(f"{self._plan.seed} weather"), mean):
            over = min(until, time.monotonic() + calm)
            while time.monotonic() < over:
                self._tell(readers)
                time.sleep(max(0.0, min(1.0, over - time.monotonic())))
            if time.monotonic() >= until:
                return
            what = storm(target)
            target.counts[name] += 1
            self._say(f"    fault {target.counts.total()}: {name}, {what}")

    def _mend(self, target: Target) -> None:
        for lab in target.labs:
            if not lab.alive:
                lab.start()
        for link in target.links.values():
            link.mend()
        self._world.heal()

    def _wait_for_rest(self, readers: SoakReaders) -> None:
        """Until every click was answered and every request has ended, or nothing is heard."""
        heard, news = time.monotonic(), ""
        while True:
            now = self._news(readers)
            if now != news:
                heard, news = time.monotonic(), now
            if readers.over and self._unfinished() == 0 and self._world.idle():
                return
            if time.monotonic() - heard > SILENCE:
                self._say(f"no news for {SILENCE:.0f} s")
                return
            self._tell(readers)
            time.sleep(1.0)

    def _wait_for_pages(self, readers: SoakReaders, wanted: list[Wish]) -> None:
        """Until the open pages know an end of everything, or had the time for it."""
        names = {w.request_id: readers.audience_of(w) for w in wanted if w.request_id}
        latest = time.monotonic() + PAGES_SECONDS
        while time.monotonic() < latest:
            if all(audience.last(name).get("state") in ENDED for name, audience in names.items()):
                break
            time.sleep(0.5)
        # A newer word than the end that they know comes within the site's own look at versions.
        time.sleep(5.0)

    def _tell(self, readers: SoakReaders) -> None:
        if time.monotonic() - self._told > _TELL:
            self._told = time.monotonic()
            states = ", ".join(f"{n} {state}" for state, n in self._states())
            self._say(f"  {readers.answered} of {self._plan.requests} asked: {states}")

    def _states(self) -> list[tuple[str, int]]:
        return self._rows("SELECT state, COUNT(*) FROM {} GROUP BY state ORDER BY state")

    def _unfinished(self) -> int:
        """Requests without an outcome, and cancelled ones that the archive is still swept for."""
        rows = self._rows(
            "SELECT COUNT(*) FROM {} WHERE state NOT IN ('completed', 'failed', 'cancelled', "
            "'dead') OR (state = 'cancelled' AND sweep_due_at <= datetime('now'))"
        )
        return int(rows[0][0])

    def _news(self, readers: SoakReaders) -> str:
        versions = self._rows("SELECT SUM(version) FROM {}")
        return f"{readers.answered} {versions}"

    def _rows(self, query: str) -> list[Any]:
        path = self._world.stack.root / "web" / "web.sqlite3"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as database:
            return database.execute(query.format("labrelay_inference_inferencerequest")).fetchall()

    def _left(self) -> int:
        queues = self._world.queues()
        return sum(n for name, (n, _) in queues.items() if name != topology.PROGRESS_QUEUE)


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="clicks; 200 if not given")
    parser.add_argument("--minutes", type=float, default=10.0, help="of faults; 10 if not given")
    parser.add_argument("--seed", type=int, default=None, help="a new one if not given")
    parser.add_argument("--short-tiers", action="store_true", help="retry after 2, 4 and 6 s")
    parser.add_argument("--json", type=Path, help="write what was shown to this file")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    plan = Plan(given.requests, given.minutes, seed, given.short_tiers)
    _say(f"{plan.requests} requests, {plan.minutes:g} minutes, seed {plan.seed}")
    with tempfile.TemporaryDirectory(prefix="labrelay-soak-") as directory:
        try:
            outcome = soak(plan, Path(directory), _say)
        except ServiceFailed as error:
            _say(f"make soak: {error}")
            return 1
    _say(table(outcome))
    if given.json:
        given.json.write_text(json.dumps(asdict(outcome), indent=2) + "\n")
    return 0 if outcome.held else 1


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
