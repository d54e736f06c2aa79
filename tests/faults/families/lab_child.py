"""Faults inside the lab: its child dies, hangs or finds no memory; its disk is full."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

from infra.local.process import wait_until
from messages import topology
from tests.faults.clicks import computing
from tests.faults.labs import VariantBundle, instead, wait_consumers
from tests.faults.rows import row
from tests.faults.tiers import short_tiers
from tests.faults.world import OTHER_LAB, PATIENCE, Click, World

#: Seconds that an inference may take in the row of a child that hangs.
TIMEOUT = 10

#: Bytes that the greedy bundle asks for, and bytes that its process may still get.
ASKED, LEFT = 2 * 1024**3, 512 * 1024**2

#: Bytes of the disk that is full.
DISK = 64 * 1024

#: Faults of this kind that no row injects, and why.
NOT_SHOWN = (
    (
        "the GPU hangs, or has no memory left",
        "all labs compute on the CPU; what torch raises: tests/unit/test_segmenter_memory.py",
    ),
)


@row(
    "lab",
    "the child that infers crashes",
    injected="SIGSEGV to the segmenter's process while its bundle computes",
    measures="crashed to accepted again, of which 30 s are the retry tier",
)
def child_segfault(world: World) -> float:
    return _end_child(world, signal.SIGSEGV)


@row(
    "lab",
    "the system kills the child that infers for want of memory",
    injected="SIGKILL, as the kernel's OOM killer sends it, to the segmenter's process",
    measures="killed to accepted again, of which 30 s are the retry tier",
)
def child_killed(world: World) -> float:
    return _end_child(world, signal.SIGKILL)


def _end_child(world: World, number: signal.Signals) -> float:
    click = computing(world)
    ended = time.monotonic()
    os.kill(world.child(), number)
    world.wait_state(click, "waiting")
    assert world.state(click)["failure"]["code"] == "worker_crashed"
    world.bundle.release()
    world.wait_logged("job.accepted", click.request_id, 2)
    return time.monotonic() - ended


@row(
    "lab",
    "the child that infers hangs",
    injected=f"SIGSTOP to the segmenter's process; INFERENCE_TIMEOUT_SECONDS={TIMEOUT}",
    measures=f"hung to waiting in a retry tier, of which {TIMEOUT} s are the limit",
)
def child_hangs(world: World) -> float:
    instead(world, INFERENCE_TIMEOUT_SECONDS=str(TIMEOUT))
    click = computing(world)
    child = world.child()
    hung = time.monotonic()
    os.kill(child, signal.SIGSTOP)
    recovery = world.wait_state(click, "waiting") - hung
    assert world.state(click)["failure"]["code"] == "inference_timeout"
    wait_until(lambda: not Path(f"/proc/{child}").exists(), "end the child that hung", PATIENCE)
    world.bundle.release()
    world.wait_state(click, "completed")
    return recovery


@row(
    "lab",
    "the inference finds no memory for a while",
    injected="RLIMIT_AS of the segmenter's process below what its bundle asks for; lifted "
    "when the first try has failed",
)
def memory_short(world: World) -> None:
    with short_tiers(world):
        click, child = _without_memory(world)
        world.wait_state(click, "waiting")
        assert world.state(click)["failure"]["code"] == "out_of_memory"
        _limit(child, resource.RLIM_INFINITY)
        world.wait_state(click, "completed")


@row(
    "lab",
    "the inference never finds memory",
    injected="RLIMIT_AS of the segmenter's process (prlimit) below what its bundle asks for; "
    "retry tiers shortened by policy",
    allowed=("failed",),
)
def memory_gone(world: World) -> None:
    with short_tiers(world):
        click, _ = _without_memory(world)
        world.wait_state(click, "failed")
    shown = world.state(click)
    assert shown["failure"]["code"] == "out_of_memory"
    assert shown["attempt"] == len(topology.RETRY_TIERS) + 1, "the budget was not used"


def _without_memory(world: World) -> tuple[Click, int]:
    """A request whose bundle asks for more than its process may have, and that process."""
    greedy = VariantBundle(world, _ask_for_memory)
    instead(world, MODEL_PATH=str(greedy.path))
    greedy.hold()
    click = world.click()
    wait_until(lambda: greedy.inferences == 1, "begin an inference", PATIENCE)
    child = int((greedy.path / "pid").read_text())
    pages = int(Path(f"/proc/{child}/statm").read_text().split()[0])
    _limit(child, pages * resource.getpagesize() + LEFT)
    greedy.release()
    return click, child


def _ask_for_memory(inference: dict[str, Any]) -> None:
    inference["take"] = f"$lambda: torch.empty({ASKED}, dtype=torch.uint8)"
    inference["run"].insert(2, "$@take()")


def _limit(child: int, size: int) -> None:
    _, hard = resource.prlimit(child, resource.RLIMIT_AS)
    resource.prlimit(child, resource.RLIMIT_AS, (size, hard))


@row(
    "lab",
    "the lab's disk is full",
    injected="log, TMPDIR and RUN_DIR of the lab on a tmpfs of its own (unshare --mount), filled "
    "once it takes requests",
)
def disk_full(world: World) -> None:
    disk = world.stack.root / "small-disk"
    disk.mkdir(exist_ok=True)
    world.lab.stop(grace=30.0)
    wait_consumers(world, 0)
    places = {"TMPDIR": str(disk), "RUN_DIR": str(disk)}
    lab = world.stack.lab(world.bundle.path, places, log=OTHER_LAB, name=OTHER_LAB)
    # A mount that only this process sees, and that goes with it; setpriv as in `Service`.
    mounted = 'mount -t tmpfs -o size="$1" disk "$2" && shift 2 && exec "$@" 2>>"$TMPDIR/log"'
    guard = ("setpriv", "--pdeathsig", "TERM", "--")
    inside = ("sh", "-c", mounted, "sh", str(DISK), str(disk), *guard)
    lab.command = ("unshare", "--map-root-user", "--mount", *inside, *lab.command)
    world.others.append(lab)
    lab.start()
    wait_consumers(world, 1)
    seen = Path(f"/proc/{lab.pid}/root{disk}")
    _fill(seen / "full", 1024)
    # Its last block has room for some lines yet.
    _fill(seen / "log", 1)
    written = (seen / "log").stat().st_size
    click = world.click()
    world.wait_state(click, "completed")
    again = world.click()
    world.wait_state(again, "completed")
    assert (seen / "log").stat().st_size == written, "the disk was not full"
    assert lab.alive, "the lab has ended"


def _fill(file: Path, step: int) -> None:
    """Write until there is no room, so many bytes at a time."""
    with file.open("ab", buffering=0) as room:
        try:
            while True:
                room.write(bytes(step))
        except OSError:
            return
