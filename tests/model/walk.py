"""Long schedules by weighted chance: deeper than hypothesis goes, and not shrunk."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.model.schedule import (
    FAULTS,
    LONG,
    SHORT,
    Going,
    Schedules,
    cancellable,
    dead,
    known,
    to_confirm,
    to_sweep,
)

#: What to do, how often beside the others, and whether it can be done now.
Action = tuple[Callable[[Schedules, Random], None], float, Callable[[Schedules], object]]


def _always(_: Schedules) -> bool:
    return True


def _archive_there(m: Schedules) -> bool:
    return not m.world.archive.away


def _lab(random: Random) -> dict[str, int]:
    return {"lab": random.randrange(2), "n": random.randrange(6), "steps": random.randrange(6)}


def _n(random: Random) -> dict[str, int]:
    return {"n": random.randrange(6)}


def _coin(random: Random) -> bool:
    return random.random() < 0.5


def _time_passes(m: Schedules, r: Random) -> None:
    # Seldom a week: what is left to happen to a request after that is little.
    m.time_passes(r.choice(LONG) if r.random() < 0.2 else LONG[0])


ACTIONS: tuple[Action, ...] = (
    (lambda m, r: m.lab_works(**_lab(r)), 6, _always),
    (lambda m, r: m.site_works(listens=_coin(r), hints=_coin(r)), 4, _always),
    (lambda m, r: m.a_moment_passes(r.choice(SHORT)), 1, _always),
    (_time_passes, 1, lambda m: not m.storing()),
    (lambda m, r: m.reconciler_looks(beats=_coin(r)), 1, _always),
    (lambda m, _: m.heartbeats(), 1, _always),
    (lambda m, r: m.progress_is_lost(r.randrange(2)), 0.3, _always),
    (lambda m, r: m.lab_hears_cancels(r.randrange(2), told=_coin(r)), 1, _always),
    (
        lambda m, r: m.job_meets_a_fault(
            **_lab(r), fault=r.choices(FAULTS, (4, 2, 1, 1))[0], more=r.randrange(4)
        ),
        4,
        _always,
    ),
    (lambda m, r: m.lab_goes(**_lab(r), how=r.choice(list(Going)), back=_coin(r)), 5, _always),
    (lambda m, r: m.lab_connects(r.randrange(2)), 3, _always),
    (lambda m, _: m.archive_goes_or_returns(away=True), 0.4, _archive_there),
    (lambda m, _: m.archive_goes_or_returns(away=False), 2, lambda m: not _archive_there(m)),
    (lambda m, r: m.reader_cancels(**_n(r)), 0.3, lambda m: m.rows(cancellable)),
    (
        lambda m, r: m.last_image_arrives(**_n(r), fits=r.random() < 0.8),
        1,
        lambda m: m.site.arriving,
    ),
    (lambda m, r: m.staff_replays(**_n(r)), 1, lambda m: m.rows(dead)),
    (lambda m, r: m.site_confirms(**_n(r)), 3, lambda m: m.rows(to_confirm)),
    (lambda m, r: m.somebody_claims(**_n(r)), 0.15, lambda m: m.rows(known)),
    (lambda m, r: m.sweep_begins(**_n(r)), 1, lambda m: m.rows(to_sweep)),
    (lambda m, r: m.sweep_ends(**_n(r)), 1, lambda m: m.world.reconciler.looks),
    (lambda m, r: m.relay_takes(**_n(r)), 1, lambda m: m.site.waiting()),
    (lambda m, r: m.relay_publishes(**_n(r)), 1, lambda m: m.site.flying),
    (lambda m, r: m.relay_dies(**_n(r)), 1, lambda m: m.site.flying),
    (lambda m, r: m.relay_marks(**_n(r)), 1, lambda m: any(m.site.flying.values())),
    (lambda m, r: m.site_hears_one(**_n(r), again=_coin(r)), 3, lambda m: m.broker.replies),
    (lambda m, r: m.site_reads_a_letter(**_n(r)), 1, lambda m: m.broker.dead),
    (lambda m, r: m.request_is_purged(**_n(r)), 0.1, lambda m: m.broker.ready),
    (lambda m, r: m.reply_is_purged(**_n(r)), 0.2, lambda m: m.broker.replies),
)


def walk(seed: int, steps: int) -> Schedules:
    """Go through one schedule to its rest; raises AssertionError for a broken promise."""
    random = Random(seed)
    machine = Schedules()
    machine.begin(
        random.randint(1, 3),
        random.randrange(8),
        # One in eight: a request that is held meets little else.
        arriving=random.randrange(8) & random.randrange(8) & random.randrange(8),
        published=_coin(random),
        seed=seed,
    )
    for _ in range(steps):
        possible = [action for action in ACTIONS if action[2](machine)]
        action = random.choices(possible, [weight for _, weight, _ in possible])[0]
        action[0](machine, random)
        machine.promises_hold()
    machine.teardown()
    return machine
