"""What a lab can have put among the dead letters, and the letters of other pools behind it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import aio_pika
import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from messages import topology
from messages.codec import encode
from messages.envelope import Wire
from tests.integration.letters import asked
from tests.integration.nodes import TestBroker
from tests.integration.web_requests import (
    LabSide,
    eventually,
    in_state,
    lab_side,
    running_tasks,
    speaking_as,
    stored,
    write_request,
)
from web.broker import inbox
from web.inference.models import DeadLetter
from web.inference.senders import Doubt
from web.inference.states import State

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

#: Letters of a hostile lab in front of an honest one. Fewer than are kept of one sender: there is
#: room for the trace.
FLOOD = 900

#: Seconds, on a machine that is busy.
PATIENCE = 60.0

#: What the database refuses to keep, whatever else is kept with it.
POISON = b"refused by the database"


@contextmanager
def refused_poison() -> Iterator[None]:
    """As one of a fault of ours that a single letter shows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER poison BEFORE INSERT ON labrelay_inference_deadletter "
            f"WHEN NEW.body = x'{POISON.hex()}' BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER poison")


async def rejected(lab: LabSide, wires: list[Wire]) -> None:
    """Have the lab reject them, as they come back to its pool's queue out of a tier that it wrote.

    So nothing but the broker has put them among the dead letters.
    """
    exchange = await lab.sees.get_exchange(topology.REQUESTS, ensure=False)

    async def send(part: list[Wire]) -> None:
        for wire in part:
            message = aio_pika.Message(
                wire.body, type=wire.type, content_type=wire.content_type, delivery_mode=2
            )
            await exchange.publish(message, f"{lab.pool}.{topology.RETRIED}", timeout=PATIENCE)

    await asyncio.gather(*(send(wires[start::50]) for start in range(50)))
    before = await lab.waiting(topology.DEAD_QUEUE)
    await lab.channel.set_qos(prefetch_count=200)
    queue = await lab.channel.get_queue(topology.requests_queue(lab.pool), ensure=False)
    left, over = len(wires), asyncio.Event()

    async def reject(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        nonlocal left
        await message.reject(requeue=False)
        left -= 1
        if not left:
            over.set()

    began = time.monotonic()
    tag = await queue.consume(reject)
    await asyncio.wait_for(over.wait(), PATIENCE)
    await queue.cancel(tag)

    async def all_dead() -> bool:
        return await lab.waiting(topology.DEAD_QUEUE) == before + len(wires)

    await eventually(all_dead, "all among the dead letters", PATIENCE)
    print(f"{len(wires)} dead-lettered: {time.monotonic() - began:.2f} s")


async def test_what_a_lab_has_put_among_the_dead_letters_delays_those_of_another_pool_for_seconds(
    rabbit: TestBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tried again soon, so that this ends soon.
    monkeypatch.setattr(inbox, "PAUSES", (0.5, 0.5), raising=False)
    async with lab_side(rabbit) as honest, speaking_as(rabbit, "server1") as attacker:
        theirs = await sync_to_async(write_request)("lab")
        own = await sync_to_async(write_request)("server")
        forged, copies = (encode(asked(row), app_id="t") for row in (theirs, own))
        garbage, poison = replace(copies, body=b"{"), replace(copies, body=POISON)
        await rejected(attacker, [poison, *([garbage, forged, copies] * (FLOOD // 3))])
        await rejected(honest, [forged])
        refused = refused_poison()
        await sync_to_async(refused.__enter__)()
        try:
            began = time.monotonic()
            async with running_tasks(rabbit):
                await in_state(theirs.pk, State.DEAD, PATIENCE)
                print(f"behind {FLOOD} letters: {time.monotonic() - began:.2f} s")

                async def trace() -> DeadLetter | None:
                    return await DeadLetter.objects.filter(reason=Doubt.NOT_KEPT).afirst()

                found = await eventually(trace, "a trace", PATIENCE)
                await honest.has_waiting(topology.DEAD_QUEUE, 0)
        finally:
            await sync_to_async(refused.__exit__)(None, None, None)
        await honest.has_waiting(topology.DEAD_QUEUE, 0)
    assert (found.queue, found.size) == ("mri.requests.server", len(POISON))
    # Each died once, the hostile one's by its own pool and the other by its own.
    assert (await stored(own.pk)).state == State.DEAD
