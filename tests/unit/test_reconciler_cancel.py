"""A reconciler that is told to end while a library loses the cancel."""

from __future__ import annotations

import asyncio
from typing import cast
from uuid import uuid4

import pytest
from django.utils import timezone

from web.broker.depth import Ear
from web.database import DatabaseThread
from web.inference.models import InferenceRequest
from web.inference.reconciler.reconcile import Reconciler

pytestmark = pytest.mark.asyncio


class Deaf(Reconciler):
    """Its first rule ends in an error of a library when it is cancelled."""

    def __init__(self) -> None:
        nobody = cast("DatabaseThread", None)
        super().__init__(nobody, nobody, Ear())
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


class Rung(Reconciler):
    """Counts how often it is woken."""

    def __init__(self) -> None:
        nobody = cast("DatabaseThread", None)
        super().__init__(nobody, nobody, Ear())
        self.count = 0

    def _ring_on_commit(self, bell: asyncio.Event) -> None:
        self.count += 1


async def test_what_a_lab_tells_of_one_cancelled_request_wakes_the_reconciler_once() -> None:
    reconciler = Rung()
    one, two = (InferenceRequest(pk=uuid4(), sweep_due_at=timezone.now()) for _ in range(2))
    for _ in range(100):
        reconciler._saved(one, ["sweep_due_at", "changed_at"])
    assert reconciler.count == 1
    reconciler._saved(two, ["sweep_due_at", "changed_at"])
    assert reconciler.count == 2
