"""Faults of an archive that does not do what it should: away, busy, slow or full."""

from __future__ import annotations

import time

from tests.faults.archive_door import Wrong, is_download, is_store
from tests.faults.rows import row
from tests.faults.small_disk import on_small_disk
from tests.faults.tiers import short_tiers
from tests.faults.trials import after_tiers, click_not_taken, failed_with, spent_one_attempt
from tests.faults.world import Click, World

#: Seconds for which the archive is away.
AWAY = 30.0

#: Bytes a second of a very slow line: a small study of about 45 kB then takes most of a minute.
SLOW = 1000.0


def _away_and_back(world: World, click: Click) -> float:
    """Until the archive has been away for `AWAY` seconds, and the request has its result."""
    killed = time.monotonic()
    world.wait_logged("archive.away", "")
    time.sleep(max(0.0, killed + AWAY - time.monotonic()))
    assert world.state(click).get("state") not in {"failed", "waiting", "completed"}
    world.stack.orthanc.start()
    world.stack.orthanc.wait_ready()
    back = time.monotonic()
    recovery = world.wait_state(click, "completed") - back
    spent_one_attempt(world, click)
    return recovery


@row(
    "archive",
    "the archive is down before the download, for 30 s",
    injected="SIGKILL to Orthanc while the request waits in the queue; started again after 30 s",
    measures="archive answers to completed on the page, no attempt spent",
)
def down(world: World) -> float:
    click = click_not_taken(world)
    world.stack.orthanc.kill()
    world.resume(world.lab)
    return _away_and_back(world, click)


@row(
    "archive",
    "the archive goes down in the inference, for 30 s",
    injected="SIGKILL to Orthanc while the bundle computes, so that the upload finds it away",
    measures="archive answers to completed on the page, no attempt spent",
)
def down_at_the_upload(world: World) -> float:
    world.bundle.hold()
    click = world.click()
    world.wait_inferring()
    world.stack.orthanc.kill()
    world.bundle.release()
    return _away_and_back(world, click)


@row(
    "archive",
    "the archive answers 503 three times to a download",
    injected="the door answers 503 to three calls in a row: a lab's whole patience in one run",
    measures="first 503 to completed, of which 30 s are the first tier",
)
def busy_at_the_download(world: World) -> float:
    world.door.go_wrong(Wrong.BUSY, is_download, times=3)
    return after_tiers(world, world.click(), attempts=2)


@row(
    "archive",
    "the archive answers 503 three times to an upload",
    injected="the door answers 503 to three stores; the tiers shortened to 2, 4 and 6 s by policy",
    measures="first 503 to completed in the fourth attempt",
)
def busy_at_the_upload(world: World) -> float:
    with short_tiers(world):
        world.door.go_wrong(Wrong.BUSY, is_store, times=3)
        return after_tiers(world, world.click(), attempts=4)


@row(
    "archive",
    "the archive fails every call of a request until the tiers are spent",
    injected="the door answers 503 to every download; the tiers shortened to 2, 4 and 6 s",
    allowed=("failed",),
)
def busy_for_ever(world: World) -> None:
    with short_tiers(world):
        world.door.go_wrong(Wrong.BUSY, is_download, times=1000)
        click = world.click()
        world.wait_state(click, "failed")
    failed_with(world, click, "archive_unavailable")
    assert world.state(click)["attempt"] == 4


@row(
    "archive",
    "the line to the archive carries 1 kB/s",
    injected="the link passes on 1000 bytes a second towards the lab until the request has ended",
    measures="click to completed",
)
def one_kilobyte_a_second(world: World) -> float:
    world.archive_link.slow(SLOW)
    click = world.click()
    took = world.wait_state(click, "completed") - click.at
    assert took > 20.0, "the line was not slow"
    spent_one_attempt(world, click)
    return took


@row(
    "archive",
    "the archive says that its disk is full, and has room after the second try",
    injected="the door answers 507 to two stores; the tiers shortened to 2, 4 and 6 s",
)
def full_by_its_answer(world: World) -> None:
    with short_tiers(world):
        world.door.go_wrong(Wrong.FULL, is_store, times=2)
        after_tiers(world, world.click(), attempts=3)


@row(
    "archive",
    "the disk of the archive is full",
    injected="Orthanc on a small tmpfs that is filled while the bundle computes, and emptied once "
    "the lab has tried; the tiers shortened to 2, 4 and 6 s",
    measures="room to completed",
)
def full_disk(world: World) -> float:
    with on_small_disk(world.stack.orthanc) as disk, short_tiers(world):
        world.bundle.hold()
        click = world.click()
        world.wait_inferring()
        disk.fill()
        world.bundle.release()
        world.wait_logged("job.retry", click.request_id)
        disk.empty()
        room = time.monotonic()
        return world.wait_state(click, "completed") - room
