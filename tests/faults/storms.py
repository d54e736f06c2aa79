"""The faults of a soak: each hits something for a while and mends it again.

Each says what it was, for the log, and whom it found: processes, connections or calls. One that
found nobody is no fault, and is counted apart.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from infra.local.process import Service
from tests.faults.archive_door import Wrong, is_any, is_download, is_store
from tests.faults.connections import established, most_within
from tests.faults.link import Link
from tests.faults.world import World

#: Seconds for a server to answer after a start: it shares the machine with all others here.
_SERVER_SECONDS = 180.0

#: Seconds that a wrong answer of the archive waits for a call that gets it.
_DOOR_SECONDS = 20.0


@dataclass
class Target:
    """What the faults of a soak can hit."""

    world: World
    labs: list[Service]
    #: By the words of the table: between whom the link lies.
    links: dict[str, Link]
    dice: random.Random
    #: Faults so far that found somebody, and those that found nobody, by kind.
    counts: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)

    def between(self, shortest: float, longest: float) -> float:
        """Seconds, drawn evenly."""
        return self.dice.uniform(shortest, longest)

    def one_of(self, names: list[str]) -> str:
        """One of the names, drawn evenly."""
        return self.dice.choice(names)


#: What a fault was, in words, and how many it found.
Blow = tuple[str, int]

#: Hits the target and mends it.
Storm = Callable[[Target], Blow]


def lab_killed(target: Target) -> Blow:
    """SIGKILL to one of the labs with all its children; started again at once or a little later."""
    number = target.dice.randrange(len(target.labs))
    away = target.dice.choice((0.0, 0.0, target.between(1, 10)))
    lab = target.labs[number]
    found = int(lab.alive)
    lab.kill()
    time.sleep(away)
    lab.start()
    return f"lab {number + 1}, away for {away:.0f} s", found


def lab_paused(target: Target) -> Blow:
    """SIGSTOP to one of the labs with all its children, then SIGCONT."""
    number, seconds = target.dice.randrange(len(target.labs)), target.between(2, 50)
    found = int(target.labs[number].alive)
    target.world.pause(target.labs[number])
    time.sleep(seconds)
    target.world.resume(target.labs[number])
    return f"lab {number + 1} for {seconds:.0f} s", found


def site_killed(target: Target) -> Blow:
    """SIGKILL to the site; started again a little later."""
    seconds = target.between(0, 8)
    stack = target.world.stack
    found = int(stack.web.alive)
    stack.web.kill()
    time.sleep(seconds)
    stack.start_web()
    return f"away for {seconds:.0f} s", found


def broker_restarted(target: Target) -> Blow:
    """SIGTERM to the broker, which ends cleanly; started again at once."""
    node = target.world.stack.rabbitmq
    found = int(node.broker.alive)
    node.broker.stop(30.0)
    node.start()
    node.wait_ready(_SERVER_SECONDS)
    return "cleanly", found


def broker_killed(target: Target) -> Blow:
    """SIGKILL to the broker; started again a little later."""
    seconds = target.between(0, 10)
    node = target.world.stack.rabbitmq
    found = int(node.broker.alive)
    node.kill()
    time.sleep(seconds)
    node.start()
    node.wait_ready(_SERVER_SECONDS)
    return f"away for {seconds:.0f} s", found


def link_cut(target: Target) -> Blow:
    """Every connection over one link reset, and none taken for a while."""
    name, seconds = target.one_of(list(target.links)), target.between(0, 20)
    link = target.links[name]
    found = established(link.port)
    link.cut()
    # Those who come meanwhile are reset too.
    found = max(found, most_within(link.port, seconds))
    link.mend()
    return f"{name} for {seconds:.0f} s", found


def link_frozen(target: Target) -> Blow:
    """Nothing passes one link and nothing is closed, for a while; then it is a cut."""
    name, seconds = target.one_of(list(target.links)), target.between(2, 50)
    link = target.links[name]
    link.freeze()
    found = most_within(link.port, seconds)
    link.mend()
    return f"{name} for {seconds:.0f} s", found


def archive_killed(target: Target) -> Blow:
    """SIGKILL to Orthanc, for labs and site; started again a little later."""
    seconds = target.between(0, 20)
    node = target.world.stack.orthanc
    found = int(node.server.alive)
    node.kill()
    time.sleep(seconds)
    node.start()
    node.wait_ready(_SERVER_SECONDS)
    return f"away for {seconds:.0f} s", found


def archive_busy(target: Target) -> Blow:
    """503 to the next three calls of the labs: of all, to downloads or to stores."""
    where = target.dice.choice((is_any, is_download, is_store))
    return _answer_wrongly(target, Wrong.BUSY, where, 3)


def answer_lost(target: Target) -> Blow:
    """The next store is done and not answered."""
    return _answer_wrongly(target, Wrong.ANSWER_LOST, is_store, 1)


def not_stored(target: Target) -> Blow:
    """The next store is answered with Success and not done."""
    return _answer_wrongly(target, Wrong.NOT_STORED, is_store, 1)


def truncated(target: Target) -> Blow:
    """The next download ends in the middle."""
    return _answer_wrongly(target, Wrong.TRUNCATED, is_download, 1)


def _answer_wrongly(
    target: Target, wrong: Wrong, where: Callable[[str, str], bool], times: int
) -> Blow:
    door = target.world.door
    door.go_wrong(wrong, where, times)
    latest = time.monotonic() + _DOOR_SECONDS
    while door.done < times and time.monotonic() < latest:
        time.sleep(0.1)
    door.mend()
    return f"{door.done} of {times} calls ({where.__name__})", door.done


#: What can happen, by its name in the table, and how often beside the others.
STORMS: dict[str, tuple[int, Storm]] = {
    "lab killed": (4, lab_killed),
    "lab paused": (2, lab_paused),
    "site killed": (2, site_killed),
    "broker restarted": (1, broker_restarted),
    "broker killed": (2, broker_killed),
    "link cut": (3, link_cut),
    "link frozen": (2, link_frozen),
    "archive killed": (2, archive_killed),
    "archive answers 503": (2, archive_busy),
    "archive's answer lost": (2, answer_lost),
    "upload not stored": (1, not_stored),
    "download truncated": (1, truncated),
}


def weather(dice: random.Random, mean_s: float) -> Iterator[tuple[float, str, Storm]]:
    """Without end: seconds of calm, and what comes after them. The dice alone decide."""
    names = list(STORMS)
    weights = [STORMS[name][0] for name in names]
    while True:
        (name,) = dice.choices(names, weights)
        yield dice.expovariate(1 / mean_s), name, STORMS[name][1]
