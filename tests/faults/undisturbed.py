"""Whether a message was read or put aside without harm to its reader."""

from __future__ import annotations

from tests.faults.logs import said
from tests.faults.world import World


class Undisturbed:
    """That neither side lost its broker or was started again since this was made."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._before = self._now()

    def check(self) -> None:
        """Assert it."""
        now = self._now()
        assert now == self._before, f"a message disturbed its reader: {self._before}, {now}"

    def _now(self) -> tuple[object, ...]:
        world = self._world
        return (
            world.lab.pid,
            world.lab.alive,
            world.logged("broker.away", ""),
            world.stack.web.pid,
            world.stack.web.alive,
            site_said(world, "broker_lost"),
        )


def site_said(world: World, event: str, about: str = "") -> int:
    """How many lines of the site's log name the event, and what it is about."""
    return said(world.stack.web, event, about)
