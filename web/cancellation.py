"""Cancels that arrive: ending tasks for certain, and heeding a cancel that a library dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

#: Seconds that a cancelled task has to clean up before it is cancelled once more. A parent is more
#: patient than its children, so that it is never torn out of waiting for them.
PARENT_SECONDS, CHILD_SECONDS = 5.0, 0.5


def heed_cancel() -> None:
    """Raise the cancel that the library lost: Python 3.11's `wait_for` drops one now and then.

    So does aiormq while it opens a channel.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def end(tasks: Collection[asyncio.Future[Any]], time_budget: float = PARENT_SECONDS) -> None:
    """Cancel the tasks and wait until they have ended, however they end.

    More than once: aiormq loses a cancel that comes while it opens a channel, and the task would
    go on as if nothing had been said.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=time_budget)
    await asyncio.gather(*tasks, return_exceptions=True)
