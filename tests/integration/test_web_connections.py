"""The site's connections to a real broker: cut lines, confirms that are late, and the way back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs
from yarl import URL

from tests.integration.line import Line
from tests.integration.nodes import TestBroker
from tests.integration.web_requests import (
    a_run,
    eventually,
    in_state,
    lab_side,
    running_tasks,
    written_request,
)
from web.broker import relay
from web.broker.connection import FIRST_PAUSE, LONGEST_PAUSE, pause
from web.broker.tasks import BrokerTasks
from web.broker.transport import USER_TIMEOUT_SECONDS, WatchedTransport, connection_to
from web.inference.models import DeadLetter, InferenceRequest, Outbox
from web.inference.states import State

pytestmark = [pytest.mark.asyncio, pytest.mark.django_db(transaction=True)]


def through(line: Line, broker: TestBroker) -> str:
    """The site's URL, by way of the line."""
    return str(URL(broker.url("web")).with_port(line.port))


@asynccontextmanager
async def site_through(line: Line, broker: TestBroker) -> AsyncIterator[None]:
    site = BrokerTasks([through(line, broker)])
    site.start()
    try:
        yield
    finally:
        await site.stop()


async def test_a_live_connection_has_a_socket_that_gives_a_cut_line_up(rabbit: TestBroker) -> None:
    class Opened(WatchedTransport):
        async def create(self, *args: Any, **kwargs: Any) -> Any:
            reader, self.writer = await super().create(*args, **kwargs)
            return reader, self.writer

    connection = connection_to(rabbit.url("web"), "test")
    assert type(connection.kwargs["transport_factory"]) is WatchedTransport
    opened = connection.kwargs["transport_factory"] = Opened(tls=False)
    await connection.connect(timeout=10)
    try:
        option = (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        kernel = opened.writer.get_extra_info("socket").getsockopt(*option)
        assert kernel == USER_TIMEOUT_SECONDS * 1000
    finally:
        await connection.close()


async def test_a_line_that_falls_silent_is_given_up_and_afterwards_nothing_is_missing(
    rabbit: TestBroker,
) -> None:
    with Line(rabbit.node.amqp_port) as line, capture_logs() as logs:
        async with lab_side(rabbit) as lab, site_through(line, rabbit):
            first = await written_request()
            await lab.take()
            await in_state(first.pk, State.PUBLISHED)
            await _all_connected(logs)
            before = line.opened

            line.cut()
            cut_off = asyncio.get_running_loop().time()
            second = await written_request()
            await lab.tell(a_run(first.pk)[-1])

            async def given_up() -> bool:
                return line.closed >= before

            # By heartbeats alone, as here nobody refuses the bytes: after 38 s at the latest.
            await eventually(given_up, "the connections given up", 90)
            assert asyncio.get_running_loop().time() - cut_off < 60
            assert any(entry["event"] == "broker_lost" for entry in logs)

            line.mend()
            await in_state(first.pk, State.REPORTED, 60)
            await in_state(second.pk, State.PUBLISHED, 60)
            assert (await lab.take(30)).correlation_id == str(second.pk)
        assert await DeadLetter.objects.acount() == 0


async def test_a_relay_that_is_stopped_waits_for_the_confirm_of_what_it_has_sent(
    rabbit: TestBroker,
) -> None:
    with Line(rabbit.node.amqp_port) as line:
        async with lab_side(rabbit) as lab:
            async with site_through(line, rabbit):
                await in_state((await written_request()).pk, State.PUBLISHED)
                await lab.take()
                line.hold_answers()
                row = await written_request()
                # The broker has it, and its confirm is on the line.
                await lab.take()
                later = asyncio.create_task(_written_before_the_confirm(line))
            late = await later
            sent = await Outbox.objects.aget(request=row)
            assert sent.sent_at is not None
            assert (await in_state(row.pk, State.PUBLISHED)).published_at is not None
            # What came after the signal is left to the next process.
            assert (await Outbox.objects.aget(request=late)).lease is None
            async with running_tasks(rabbit):
                assert (await lab.take()).correlation_id == str(late.pk)
                await in_state(late.pk, State.PUBLISHED)
            assert await lab.waiting("mri.requests.lab") == 0


async def test_a_stopped_relay_that_hears_no_confirm_frees_the_row_for_the_next_process(
    rabbit: TestBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "FINISH_SECONDS", 0.2)
    with Line(rabbit.node.amqp_port) as line:
        async with lab_side(rabbit) as lab:
            async with site_through(line, rabbit):
                await in_state((await written_request()).pk, State.PUBLISHED)
                await lab.take()
                line.hold_answers()
                row = await written_request()
                first = await lab.take()
            outbox = await Outbox.objects.aget(request=row)
            assert (outbox.sent_at, outbox.lease, outbox.leased_until) == (None, None, None)
            async with running_tasks(rabbit):
                second = await lab.take()
                await in_state(row.pk, State.PUBLISHED)
            assert first.message_id == second.message_id == str(outbox.message_id)


async def test_the_pauses_between_attempts_grow_at_random_up_to_half_a_minute() -> None:
    for failures in (1, 2, 5, 10, 1000):
        drawn = [pause(failures) for _ in range(200)]
        ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures)
        assert min(drawn) >= FIRST_PAUSE
        assert ceiling / 2 < max(drawn) <= ceiling
        assert len(set(drawn)) > 100


async def _all_connected(logs: list[Any]) -> None:
    async def connected() -> bool:
        tasks = {entry["task"] for entry in logs if entry["event"] == "broker_connected"}
        return {"relay", "consume", "hints", "letters"} <= tasks

    await eventually(connected, "four connections", seconds=60)


async def _written_before_the_confirm(line: Line) -> InferenceRequest:
    # The stop has begun by then.
    await asyncio.sleep(0.5)
    row = await written_request()
    line.mend()
    return row
