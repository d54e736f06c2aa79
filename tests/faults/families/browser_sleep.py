"""Faults of a page that stands still: its machine asleep, or frozen by its browser."""

from __future__ import annotations

import time

from tests.faults.chromium import chromium_page, sleep, wake
from tests.faults.readers import readers
from tests.faults.rows import row
from tests.faults.world import World

#: Seconds that a laptop sleeps, and that a browser freezes a page.
ASLEEP, FROZEN = 600.0, 60.0


@row(
    "browser",
    "a laptop sleeps while the outcome comes, and its connections were ended meanwhile",
    injected=f"SIGSTOP to every process of Chromium and no byte passed on for {ASLEEP:.0f} s; "
    "then connections reset, SIGCONT",
    measures="woken to the result shown, without a reload",
)
def asleep(world: World) -> float:
    return _through_sleep(world, forgotten=False)


@row(
    "browser",
    "a laptop sleeps while the outcome comes, and nobody tells it that its connections are gone",
    injected=f"SIGSTOP to every process of Chromium and no byte passed on for {ASLEEP:.0f} s; "
    "then SIGCONT, and what was open stays silent for good",
    measures="woken to the result shown, without a reload",
)
def asleep_half_open(world: World) -> float:
    return _through_sleep(world, forgotten=True)


def _through_sleep(world: World, *, forgotten: bool) -> float:
    (reader, *_) = readers(world, world.stack.ports.web)
    with chromium_page(world, reader) as page:
        world.bundle.hold()
        click = page.press()
        world.wait_inferring()
        page.wait(lambda: page.told > 0, "follow its request")
        page.link.freeze()
        sleep()
        slept = time.monotonic()
        world.bundle.release()
        world.wait_state(click, "completed")
        time.sleep(max(0.0, slept + ASLEEP - time.monotonic()))
        if forgotten:
            page.link.strand()
        else:
            page.link.mend()
        wake()
        woken = time.monotonic()
        return page.wait_result(click) - woken


@row(
    "browser",
    "the browser freezes the page while the outcome comes",
    injected=f"Page.setWebLifecycleState frozen for {FROZEN:.0f} s, the connection left as it is",
    measures="active again to the result shown, without a reload",
)
def frozen_tab(world: World) -> float:
    (reader, *_) = readers(world, world.stack.ports.web)
    with chromium_page(world, reader) as page:
        world.bundle.hold()
        click = page.press()
        world.wait_inferring()
        page.wait(lambda: page.told > 0, "follow its request")
        page.freeze(frozen=True)
        frozen = time.monotonic()
        world.bundle.release()
        world.wait_state(click, "completed")
        page.look_away(max(0.0, frozen + FROZEN - time.monotonic()))
        page.freeze(frozen=False)
        active = time.monotonic()
        return page.wait_result(click) - active
