"""Clicks as faults meet them."""

from __future__ import annotations

from tests.faults.press import Click
from tests.faults.world import World


def computing(world: World) -> Click:
    """A request whose bundle computes until it is released."""
    begun = world.inferences
    world.bundle.hold()
    click = world.click()
    world.wait_inferring(begun + 1)
    return click
