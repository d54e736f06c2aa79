"""A pool whose queue takes or confirms nothing holds up its own requests and no others."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from messages import topology
from tests.integration.nodes import TestBroker
from tests.integration.web_requests import (
    LabSide,
    eventually,
    in_state,
    lab_side,
    running_tasks,
    speaking_as,
    written_request,
)
from web.broker import destination, relay
from web.broker.destination import BATCH
from web.inference.models import InferenceRequest, Outbox
from web.inference.states import State

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]

#: The pool in trouble; the other one is `lab`.
POOL = "server"
QUEUE = topology.requests_queue(POOL)

#: More than are in flight for one destination, and than one look takes.
MANY = 2 * BATCH + 20

#: Seconds within which a click is published while another pool is in trouble.
SOON = 1.5


@asynccontextmanager
async def refusing(broker: TestBroker) -> AsyncIterator[None]:
    """The queue is full with its first message."""
    (policy,) = (one for one in topology.POLICIES if one.name == "mri-requests")
    narrow = json.dumps({**policy.definition, "max-length": 1})
    place = ("-q", "-p", topology.VHOST)
    pattern = f"^{QUEUE}$".replace(".", r"\.")
    words = ("set_policy", "--apply-to", "queues", "--priority", "9", "narrow", pattern, narrow)
    await asyncio.to_thread(broker.node.ctl, *place, *words)
    try:
        yield
    finally:
        await asyncio.to_thread(broker.node.ctl, *place, "clear_policy", "narrow")


@asynccontextmanager
async def silent(broker: TestBroker) -> AsyncIterator[None]:
    """The queue answers nothing, as one that has lost its majority."""
    process = f'erlang:whereis(list_to_existing_atom("{topology.VHOST}_{QUEUE}"))'
    await asyncio.to_thread(broker.node.ctl, "-q", "eval", f"sys:suspend({process}).")
    try:
        yield
    finally:
        await asyncio.to_thread(broker.node.ctl, "-q", "eval", f"sys:resume({process}).")


async def crowd() -> list[InferenceRequest]:
    return [await written_request(POOL) for _ in range(MANY)]


async def held(logs: list[Any]) -> None:
    async def said() -> bool:
        return any(entry["event"] == "publish_held" for entry in logs)

    await eventually(said, "the pool in trouble named")


async def others_go_on() -> None:
    for _ in range(5):
        began = time.monotonic()
        click = await written_request("lab")
        await in_state(click.pk, State.PUBLISHED)
        assert time.monotonic() - began < SOON


async def taken(lab: LabSide) -> list[str]:
    """Every message of the queue, in order."""
    queue = await lab.channel.get_queue(QUEUE, ensure=False)
    found = []
    while (message := await queue.get(no_ack=True, fail=False)) is not None:
        found.append(str(message.correlation_id))
    return found


async def all_sent() -> None:
    async def none_left() -> bool:
        return not await Outbox.objects.filter(sent_at=None).aexists()

    await eventually(none_left, "the outbox empty", 20)


@pytest.mark.parametrize("trouble", [refusing, silent])
async def test_a_pool_whose_queue_takes_nothing_holds_up_no_other_and_its_own_go_out_in_order(
    rabbit: TestBroker, monkeypatch: pytest.MonkeyPatch, trouble: Callable[..., Any]
) -> None:
    monkeypatch.setattr(relay, "CONFIRM_SECONDS", 1.0)
    async with lab_side(rabbit), speaking_as(rabbit, "server1") as lab:
        with capture_logs() as logs:
            async with running_tasks(rabbit):
                async with trouble(rabbit):
                    rows = await crowd()
                    await held(logs)
                    await others_go_on()
                    attempted = Outbox.objects.filter(attempted=True, sent_at=None)
                    # The others can still be taken back.
                    assert await attempted.acount() <= BATCH
                await all_sent()
        assert await taken(lab) == [str(row.pk) for row in rows]
    events = [entry["event"] for entry in logs]
    assert "broker_lost" not in events
    assert events.count("publish_held") == 1


async def test_what_is_never_confirmed_is_sent_again_on_another_channel_of_the_same_connection(
    rabbit: TestBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "CONFIRM_SECONDS", 0.5)
    monkeypatch.setattr(destination, "SILENT_SECONDS", 1.0)
    async with lab_side(rabbit), speaking_as(rabbit, "server1") as lab:
        with capture_logs() as logs:
            async with running_tasks(rabbit):
                async with silent(rabbit):
                    rows = await crowd()
                    await held(logs)

                    async def given_up() -> bool:
                        free = Outbox.objects.filter(attempted=True, sent_at=None, lease=None)
                        return await free.acount() >= BATCH - 1

                    await eventually(given_up, "what was in flight free again")
                    await others_go_on()
                await all_sent()
        found = await taken(lab)
    # What was given up may have come after all: then it is there twice.
    assert set(found) == {str(row.pk) for row in rows}
    assert len(found) <= MANY + BATCH + 5
    assert "broker_lost" not in [entry["event"] for entry in logs]
