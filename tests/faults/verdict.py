"""What must hold after every fault: one outcome, one result, and everybody is told the same."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from infra.demo.reader import ENDED
from infra.local.process import ServiceFailed, wait_until
from messages import topology
from tests.faults import left_behind
from tests.faults.archive_check import archive_faults
from tests.faults.fault import Fault
from tests.faults.pages import differences, page_faults
from tests.faults.rest import REST_SECONDS, Rest
from tests.faults.stored import by_request
from tests.faults.world import PATIENCE, Click, World


@dataclass(frozen=True)
class Waits:
    """Seconds that everything has to become as it must be."""

    #: For all outcomes, and then for rest.
    patience: float = PATIENCE
    #: For which all must be at rest.
    rest: float = REST_SECONDS
    #: For the open page to be told, once all is at rest: some looks of `web.live.watch`, or a
    #: socket that is opened anew.
    page: float = 60.0
    #: For what was killed to end.
    ends: float = left_behind.SECONDS


#: What a click shows: a fresh load, and the newest word to the open page.
_Seen = tuple[dict[str, Any], dict[str, Any] | None]


def verdict(
    world: World, allowed: frozenset[str], letters: int, waits: Waits | None = None
) -> list[Fault]:
    """Wait until all is at rest, and return what is wrong: nothing, if all is well.

    `allowed` are the outcomes that the row's requests may have, `letters` the dead letters that
    belong there. Outcomes are judged at rest and looked at again after the archive: one that
    changes later is no outcome.
    """
    waits = waits or Waits()
    found = _outcomes(world, waits)
    found += _rest(world, waits)
    latest = time.monotonic() + waits.page
    seen = {click.request_id: _wait_page(world, click, latest) for click in world.clicks}
    for click in world.clicks:
        shown, told = seen[click.request_id]
        found += _allowed(click, shown, allowed)
        found += page_faults(click.request_id, told, shown, click.witness.ends)
    found += _archive(world, seen)
    for click in world.clicks:
        found += _still(world, click, seen[click.request_id])
    found += _letters(world, letters)
    left = left_behind.left_behind(world.root, world.services(), waits.ends)
    return found + [Fault(sentence) for sentence in left]


def _outcomes(world: World, waits: Waits) -> list[Fault]:
    found = []
    latest = time.monotonic() + waits.patience
    for click in world.clicks:
        try:
            world.wait_state(click, *ENDED, timeout=max(0.0, latest - time.monotonic()))
        except ServiceFailed:
            state = world.state(click).get("state")
            found.append(Fault(f"{click.request_id} has no outcome: {state}"))
    return found


def _rest(world: World, waits: Waits) -> list[Fault]:
    try:
        wait_until(Rest(world.idle, waits.rest), "", waits.patience)
    except ServiceFailed:
        sentences = world.unrest() or ["messages come and go"]
        return [Fault(f"no rest: {sentence}") for sentence in sentences]
    return []


def _wait_page(world: World, click: Click, latest: float) -> _Seen:
    """What load and page say once they have the same version, or when the time is over."""
    while True:
        shown, told = world.state(click), click.witness.last
        same = bool(shown) and (told or {}).get("version") == shown.get("version")
        if same or time.monotonic() > latest:
            return shown, told
        time.sleep(0.1)


def _allowed(click: Click, shown: dict[str, Any], allowed: frozenset[str]) -> list[Fault]:
    state = shown.get("state")
    if state not in ENDED or state in allowed:
        return []
    return [Fault(f"{click.request_id} ended {state}: {shown.get('failure')}")]


def _archive(world: World, seen: dict[str, _Seen]) -> list[Fault]:
    """Every object that is there since the row began is one that a click of its study made."""
    clicks = [*world.clicks, *world.forgotten]
    stored = by_request(world.objects(), {c.request_id: c.study.study_id for c in clicks})
    found = [
        Fault(f"object {one.uid} ({one.dataset.Modality}) belongs to no request of the row")
        for one in stored.get("", [])
    ]
    for click in world.clicks:
        name = click.request_id
        objects = stored.get(name, [])
        found += archive_faults(name, seen[name][0], objects, invented=click.invented)
    return found


def _still(world: World, click: Click, seen: _Seen) -> list[Fault]:
    shown, told = seen
    found = []
    if changed := differences(shown, world.state(click)):
        found.append(f"changed after all was at rest: {', '.join(changed)}")
    if changed := differences(told or {}, click.witness.last or {}):
        found.append(f"the open page was told more after all was at rest: {', '.join(changed)}")
    return [Fault(f"{click.request_id}: {sentence}") for sentence in found]


def _letters(world: World, expected: int) -> list[Fault]:
    found = []
    # The site moves each letter into a row; what lies in the queue was not moved.
    if left := world.queues().get(topology.DEAD_QUEUE, (0, 0))[0]:
        found.append(Fault(f"{left} letters lie in mri.dead"))
    count = world.letters()
    if count != expected:
        found.append(Fault(f"{count} dead letters, {expected} belong there"))
    return found
