"""Faults of the site: killed at the worst moments, and two more relays beside its own."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack

from infra.local.process import wait_until
from messages import topology
from tests.faults.clicks import computing
from tests.faults.lock import locked
from tests.faults.outbox import (
    is_sent,
    started_again,
    unsettled_replies,
    wait_sent,
    waiting_replies,
    with_its_relay,
)
from tests.faults.post import overhear
from tests.faults.relay_process import rows_got, takes_under_way
from tests.faults.rows import row
from tests.faults.world import PATIENCE, World

#: Rows that three relays find in the same moment, and clicks that follow one another.
GATHERED, FOLLOWING = 6, 10


@row(
    "web",
    "the site is killed between the commit of a click and its publish",
    injected="its link to the broker cut; a click, answered 202; SIGKILL; link mended; started",
    measures="site answers to marked as published",
    in_suite=True,
)
def killed_before_publish(world: World) -> float:
    world.site_link.cut()
    click = world.click()
    assert world.state(click).get("state") == "queued"
    world.stack.web.kill()
    world.site_link.mend()
    answered = started_again(world)
    return wait_sent(world, click) - answered


@row(
    "web",
    "the site is killed right after it has answered a click, five times",
    injected="SIGKILL 0 to 80 ms after the 202, wherever the relay is by then; started again",
)
def killed_as_it_answers(world: World) -> None:
    for turn in range(5):
        click = world.click()
        time.sleep(0.02 * turn)
        world.stack.web.kill()
        started_again(world)
        wait_sent(world, click)


@row(
    "web",
    "the site is killed between publish and mark-sent",
    injected="the broker's confirms held back until a lab has the request; then another process "
    "locks the database, the confirm arrives, SIGKILL; lock released; started again",
    measures="site answers to marked: what is left of the dead relay's lease of 15 s",
)
def killed_before_mark(world: World) -> float:
    with_its_relay(world)
    world.bundle.hold()
    world.site_link.hold(towards_target=False)
    click = world.click()
    world.wait_logged("job.accepted", click.request_id)
    with locked(world.database):
        world.site_link.let_go()
        # The confirm is there within milliseconds; the mark waits for the lock for 20 s.
        time.sleep(2.0)
        assert not is_sent(world, click)
        world.stack.web.kill()
    answered = started_again(world)
    recovery = wait_sent(world, click) - answered
    world.bundle.release()
    # The second copy, behind the first.
    world.wait_logged("job.accepted", click.request_id, 2)
    return recovery


@row(
    "web",
    "the site is killed in a reply, before its commit",
    injected="another process locks the database, the outcome is delivered, SIGKILL; lock "
    "released; started again",
    measures="site answers to completed",
)
def killed_before_a_replys_commit(world: World) -> float:
    click = computing(world)
    with locked(world.database):
        world.bundle.release()
        world.wait_logged("job.completed", click.request_id)
        wait_until(lambda: unsettled_replies(world) > 0, "have the outcome in hand", PATIENCE)
        world.stack.web.kill()
        assert world.queues()[topology.replies_queue("lab")][0] > 0, (
            "acknowledged before the commit"
        )
    answered = started_again(world)
    return world.wait_state(click, "completed") - answered


@row(
    "web",
    "the site is killed in a reply, after its commit and before its ack",
    injected="what the site says to the broker held back; the outcome committed; SIGKILL; what was "
    "held back dropped; started once the broker has the reply back",
    measures="site answers to all replies acknowledged, as the broker counts each 5 s",
)
def killed_before_a_replys_ack(world: World) -> float:
    click = computing(world)
    world.wait_state(click, "inferring")
    world.site_link.hold(towards_target=True)
    world.bundle.release()
    world.wait_state(click, "completed")
    known = world.state(click)["version"]
    wait_until(lambda: unsettled_replies(world) > 0, "miss its ack", PATIENCE)
    world.stack.web.kill()
    world.site_link.mend()
    wait_until(lambda: waiting_replies(world) > 0, "give the reply back", PATIENCE)
    answered = started_again(world)
    wait_until(world.idle, "acknowledge what it knows already", PATIENCE)
    recovery = time.monotonic() - answered
    assert world.state(click)["version"] == known, "what it knew already changed it"
    return recovery


@row(
    "web",
    "three relays work on one outbox",
    injected=f"two more relay processes; {GATHERED} rows gather behind a cut link; under a lock of "
    "another process both see the same rows and are about to take them; the lock is released; then "
    "a click each 0.1 s",
)
def two_relays(world: World) -> None:
    relays = [
        world.stack.site(
            ("tests.faults.relay_process",), {"DJANGO_SETTINGS_MODULE": "web.settings"}, log=log
        )
        for log in ("relay", "relay2")
    ]
    with_its_relay(world)
    with overhear(world, topology.REQUESTS) as published, ExitStack() as beside:
        world.site_link.cut()
        for relay in relays:
            beside.callback(relay.kill)
            relay.start()
        clicks = [world.click() for _ in range(GATHERED)]
        before = [len(rows_got(relay)) for relay in relays]
        with locked(world.database):
            world.site_link.mend()
            wait_until(
                lambda: all(takes_under_way(relay) == 1 for relay in relays),
                "see the same rows twice",
                PATIENCE,
            )
        for _ in range(FOLLOWING):
            time.sleep(0.1)
            clicks.append(world.click())
        for click in clicks:
            wait_sent(world, click)
            world.wait_state(click, "completed")
        # Each had seen all of them; a row that one has taken, another one must not get.
        got = [rows_got(relay)[taken] for relay, taken in zip(relays, before, strict=True)]
        assert sum(got) <= GATHERED, f"they took {got} of {GATHERED} rows"
        assert min(got) < GATHERED, "nobody lost a row to another one"
        times = Counter(message.about for message in published())
        for click in clicks:
            assert times[click.request_id] == 1, f"published {times[click.request_id]} times"
        assert all(relay.alive for relay in relays), [relay.log_tail() for relay in relays]
