"""The faults of a soak: each hits something for a while and mends it again."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from infra.local.process import Service
from tests.faults.archive_door import Wrong, is_any, is_download, is_store
from tests.faults.link import Link
from tests.faults.world import World

#: Seconds for the site to answer after a start: it shares the machine with all others here.
_SITE_SECONDS = 180.0

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
    #: Faults so far, by kind.
    counts: Counter[str] = field(default_factory=Counter)

    def between(self, shortest: float, longest: float) -> float:
        """Seconds, drawn evenly."""
        return self.dice.uniform(shortest, longest)

    def one_of(self, names: list[str]) -> str:
        """One of the names, drawn evenly."""
        return self.dice.choice(names)


#: Hits the target and mends it; returns what it was, for the log.
Storm = Callable[[Target], str]


def lab_killed(target: Target) -> str:
    """SIGKILL to one of the labs with all its children; started again at once or a little later."""
    number = target.dice.randrange(len(target.labs))
    away = target.dice.choice((0.0, 0.0, target.between(1, 10)))
    lab = target.labs[number]
    lab.kill()
    time.sleep(away)
    lab.start()
    return f"lab {number + 1}, away for {away:.0f} s"


def lab_paused(target: Target) -> str:
    """SIGSTOP to one of the labs with all its children, then SIGCONT."""
    number, seconds = target.dice.randrange(len(target.labs)), target.between(2, 50)
    target.world.pause(target.labs[number])
    time.sleep(seconds)
    target.world.resume(target.labs[number])
    return f"lab {number + 1} for {seconds:.0f} s"


def site_killed(target: Target) -> str:
    """SIGKILL to the site; started again a little later."""
    seconds = target.between(0, 8)
    web = target.world.stack.web
    web.kill()
    time.sleep(seconds)
    web.start()
    web.wait_until(lambda: _answers(target.world), "answer after its start", _SITE_SECONDS)
    return f"away for {seconds:.0f} s"


def _answers(world: World) -> bool:
    import httpx

    try:
        return httpx.get(f"{world.stack.url}/login/", timeout=5.0).status_code == 200
    except httpx.HTTPError:
        return False


def broker_restarted(target: Target) -> str:
    """SIGTERM to the broker, which ends cleanly; started again at once."""
    node = target.world.stack.rabbitmq
    node.broker.stop(30.0)
    node.start()
    node.wait_ready(_SITE_SECONDS)
    return "cleanly"


def broker_killed(target: Target) -> str:
    """SIGKILL to the broker; started again a little later."""
    seconds = target.between(0, 10)
    node = target.world.stack.rabbitmq
    node.kill()
    time.sleep(seconds)
    node.start()
    node.wait_ready(_SITE_SECONDS)
    return f"away for {seconds:.0f} s"


def link_cut(target: Target) -> str:
    """Every connection over one link reset, and none taken for a while."""
    name, seconds = target.one_of(list(target.links)), target.between(0, 20)
    target.links[name].cut()
    time.sleep(seconds)
    target.links[name].mend()
    return f"{name} for {seconds:.0f} s"


def link_frozen(target: Target) -> str:
    """Nothing passes one link and nothing is closed, for a while; then it is a cut."""
    name, seconds = target.one_of(list(target.links)), target.between(2, 50)
    target.links[name].freeze()
    time.sleep(seconds)
    target.links[name].mend()
    return f"{name} for {seconds:.0f} s"


def archive_killed(target: Target) -> str:
    """SIGKILL to Orthanc, for labs and site; started again a little later."""
    seconds = target.between(0, 20)
    node = target.world.stack.orthanc
    node.kill()
    time.sleep(seconds)
    node.start()
    node.wait_ready(_SITE_SECONDS)
    return f"away for {seconds:.0f} s"


def archive_busy(target: Target) -> str:
    """503 to the next three calls of the labs: of all, to downloads or to stores."""
    where = target.dice.choice((is_any, is_download, is_store))
    return _answer_wrongly(target, Wrong.BUSY, where, 3)


def answer_lost(target: Target) -> str:
    """The next store is done and not answered."""
    return _answer_wrongly(target, Wrong.ANSWER_LOST, is_store, 1)


def not_stored(target: Target) -> str:
    """The next store is answered with Success and not done."""
    return _answer_wrongly(target, Wrong.NOT_STORED, is_store, 1)


def truncated(target: Target) -> str:
    """The next download ends in the middle."""
    return _answer_wrongly(target, Wrong.TRUNCATED, is_download, 1)


def _answer_wrongly(
    target: Target, wrong: Wrong, where: Callable[[str, str], bool], times: int
) -> str:
    door = target.world.door
    door.go_wrong(wrong, where, times)
    latest = time.monotonic() + _DOOR_SECONDS
    while door.done < times and time.monotonic() < latest:
        time.sleep(0.1)
    door.mend()
    return f"{door.done} of {times} calls ({where.__name__})"


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
