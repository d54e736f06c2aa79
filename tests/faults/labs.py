"""A second lab of the pool: beside the first one, or in its place."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.local.process import Service, wait_until
from messages import topology
from tests.faults.logs import said
from tests.faults.press import Click
from tests.faults.world import PATIENCE, World
from tests.integration.lab import HeldBundle
from tests.integration.wire import AckHold

#: The work queue of both.
QUEUE = topology.requests_queue("lab")


def beside(world: World, **settings: str) -> Service:
    """A second lab; returns once both are known to take requests."""
    other = world.start_other_lab(**settings)
    wait_consumers(world, 2)
    return other


def instead(world: World, **settings: str) -> Service:
    """A lab in the place of the first one, which is stopped until the world heals."""
    world.lab.stop(grace=30.0)
    wait_consumers(world, 0)
    other = world.start_other_lab(**settings)
    wait_consumers(world, 1)
    return other


def through_the_door(world: World) -> dict[str, str]:
    """Settings of a lab that reaches the archive as the first one does."""
    return {"ORTHANC_URL": f"http://127.0.0.1:{world.archive_link.port}"}


def wait_consumers(world: World, count: int) -> None:
    """Wait until the broker knows so many labs at the queue."""
    wait_until(
        lambda: world.listed("consumers").get(QUEUE) == [str(count)],
        f"have {count} labs take requests",
        PATIENCE,
    )


def logged(lab: Service, action: str, request_id: str) -> int:
    """How often this lab's log names the action for the request."""
    return said(lab, action, request_id)


def wait_logged(lab: Service, action: str, click: Click, count: int = 1) -> None:
    """Wait until this lab's log names the action for the click so often."""
    wait_until(
        lambda: logged(lab, action, click.request_id) >= count,
        f"log {action} for {click.request_id}",
        PATIENCE,
    )


def holder(world: World, other: Service, click: Click) -> tuple[Service, Service]:
    """Which of the two labs has taken the request, and which one has not."""
    took = logged(world.lab, "job.accepted", click.request_id)
    return (world.lab, other) if took else (other, world.lab)


@contextmanager
def acks_held(world: World) -> Iterator[AckHold]:
    """The first lab, connected anew over a relay that passes on all but its acks."""
    broker = world.lab_link.target_port
    with AckHold(broker) as wire:
        consuming = world.logged("broker.consuming", "")
        try:
            world.lab_link.target_port = wire.port
            world.lab_link.cut()
            world.lab_link.mend()
            world.wait_logged("broker.consuming", "", consuming + 1)
            yield wire
        finally:
            world.lab_link.target_port = broker


class VariantBundle(HeldBundle):
    """A bundle of the same name and version as the world's, with another inference."""

    def __init__(self, world: World, change: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(Path(tempfile.mkdtemp(prefix="variant-", dir=world.stack.root)))
        config = self.path / "configs" / "inference.json"
        inference = json.loads(config.read_text(encoding="utf-8"))
        change(inference)
        config.write_text(json.dumps(inference), encoding="utf-8")
