"""Settings of a site that keeps a socket waiting as it joins a group, when `joining` says so.

Nothing is read again every few seconds: what a page was told neither in its snapshot nor over its
group, it is never told.
"""

from __future__ import annotations

import asyncio
from typing import Any

from channels.layers import InMemoryChannelLayer

from tests.faults.joining import Moment, reached
from web.settings import *  # noqa: F403
from web.settings import SITE

CHANNEL_LAYERS = {"default": {"BACKEND": "tests.faults.late_join_site.LateJoins"}}

#: Seconds between two looks at the file.
_LOOK = 0.02


class LateJoins(InMemoryChannelLayer):
    """Delivers everything to those who have joined."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._looks = True

    async def new_channel(self, prefix: str = "specific.") -> str:
        if self._looks:
            _end_watch()
            self._looks = False
        return await super().new_channel(prefix)

    async def group_add(self, group: str, channel: str) -> None:
        of_a_request = group.startswith("request.")
        if of_a_request:
            await _wait(Moment.BEFORE)
        await super().group_add(group, channel)
        if of_a_request:
            await _wait(Moment.AFTER)


async def _wait(moment: Moment) -> None:
    hold = SITE.var_dir / moment
    while hold.exists():
        reached(hold).touch()
        await asyncio.sleep(_LOOK)


def _end_watch() -> None:
    """End `web.live.watch`, by the name of its task."""
    # ValueError: it has another name by now, and would go on.
    (watch,) = (task for task in asyncio.all_tasks() if task.get_name() == "watch")
    watch.cancel()
