"""A reconciler that is told to end while a library loses the cancel."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from web.broker.queue_depth import QueueDepth
from web.database import DatabaseThread
from web.reconciler.reconcile import Reconciler

pytestmark = pytest.mark.asyncio


class Deaf(Reconciler):
    """Its first rule ends in an error of a library when it is cancelled."""

    def __init__(self) -> None:
        nobody = cast("DatabaseThread", None)
        super().__init__(nobody, nobody, QueueDepth())
        self.begun = asyncio.Event()

    async def _expire(self) -> None:
        self.begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise RuntimeError("the channel was closed") from None


async def test_a_cancel_that_came_as_another_error_ends_the_turn() -> None:
    reconciler = Deaf()
    turn = asyncio.create_task(reconciler._turn())
    await reconciler.begun.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
