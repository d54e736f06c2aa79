"""Faults of the site: killed at the worst moments, two of its relays, its database, its clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import cast

import pytest

from infra.demo.reader import PageRefused
from infra.local.process import Service, wait_until
from messages import topology
from tests.faults.clock import Clock
from tests.faults.lock import locked
from tests.faults.other_site import served_otherwise
from tests.faults.postgres_world import PostgresWorld
from tests.faults.rows import row
from tests.faults.world import PATIENCE, Click, World

#: Seconds that the database is locked, and that it is gone.
LOCKED, GONE = 10.0, 60.0

#: Seconds that a clock is stepped: far more than any lease or heartbeat, less than a deadline.
STEP = 600


def _sent(world: World, click: Click) -> bool:
    """Whether nothing of the request waits to be sent: marked, or taken back with its end."""
    table = "labrelay_inference_outbox"
    query = f"SELECT COUNT(*) FROM {table} WHERE request_id = ? AND sent_at IS NULL"  # noqa: S608
    # Django writes an id into SQLite without hyphens.
    ((unsent,),) = world.ask_database(query, click.request_id.replace("-", ""))
    return int(unsent) == 0


def _started_again(world: World) -> float:
    """Start the site; returns when it answered."""
    world.stack.start_web()
    return time.monotonic()


def _relays_connected(process: Service) -> int:
    """How often a relay of the process has come to the broker since its start, by its log."""
    lines = process.log.read_text("utf-8", errors="replace").rpartition('"site_started"')[2]
    return sum('"relay"' in line and '"broker_connected"' in line for line in lines.splitlines())


def _with_its_relay(world: World) -> None:
    """Wait until the site publishes and hears replies, as it does some seconds after its start."""
    world.wait_state(world.click(), "completed")


def _until_sent(world: World, click: Click) -> float:
    wait_until(lambda: _sent(world, click), "mark it as sent", PATIENCE)
    return time.monotonic()


def _held(world: World) -> Click:
    """A request whose bundle computes until it is released."""
    world.bundle.hold()
    click = world.click()
    world.wait_inferring()
    return click


@row(
    "web",
    "the site is killed between the commit of a click and its publish",
    injected="its link to the broker cut; a click, answered 202; SIGKILL; link mended; started",
    measures="site answers to published",
    in_suite=True,
)
def killed_before_publish(world: World) -> float:
    world.site_link.cut()
    click = world.click()
    assert world.state(click).get("state") == "queued"
    world.stack.web.kill()
    world.site_link.mend()
    answered = _started_again(world)
    return _until_sent(world, click) - answered


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
        _started_again(world)
        _until_sent(world, click)


@row(
    "web",
    "the site is killed between publish and mark-sent",
    injected="the broker's confirms held back until a lab has the request; then another process "
    "locks the database, the confirm arrives, SIGKILL; lock released; started again",
    measures="site answers to marked: what is left of the dead relay's lease of 15 s",
)
def killed_before_mark(world: World) -> float:
    _with_its_relay(world)
    world.bundle.hold()
    world.site_link.hold(towards_target=False)
    click = world.click()
    world.wait_logged("job.accepted", click.request_id)
    with locked(world.database):
        world.site_link.let_go()
        # The confirm is there within milliseconds; the mark waits for the lock for 20 s.
        time.sleep(2.0)
        assert not _sent(world, click)
        world.stack.web.kill()
    answered = _started_again(world)
    recovery = _until_sent(world, click) - answered
    world.bundle.release()
    return recovery


def _unsettled(world: World) -> int:
    """Replies that the site has been given and has not acknowledged."""
    return world.queues()[topology.REPLIES_QUEUE][1]


@row(
    "web",
    "the site is killed in a reply, before its commit",
    injected="another process locks the database, the outcome is delivered, SIGKILL; lock "
    "released; started again",
    measures="site answers to completed",
)
def killed_before_a_replys_commit(world: World) -> float:
    click = _held(world)
    with locked(world.database):
        world.bundle.release()
        world.wait_logged("job.completed", click.request_id)
        wait_until(lambda: _unsettled(world) > 0, "have the outcome in hand", PATIENCE)
        world.stack.web.kill()
        assert world.queues()[topology.REPLIES_QUEUE][0] > 0, "acknowledged before the commit"
    answered = _started_again(world)
    return world.wait_state(click, "completed") - answered


@row(
    "web",
    "the site is killed in a reply, after its commit and before its ack",
    injected="what the site says to the broker held back; the outcome committed; SIGKILL; started",
    measures="site answers to all replies acknowledged, as the broker counts each 5 s",
)
def killed_before_a_replys_ack(world: World) -> float:
    click = _held(world)
    world.wait_state(click, "inferring")
    world.site_link.hold(towards_target=True)
    world.bundle.release()
    world.wait_state(click, "completed")
    # A quorum queue counts anew each 5 s.
    wait_until(lambda: _unsettled(world) > 0, "miss its ack", PATIENCE)
    world.stack.web.kill()
    world.site_link.mend()
    answered = _started_again(world)
    wait_until(world.idle, "acknowledge what it knows already", PATIENCE)
    return time.monotonic() - answered


@row(
    "web",
    "two relays work on one outbox",
    injected="a second relay process; rows gather behind a cut link; both look under a lock of "
    "another process, see the same rows and take them in the same moment; then a click each 0.1 s",
)
def two_relays(world: World) -> None:
    second = world.stack.site(
        ("tests.faults.relay_process",), {"DJANGO_SETTINGS_MODULE": "web.settings"}, log="relay"
    )
    _with_its_relay(world)
    ours = _relays_connected(world.stack.web)
    try:
        world.site_link.cut()
        second.start()
        clicks = [world.click() for _ in range(6)]
        with locked(world.database):
            world.site_link.mend()
            wait_until(
                lambda: _relays_connected(world.stack.web) > ours and _relays_connected(second) > 0,
                "connect both relays",
                PATIENCE,
            )
            # Both have looked by now, and wait for the lock: 20 s at most.
            time.sleep(3.0)
        clicks += [_after(0.1, world.click) for _ in range(10)]
        for click in clicks:
            _until_sent(world, click)
            world.wait_state(click, "completed")
        for click in clicks:
            taken = world.logged("job.accepted", click.request_id)
            assert taken == 1, f"{click.request_id} was published {taken} times"
        assert second.alive, second.log_tail()
    finally:
        second.kill()


def _after(seconds: float, action: Callable[[], Click]) -> Click:
    time.sleep(seconds)
    return action()


@row(
    "web",
    "the database is locked for 10 s",
    injected="another process in an exclusive transaction while an outcome comes and a reader "
    "clicks",
    measures="lock released to the outcome shown",
)
def database_locked(world: World) -> float:
    click = _held(world)
    clicked: list[Click] = []
    with locked(world.database):
        began = time.monotonic()
        world.bundle.release()
        clicking = threading.Thread(target=lambda: clicked.append(world.click()), name="click")
        clicking.start()
        time.sleep(max(0.0, began + LOCKED - time.monotonic()))
        assert not clicked, "a click was answered that is not committed"
    released = time.monotonic()
    clicking.join()
    assert clicked, "the click was not taken"
    return world.wait_state(click, "completed") - released


@row(
    "web",
    "the database is locked for longer than anybody waits for it",
    injected="another process in an exclusive transaction until a click was refused",
    measures="lock released to the outcome shown",
)
def database_locked_for_long(world: World) -> float:
    click = _held(world)
    with locked(world.database):
        world.bundle.release()
        # Nothing is promised that is not committed.
        with pytest.raises(PageRefused):
            world.click()
    released = time.monotonic()
    return world.wait_state(click, "completed") - released


@row(
    "web",
    "the site's clock steps ten minutes ahead in the inference, and back",
    injected=f"libfaketime in the site's process: {STEP:+d} s while a bundle computes and a second "
    "request waits, back after the first outcome; a third click",
)
def clock_of_the_site(world: World) -> None:
    clock = Clock(world.stack.root / "clock")
    with served_otherwise(world, clock.settings):
        first = _held(world)
        waiting = world.click()
        clock.step_to(STEP)
        # Leases, heartbeats and looks of the site: several of each by the new clock.
        time.sleep(10.0)
        world.bundle.release()
        world.wait_state(first, "completed")
        clock.step_to(0)
        last = world.click()
        for click in (waiting, last):
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
        _with_its_relay(world)
        world.bundle.hold()
        world.site_link.hold(towards_target=False)
        click = world.click()
        world.wait_logged("job.accepted", click.request_id)
        world.stack.web.kill()
        world.site_link.mend()
    answered = time.monotonic()
    recovery = _until_sent(world, click) - answered
    world.bundle.release()
    return recovery


@row(
    "web",
    "the database is gone for 60 s",
    injected="a site on PostgreSQL; SIGKILL to the server in the inference; the outcome comes and "
    "a reader clicks meanwhile; started again",
    measures="database started to the outcome shown",
    world="web on PostgreSQL",
)
def database_gone(world: World) -> float:
    postgres = cast("PostgresWorld", world).postgres
    click = _held(world)
    gone = time.monotonic()
    postgres.stop()
    world.bundle.release()
    world.wait_logged("job.completed", click.request_id)
    with pytest.raises(PageRefused):
        world.click()
    time.sleep(max(0.0, gone + GONE - time.monotonic()))
    assert world.queues()[topology.REPLIES_QUEUE][0] > 0, "acknowledged without a database"
    postgres.start()
    back = time.monotonic()
    return world.wait_state(click, "completed") - back


@row(
    "web",
    "the site is killed while its database is gone",
    injected="a site on PostgreSQL; SIGKILL to the server in the inference, then to the site with "
    "the outcome in hand; the server started again, then the site",
    measures="site answers to the outcome shown",
    world="web on PostgreSQL",
)
def killed_without_its_database(world: World) -> float:
    postgres = cast("PostgresWorld", world).postgres
    click = _held(world)
    postgres.stop()
    world.bundle.release()
    world.wait_logged("job.completed", click.request_id)
    wait_until(lambda: _unsettled(world) > 0, "have the outcome in hand", PATIENCE)
    world.stack.web.kill()
    postgres.start()
    answered = _started_again(world)
    return world.wait_state(click, "completed") - answered


#: What no row here shows, and why.
NOT_SHOWN = (
    (
        "SQLite's file gone",
        "an open file cannot be taken away from a process; a server that is gone stands for it",
    ),
    (
        "the lab's clock stepped",
        "libfaketime 0.9.10 breaks sleep() by the monotonic clock, and the lab's pool dies of it",
    ),
)
