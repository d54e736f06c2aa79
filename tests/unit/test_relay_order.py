"""What waits longest for a destination goes first, whoever clicks meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from uuid import uuid4

import pytest
from asgiref.sync import sync_to_async

from tests.integration.web_requests import write_request
from web.broker import leases
from web.broker.destination import BATCH
from web.broker.relay import Relay
from web.database import DatabaseThread
from web.inference.models import Outbox

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]


class Database:
    """Runs what a thread of its own would, and remembers what."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        self.calls.append(function)
        return await sync_to_async(function)(*args)


class Bench:
    """A relay of which each turn is made by hand, and each row that it takes is sent."""

    def __init__(self) -> None:
        self.database = Database()
        self.relay = Relay([], cast("DatabaseThread", self.database))
        self.lease = uuid4()

    async def written(self, count: int, pool: str = "lab", *, clicked: bool = True) -> list[int]:
        """Rows that were written just now; by this process if they were `clicked`."""
        made = [(await sync_to_async(write_request)(pool)).pk for _ in range(count)]
        rows = [row async for row in Outbox.objects.filter(request__in=made).order_by("pk")]
        if clicked:
            self.relay._fresh += rows
        return [row.pk for row in rows]

    async def turn(self) -> list[int]:
        rows = await self.relay._leased(self.lease)
        for row in rows:
            self.relay._destination(row).flying.add(row.pk)
        return [row.pk for row in rows]

    def width(self, width: int) -> None:
        self.relay._destinations["mri.requests.lab"].width = width

    async def confirmed(self) -> None:
        flying = self.relay._flying()
        for destination in self.relay._destinations.values():
            destination.flying.clear()
        await Outbox.objects.filter(pk__in=flying).adelete()


async def test_after_trouble_old_rows_go_before_those_of_readers_who_clicked_last() -> None:
    bench = Bench()
    first = await bench.written(1)
    assert await bench.turn() == first
    await bench.confirmed()
    bench.relay._destinations["mri.requests.lab"].hold(0.0, "refused")
    bench.relay._destinations["mri.requests.lab"].held = False
    bench.width(2)
    old = await bench.written(6, clicked=False)
    gone: list[int] = []
    new: list[int] = []
    while turn := await bench.turn():
        gone += turn
        await bench.confirmed()
        if len(new) < 4:
            new += await bench.written(2)
    assert gone == [*old, *new]


async def test_after_a_restart_and_of_more_rows_than_fit_the_oldest_go_first() -> None:
    bench = Bench()
    old = await bench.written(BATCH + 5, clicked=False)
    new = await bench.written(2)
    assert await bench.turn() == old[:BATCH]
    new += await bench.written(1)
    await bench.confirmed()
    assert await bench.turn() == [*old[BATCH:], *new]


async def test_what_is_clicked_beyond_the_room_keeps_its_place_before_what_is_clicked_later() -> (
    None
):
    bench = Bench()
    assert await bench.turn() == []
    first = await bench.written(1)
    assert await bench.turn() == first
    await bench.confirmed()
    bench.width(2)
    clicked = await bench.written(3)
    assert await bench.turn() == clicked[:2]
    await bench.confirmed()
    later = await bench.written(1)
    assert await bench.turn() == [clicked[2], *later]


async def test_where_nothing_else_waits_a_click_needs_no_look_at_the_outbox() -> None:
    bench = Bench()
    await bench.written(1)
    await bench.turn()
    await bench.confirmed()
    bench.database.calls.clear()
    clicked = await bench.written(1)
    assert await bench.turn() == clicked
    assert bench.database.calls == [leases.take_fresh]


async def test_the_backlog_of_one_pool_makes_no_click_of_another_wait() -> None:
    bench = Bench()
    await bench.written(1)
    await bench.written(1, "server")
    await bench.turn()
    await bench.confirmed()
    bench.width(0)
    await bench.written(3)
    await bench.turn()
    other = await bench.written(1, "server")
    assert await bench.turn() == other
