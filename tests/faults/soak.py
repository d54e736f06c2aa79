"""``make soak``: many requests under faults at random, and what became of every one.

``python -m tests.faults.soak --requests 2000 --minutes 60 --seed 7``. Exit status 0 when nothing
was lost, stuck, doubled, disagreeing or left behind, and few failed. The seed decides the clicks,
the faults, their order and their lengths; what they hit is up to the clock.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from infra.demo.reader import ENDED
from infra.local.process import Service, ServiceFailed
from messages import topology
from tests.faults import site_rows
from tests.faults.circumstances import circumstances, versions_of
from tests.faults.link import Link
from tests.faults.queue_list import expires
from tests.faults.reckoning import reckon
from tests.faults.record import write_json
from tests.faults.rest import Rest
from tests.faults.running import running_world
from tests.faults.soak_outcome import CALM_S, Outcome, Plan, table
from tests.faults.soak_readers import SoakReaders, Wish, wishes
from tests.faults.storms import Target, weather
from tests.faults.tiers import shorten
from tests.faults.world import OTHER_LAB, World
from tests.integration.lab import store_small_study

#: Clicks on one study: an archive lists a study's series at each of them.
PER_STUDY = 25

#: Seconds without any news after which what is not at rest is stuck: longer than the longest tier
#: and than the site needs to find a lost request.
SILENCE = 900.0

#: Seconds that the open pages get, once all is at rest, to be told so.
PAGES_SECONDS = 60.0

#: Seconds between two lines that say how far it is.
_TELL = 30.0


def soak(
    plan: Plan, root: Path, say: Callable[[str], None], *, lab_module: str = "consumer"
) -> Outcome:
    """Run it in a world of its own under `root`; `lab_module` runs as its labs."""
    outcome: Outcome | None = None
    try:
        with running_world(root, say, lab_module=lab_module) as world:
            outcome = _Soak(plan, world, say).run()
    except ServiceFailed as error:
        if outcome is None:
            raise
        # What the soak has shown is not lost with the end of its world.
        return replace(outcome, left_behind=str(error))
    return outcome


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
                    dict(target.missed),
                    cancels=sum(w.cancel_taken for w in wanted),
                    letters=world.letters(),
                    left=self._left(),
                    took=rested - began,
                    settling=rested - calm,
                    versions=versions_of(world),
                )
            finally:
                readers.stop()
                world.end()

    def _other_lab(self, link: Link) -> Service:
        world = self._world
        password = world.stack.passwords[OTHER_LAB]
        return world.start_other_lab(
            RABBITMQ_URL=f"amqp://{OTHER_LAB}:{password}@127.0.0.1:{link.port}/{topology.VHOST}",
            ORTHANC_URL=f"http://127.0.0.1:{world.archive_link.port}",
        )

    def _storm(self, target: Target, readers: SoakReaders, until: float) -> None:
        dice = random.Random(f"{self._plan.seed} weather")
        for calm, name, storm in weather(dice, self._plan.calm_s):
            over = min(until, time.monotonic() + calm)
            while time.monotonic() < over:
                self._tell(readers)
                time.sleep(max(0.0, min(1.0, over - time.monotonic())))
            if time.monotonic() >= until:
                return
            what, found = storm(target)
            if found:
                target.counts[name] += 1
                self._say(f"    fault {target.counts.total()}: {name}, {what}")
            else:
                target.missed[name] += 1
                self._say(f"    found nobody: {name}, {what}")

    def _mend(self, target: Target) -> None:
        for lab in target.labs:
            if not lab.alive:
                lab.start()
        for link in target.links.values():
            link.mend()
        self._world.heal()

    def _wait_for_rest(self, readers: SoakReaders) -> None:
        """Until every click was answered and every request has ended, or nothing is heard."""
        world = self._world

        def over() -> bool:
            return readers.over and not site_rows.unfinished(world) and world.idle()

        rest = Rest(over)
        heard, news = time.monotonic(), ""
        while not rest():
            now = f"{readers.answered} {site_rows.versions(world)}"
            if now != news:
                heard, news = time.monotonic(), now
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
            states = ", ".join(f"{n} {state}" for state, n in site_rows.states(self._world))
            self._say(f"  {readers.answered} of {self._plan.requests} asked: {states}")

    def _left(self) -> int:
        queues = self._world.queues()
        return sum(n for name, (n, _) in queues.items() if not expires(name))


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="clicks; 200 if not given")
    parser.add_argument("--minutes", type=float, default=10.0, help="of faults; 10 if not given")
    parser.add_argument("--seed", type=int, default=None, help="a new one if not given")
    parser.add_argument(
        "--calm", type=float, default=CALM_S, help=f"mean seconds between faults; {CALM_S:g}"
    )
    parser.add_argument("--short-tiers", action="store_true", help="retry after 2, 4 and 6 s")
    parser.add_argument("--json", type=Path, help="write what was shown to this file")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    plan = Plan(given.requests, given.minutes, seed, given.short_tiers, given.calm)
    head = circumstances()
    _say(f"{plan.requests} requests, {plan.minutes:g} minutes, seed {plan.seed}")
    with tempfile.TemporaryDirectory(prefix="labrelay-soak-") as directory:
        try:
            outcome = soak(plan, Path(directory), _say)
        except ServiceFailed as error:
            _say(f"make soak: {error}")
            return 1
    _say(table(outcome))
    if given.json:
        write_json(given.json, as_json(head, outcome))
    return 0 if outcome.held else 1


def as_json(head: dict[str, Any], outcome: Outcome) -> dict[str, Any]:
    """The circumstances, the seed and everything that the soak has shown."""
    versions = {**head["versions"], **outcome.versions}
    shown = {**asdict(outcome), "held": outcome.held}
    return {**head, **shown, "versions": versions, "seed": outcome.plan.seed}


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
