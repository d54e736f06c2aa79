"""Faults of the lab: frozen, half-open or cut off, and going on afterwards."""

from __future__ import annotations

import time

from tests.faults.archive_door import is_store
from tests.faults.clicks import computing
from tests.faults.hold import Moment
from tests.faults.labs import beside, wait_logged
from tests.faults.rows import row
from tests.faults.world import PATIENCE, World

#: Seconds that a lab is frozen.
FROZEN = 60.0

#: Seconds that the network is cut.
CUT = 20.0


@row(
    "lab",
    "the lab is frozen for 60 s in the inference and goes on",
    injected=f"SIGSTOP to the lab and its children, SIGCONT after {FROZEN:.0f} s; a second lab",
    measures="frozen to accepted by the other lab",
    goal=40,
)
def frozen(world: World) -> float:
    click = computing(world)
    other = beside(world)
    began = time.monotonic()
    world.pause(world.lab)
    wait_logged(other, "job.accepted", click)
    recovery = time.monotonic() - began
    world.bundle.release()
    world.wait_state(click, "completed")
    time.sleep(max(0.0, began + FROZEN - time.monotonic()))
    world.resume(world.lab)
    # It knows nothing of the other one and brings its own work to an end.
    world.wait_logged("job.completed", click.request_id)
    return recovery


@row(
    "lab",
    "the lab's connections to the broker are half-open",
    injected="the link passes nothing on and closes nothing, while a bundle computes; a second lab",
    measures="silent to accepted by the other lab",
    goal=40,
)
def half_open(world: World) -> float:
    click = computing(world)
    other = beside(world)
    began = time.monotonic()
    world.lab_link.freeze()
    wait_logged(other, "job.accepted", click)
    recovery = time.monotonic() - began
    world.bundle.release()
    world.wait_state(click, "completed")
    world.lab_link.mend()
    world.wait_logged("job.completed", click.request_id)
    return recovery


@row(
    "lab",
    "the network to the broker is cut in the inference",
    injected=f"the lab's connections are reset, and no new one for {CUT:.0f} s",
    measures="network back to the lab's own work taken over",
)
def cut_in_the_inference(world: World) -> float:
    click = computing(world)
    world.lab_link.cut()
    time.sleep(CUT)
    world.lab_link.mend()
    back = time.monotonic()
    world.wait_logged("delivery.adopt", click.request_id)
    recovery = time.monotonic() - back
    world.bundle.release()
    world.wait_state(click, "completed")
    assert world.inferences == 1, "its own work was begun again"
    return recovery


@row(
    "lab",
    "the network to the archive is cut in the upload",
    injected=f"half of the SEG's bytes, then a reset, and no new connection for {CUT:.0f} s",
    measures="network back to completed",
)
def cut_in_the_upload(world: World) -> float:
    world.door.hold(is_store, Moment.HALFWAY)
    click = world.click()
    world.door.wait_held(PATIENCE)
    world.archive_link.cut()
    world.door.release()
    time.sleep(CUT)
    world.archive_link.mend()
    back = time.monotonic()
    recovery = world.wait_state(click, "completed") - back
    assert world.logged("job.repeat", click.request_id) == 1, "the lab did not wait for the archive"
    assert world.state(click)["attempt"] == 1, "an archive that was away cost an attempt"
    return recovery


@row(
    "lab",
    "the lab is cut off from broker and archive in the upload",
    injected=f"both links reset with half of the SEG's bytes sent, closed for {CUT:.0f} s",
    measures="network back to completed",
)
def cut_off_in_the_upload(world: World) -> float:
    world.door.hold(is_store, Moment.HALFWAY)
    click = world.click()
    world.door.wait_held(PATIENCE)
    world.archive_link.cut()
    world.lab_link.cut()
    world.door.release()
    time.sleep(CUT)
    world.lab_link.mend()
    world.archive_link.mend()
    back = time.monotonic()
    recovery = world.wait_state(click, "completed") - back
    assert world.state(click)["attempt"] == 1, "a network that was away cost an attempt"
    return recovery
