"""What rows about the archive share: how a request gets there, and how it must have gone."""

from __future__ import annotations

import time

from infra.local.process import wait_until
from tests.faults.world import PATIENCE, Click, World


def click_not_taken(world: World) -> Click:
    """A request in the queue, while the lab that will take it stands still."""
    world.pause(world.lab)
    click = world.click()
    world.wait_state(click, "published")
    return click


def spent_one_attempt(world: World, click: Click) -> None:
    """Assert that the request was given out once and needed no second try."""
    assert world.state(click)["attempt"] == 1, "an attempt was spent"
    assert world.logged("job.accepted", click.request_id) == 1, "it was given out again"


def after_tiers(world: World, click: Click, *, attempts: int) -> float:
    """Seconds from the fault to the result, which came with this attempt."""
    wait_until(lambda: world.door.done > 0, "meet the fault", PATIENCE)
    met = time.monotonic()
    recovery = world.wait_state(click, "completed") - met
    assert world.state(click)["attempt"] == attempts, world.state(click)["attempt"]
    return recovery


def failed_with(world: World, click: Click, code: str) -> None:
    """Assert the reason that the page gives."""
    said = world.state(click)["failure"]
    assert said["code"] == code, said
