"""The site of a world, served otherwise for a while."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.faults.world import World


@contextmanager
def served_otherwise(world: World, settings: Mapping[str, str]) -> Iterator[None]:
    """Inside the block the site runs with these further settings; the same data, the same log."""
    stack = world.stack
    normal = stack.web
    normal.stop()
    stack.web = stack.site(settings=settings)
    try:
        stack.start_web()
        yield
    finally:
        stack.web.stop()
        stack.web = normal
        stack.start_web()
