"""What waits in queues, asked of a broker by a task that is cancelled meanwhile."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from web.broker.connection import Session
from web.broker.errors import BrokerLost
from web.broker.queue_depth import QueueDepth

pytestmark = pytest.mark.asyncio


class DeafChannel:
    """Opens as aiormq does when it loses a cancel: late, and as if nothing had been said."""

    def __init__(self, *, opens: bool) -> None:
        self.opens = opens
        self.waiting = asyncio.Event()

    async def channel(self) -> Any:
        self.waiting.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if not self.opens:
                raise BrokerLost("the channel did not open") from None
        return self

    async def declare_queue(self, _name: str, **_options: Any) -> Any:
        return SimpleNamespace(
            declaration_result=SimpleNamespace(message_count=1, consumer_count=1)
        )

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("opens", [True, False])
async def test_a_cancel_that_the_library_loses_ends_the_question_all_the_same(opens: bool) -> None:
    channel = DeafChannel(opens=opens)
    ear = QueueDepth()
    with ear.on(cast("Session", SimpleNamespace(connection=channel))):
        asked = asyncio.create_task(ear.depth(["mri.requests.lab"]))
        await channel.waiting.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
