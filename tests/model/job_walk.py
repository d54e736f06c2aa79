"""Schedules of real jobs by weighted chance: as in `walk`, more of them and not shrunk."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from tests.model.job_fakes import Mood
from tests.model.job_schedule import FAR, FAULTS, LABS, VOXELS, JobRuns

#: What to do, how often beside the others, and whether it can be done now.
Action = tuple[Callable[[JobRuns, Random], None], float, Callable[[JobRuns], object]]


def _live(m: JobRuns) -> object:
    return m.world.live


def _well(m: JobRuns) -> bool:
    return m.world.mood is Mood.WELL


def _n(random: Random) -> dict[str, Any]:
    return {"n": random.randrange(6), "far": random.choice(FAR)}


def _coin(random: Random) -> bool:
    return random.random() < 0.5


def _take(m: JobRuns, r: Random) -> None:
    m.lab_takes(**_n(r), lab=r.choice(LABS), voxels=r.choice(VOXELS))


ACTIONS: tuple[Action, ...] = (
    (_take, 4, lambda m: m.world.ready),
    (lambda m, r: m.run_goes_on(**_n(r)), 2, _live),
    (
        lambda m, r: m.call_fails(**_n(r), fault=r.choice(FAULTS), more=r.choice(FAR)),
        6,
        _live,
    ),
    (lambda m, r: m.connection_is_lost(**_n(r), back=_coin(r)), 2, _live),
    (lambda m, r: m.lab_is_killed(**_n(r)), 0.5, _live),
    (lambda m, r: m.lab_stops(**_n(r), more=r.choice(FAR), counted=_coin(r)), 1, _live),
    (lambda m, _: m.reader_cancels(), 0.2, lambda m: not m.world.cancel_asked),
    (lambda m, r: m.cancel_is_heard(**_n(r)), 1.5, lambda m: m.world.hearing),
    (lambda m, r: m.deadline_passes(**_n(r)), 0.3, lambda m: m.world.limited),
    (lambda m, _: m.archive_becomes(Mood.AWAY), 0.5, _well),
    (lambda m, _: m.archive_becomes(Mood.FAILS), 0.3, _well),
    (lambda m, _: m.archive_becomes(Mood.FLAPS), 0.1, _well),
    (lambda m, _: m.archive_becomes(Mood.WELL), 1.5, lambda m: not _well(m)),
    (lambda m, _: m.tiers_expire(), 3, lambda m: m.world.tiers),
    (lambda m, _: m.site_sends_again(), 0.2, lambda m: m.world.newest.attempt < 6),
)


def walk(seed: int, steps: int) -> JobRuns:
    """Go through one schedule to its rest; raises AssertionError for a broken promise."""
    random = Random(seed)
    machine = JobRuns()
    chance = {"twice": random.random() < 0.3, "hopeless": random.random() < 0.3}
    machine.begin(random.choice([0, None]), **chance, seed=seed)
    try:
        for _ in range(steps):
            possible = [action for action in ACTIONS if action[2](machine)]
            action = random.choices(possible, [weight for _, weight, _ in possible])[0]
            action[0](machine, random)
            machine.promises_hold()
    finally:
        machine.teardown()
    return machine
