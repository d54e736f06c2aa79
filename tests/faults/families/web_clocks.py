"""Faults of the site's wall clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from tests.faults.clicks import computing
from tests.faults.clock import Clock
from tests.faults.other_site import served_otherwise
from tests.faults.outbox import leased_until, wait_sent, with_its_relay
from tests.faults.press import Click
from tests.faults.rows import row
from tests.faults.world import World

#: Seconds that a clock is stepped: far more than any lease or heartbeat, less than a deadline.
STEP = 600

#: Seconds that a clock is surely ahead, and surely not: what happens between may take its time.
AHEAD, RIGHT = 500.0, 60.0


def _ahead(world: World, click: Click) -> float:
    """Seconds that the site's clock was ahead when it took the click, which was just now."""
    made = datetime.fromisoformat(world.state(click)["created_at"])
    return (made - datetime.now(UTC)).total_seconds()


@row(
    "web",
    "the site's clock steps ten minutes ahead in the inference, and back",
    injected=f"libfaketime in the site's process: {STEP:+d} s while a bundle computes and a second "
    "request waits; a click by that clock; back after the first outcome; a last click",
)
def clock_of_the_site(world: World) -> None:
    clock = Clock(world.stack.root / "clock")
    with served_otherwise(world, clock.settings):
        first = computing(world)
        waiting = world.click()
        assert abs(_ahead(world, waiting)) < RIGHT, "the clock was wrong from the start"
        clock.step_to(STEP)
        early = world.click()
        assert _ahead(world, early) > AHEAD, "the clock did not step"
        # Leases, heartbeats and looks of the site: several of each by the new clock.
        time.sleep(10.0)
        world.bundle.release()
        world.wait_state(first, "completed")
        clock.step_to(0)
        last = world.click()
        assert abs(_ahead(world, last)) < RIGHT, "the clock did not step back"
        for click in (waiting, early, last):
            world.wait_state(click, "completed")


@row(
    "web",
    "the site is killed with a row in hand, and its clock is set back before it starts again",
    injected=f"libfaketime: a site {STEP:+d} s ahead sends a request and hears no confirm; "
    "SIGKILL; started by the right clock",
    measures="site answers to marked",
)
def clock_back_over_a_lease(world: World) -> float:
    clock = Clock(world.stack.root / "clock")
    with served_otherwise(world, clock.settings):
        clock.step_to(STEP)
        assert _ahead(world, with_its_relay(world)) > AHEAD, "the clock did not step"
        world.bundle.hold()
        world.site_link.hold(towards_target=False)
        click = world.click()
        world.wait_logged("job.accepted", click.request_id)
        world.stack.web.kill()
        lease = (leased_until(world, click) - datetime.now(UTC)).total_seconds()
        assert lease > AHEAD, f"the lease ends in {lease:.0f} s"
        world.site_link.mend()
    answered = time.monotonic()
    recovery = wait_sent(world, click) - answered
    world.bundle.release()
    world.wait_state(click, "completed")
    last = world.click()
    assert abs(_ahead(world, last)) < RIGHT, "the clock was not set back"
    return recovery


#: What no row here shows, and why.
NOT_SHOWN = (
    (
        "the lab's clock stepped",
        "libfaketime 0.9.10 breaks sleep() by the monotonic clock, and the lab's pool dies of it",
    ),
)
