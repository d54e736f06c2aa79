"""Faults of the lab between its words to the broker: killed before one is heard, or confirmed."""

from __future__ import annotations

import os
import signal
import time

from infra.local.process import wait_until
from tests.faults.clicks import computing
from tests.faults.labs import acks_held, beside, wait_logged
from tests.faults.press import Click
from tests.faults.rows import row
from tests.faults.tiers import waiting_in_tiers
from tests.faults.world import PATIENCE, World


@row(
    "lab",
    "the lab is killed in the inference, beside another one",
    injected="SIGKILL to the lab while its bundle computes; a second lab of the pool lives",
    measures="killed to accepted by the other lab",
    goal=2,
)
def killed_beside_another(world: World) -> float:
    click = computing(world)
    other = beside(world)
    killed = time.monotonic()
    world.lab.kill()
    wait_logged(other, "job.accepted", click)
    recovery = time.monotonic() - killed
    world.bundle.release()
    return recovery


@row(
    "lab",
    "the lab is killed between the delivery and accepted",
    injected="all that the lab sends to the broker is held back; SIGKILL once it has begun; what "
    "was held back is dropped",
)
def killed_before_accepted(world: World) -> None:
    world.lab_link.hold(towards_target=True)
    click = world.click()
    world.wait_logged("job.accepted", click.request_id)
    _start_again(world)
    world.wait_state(click, "completed")
    told = {event["delivery"] for event in _events(world, click) if event["state"] == "accepted"}
    assert told == {1}, f"accepted was told under the deliveries {told}, and not the second only"


@row(
    "lab",
    "the lab is killed between the copy in a retry tier and retry_scheduled",
    injected="the child crashes; the broker's confirm of the copy is held back; SIGKILL",
)
def killed_before_retry_is_told(world: World) -> None:
    click = computing(world)
    world.lab_link.hold(towards_target=False)
    os.kill(world.child(), signal.SIGSEGV)
    wait_until(lambda: waiting_in_tiers(world) == 1, "have a copy in a tier", PATIENCE)
    _start_again(world)
    # The delivery that came back, and the copy: two attempts of which one stores.
    world.wait_state(click, "completed")
    wait_until(lambda: waiting_in_tiers(world) == 0, "have the copy out of its tier", PATIENCE)
    assert all(event["state"] != "waiting" for event in _events(world, click)), "it was told"


@row(
    "lab",
    "the lab is killed between retry_scheduled and the ack",
    injected="a relay passes on all but the lab's acks; the child crashes; SIGKILL once an ack is "
    "held",
)
def killed_before_the_ack_of_a_retry(world: World) -> None:
    with acks_held(world) as wire:
        click = computing(world)
        os.kill(world.child(), signal.SIGSEGV)
        world.wait_state(click, "waiting")
        assert wire.acks_held.wait(PATIENCE), "nothing was acknowledged"
        world.lab.kill()
    _start_again(world)
    world.wait_state(click, "completed")
    wait_until(lambda: waiting_in_tiers(world) == 0, "have the copy out of its tier", PATIENCE)


def _start_again(world: World) -> None:
    """Kill the lab if it lives, lose what it had sent and not got through, and start it."""
    if world.lab.alive:
        world.lab.kill()
    world.lab_link.cut()
    world.lab_link.mend()
    world.bundle.release()
    world.lab.start()


def _events(world: World, click: Click) -> list[dict[str, object]]:
    answer = world.reader.get(f"/api/v1/requests/{click.request_id}/events")
    answer.raise_for_status()
    events: list[dict[str, object]] = answer.json()["events"]
    return events
