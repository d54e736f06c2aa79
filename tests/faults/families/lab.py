"""Faults of the lab: killed at each boundary of its work."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.faults.archive_door import is_download, is_read_back, is_store
from tests.faults.clicks import computing
from tests.faults.hold import Moment
from tests.faults.labs import acks_held, beside, holder, through_the_door, wait_logged
from tests.faults.rows import row
from tests.faults.world import PATIENCE, World

#: What the recovery is where a second lab of the pool lives.
REDELIVERED = "killed to accepted by the other lab"


@row(
    "lab",
    "the lab is killed in the inference",
    injected="SIGKILL to the lab while its bundle computes; started again at once",
    measures="killed to accepted again",
    in_suite=True,
)
def killed_in_the_inference(world: World) -> float:
    click = computing(world)
    killed = time.monotonic()
    world.lab.kill()
    world.lab.start()
    world.bundle.release()
    world.wait_logged("job.accepted", click.request_id, 2)
    recovery = time.monotonic() - killed
    world.wait_state(click, "completed")
    assert world.state(click)["attempt"] == 1, "what the lab's death gives back is no retry"
    assert world.logged("job.accepted", click.request_id) == 2
    return recovery


def _kill_one_of_two(
    world: World,
    where: Callable[[str, str], bool],
    moment: Moment = Moment.BEFORE,
    *,
    skip: int = 0,
    inferences: int,
) -> float:
    """Kill whichever of two labs waits at that call of the archive; the other one completes.

    What was on its way to the archive then arrives, after the other lab has ended. `inferences`
    are those of both: a result that is stored is not computed again.
    """
    other = beside(world, **through_the_door(world))
    world.door.hold(where, moment, skip=skip)
    click = world.click()
    world.door.wait_held(PATIENCE)
    taker, living = holder(world, other, click)
    killed = time.monotonic()
    taker.kill()
    wait_logged(living, "job.accepted", click)
    recovery = time.monotonic() - killed
    world.wait_state(click, "completed")
    assert world.inferences == inferences, f"{world.inferences} inferences, not {inferences}"
    return recovery


@row(
    "lab",
    "the lab is killed when it has accepted a request",
    injected="SIGKILL to that one of two labs, its first download held before the archive",
    measures=REDELIVERED,
    goal=2,
)
def killed_when_accepted(world: World) -> float:
    return _kill_one_of_two(world, is_download, inferences=1)


@row(
    "lab",
    "the lab is killed in the download",
    injected="SIGKILL to that one of two labs, two series downloaded and the third held",
    measures=REDELIVERED,
    goal=2,
)
def killed_in_the_download(world: World) -> float:
    return _kill_one_of_two(world, is_download, skip=2, inferences=1)


@row(
    "lab",
    "the lab is killed after the inference, before its upload",
    injected="SIGKILL to that one of two labs, the SEG held before the archive, where it arrives "
    "after the other lab's",
    measures=REDELIVERED,
    goal=2,
)
def killed_before_the_upload(world: World) -> float:
    return _kill_one_of_two(world, is_store, inferences=2)


@row(
    "lab",
    "the lab is killed in the upload",
    injected="SIGKILL to that one of two labs, the archive has half of the SEG's bytes",
    measures=REDELIVERED,
    goal=2,
)
def killed_in_the_upload(world: World) -> float:
    return _kill_one_of_two(world, is_store, Moment.HALFWAY, inferences=2)


@row(
    "lab",
    "the lab is killed when its upload is stored, before it knows",
    injected="SIGKILL to that one of two labs, the archive's answer to the SEG held",
    measures=REDELIVERED,
    goal=2,
)
def killed_before_the_answer(world: World) -> float:
    return _kill_one_of_two(world, is_store, Moment.AFTER, inferences=1)


@row(
    "lab",
    "the lab is killed between the primary object and the report",
    injected="SIGKILL to that one of two labs, the SR held before the archive, where it arrives "
    "after the other lab's",
    measures=REDELIVERED,
    goal=2,
)
def killed_before_the_report(world: World) -> float:
    return _kill_one_of_two(world, is_store, skip=1, inferences=1)


@row(
    "lab",
    "the lab is killed between the report and completed",
    injected="SIGKILL to that one of two labs, the SR stored and its reading back held",
    measures=REDELIVERED,
    goal=2,
)
def killed_before_completed(world: World) -> float:
    # The first that is read back is the primary object.
    return _kill_one_of_two(world, is_read_back, Moment.AFTER, skip=1, inferences=1)


@row(
    "lab",
    "the lab is killed between completed and the ack",
    injected="a relay passes on all but the lab's acks; SIGKILL once one is held; a second lab",
    measures=REDELIVERED,
    goal=2,
)
def killed_before_the_ack(world: World) -> float:
    with acks_held(world) as wire:
        click = world.click()
        world.wait_state(click, "completed")
        assert wire.acks_held.wait(PATIENCE), "nothing was acknowledged"
        other = beside(world)
        killed = time.monotonic()
        world.lab.kill()
        wait_logged(other, "job.accepted", click)
        recovery = time.monotonic() - killed
    wait_logged(other, "job.completed", click)
    assert world.inferences == 1, "a stored result was computed again"
    return recovery
