"""Faults of the site's database: locked, or gone."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from infra.demo.reader import PageRefused
from infra.local.process import wait_until
from messages import topology
from tests.faults.clicks import computing
from tests.faults.lock import locked
from tests.faults.outbox import started_again, unsettled_replies
from tests.faults.postgres_world import PostgresWorld
from tests.faults.rows import row
from tests.faults.world import PATIENCE, World

#: Seconds that the database is locked, and that it is gone.
LOCKED, GONE = 10.0, 60.0


@row(
    "web",
    "the database is locked for 10 s",
    injected="another process in an exclusive transaction while an outcome comes and a reader "
    "clicks",
    measures="lock released to the outcome shown",
)
def database_locked(world: World) -> float:
    click = computing(world)
    with ThreadPoolExecutor(1) as reader:
        with locked(world.database):
            began = time.monotonic()
            world.bundle.release()
            clicking = reader.submit(world.click)
            time.sleep(max(0.0, began + LOCKED - time.monotonic()))
            assert not clicking.done(), "a click was answered that is not committed"
            assert world.logged("job.completed", click.request_id), "the outcome did not come"
        released = time.monotonic()
        # Raises what the click was refused with.
        clicking.result(PATIENCE)
    return world.wait_state(click, "completed") - released


@row(
    "web",
    "the database is locked for longer than anybody waits for it",
    injected="another process in an exclusive transaction until a click was refused",
    measures="lock released to the outcome shown",
)
def database_locked_for_long(world: World) -> float:
    click = computing(world)
    with locked(world.database):
        world.bundle.release()
        # Nothing is promised that is not committed.
        with pytest.raises(PageRefused):
            world.click()
        world.wait_logged("job.completed", click.request_id)
    released = time.monotonic()
    return world.wait_state(click, "completed") - released


@row(
    "web",
    "the database is gone for 60 s",
    injected="a site on PostgreSQL; SIGKILL to the server in the inference; the outcome comes and "
    "a reader clicks meanwhile; started again",
    measures="database answers to the outcome shown",
    world="web on PostgreSQL",
)
def database_gone(world: World) -> float:
    postgres = cast("PostgresWorld", world).postgres
    click = computing(world)
    gone = time.monotonic()
    postgres.stop()
    world.bundle.release()
    world.wait_logged("job.completed", click.request_id)
    with pytest.raises(PageRefused):
        world.click()
    time.sleep(max(0.0, gone + GONE - time.monotonic()))
    assert world.queues()[topology.replies_queue("lab")][0] > 0, "acknowledged without a database"
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
    click = computing(world)
    postgres.stop()
    world.bundle.release()
    world.wait_logged("job.completed", click.request_id)
    wait_until(lambda: unsettled_replies(world) > 0, "have the outcome in hand", PATIENCE)
    world.stack.web.kill()
    postgres.start()
    answered = started_again(world)
    return world.wait_state(click, "completed") - answered


#: What no row here shows, and why.
NOT_SHOWN = (
    (
        "SQLite's file gone",
        "an open file cannot be taken away from a process; a server that is gone stands for it",
    ),
)
