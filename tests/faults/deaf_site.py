"""Settings of a site whose channel layer loses everything that it is given."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from channels.layers import BaseChannelLayer

from web.settings import *  # noqa: F403

CHANNEL_LAYERS = {"default": {"BACKEND": "tests.faults.deaf_site.Deaf"}}


class Deaf(BaseChannelLayer):
    """Takes every message and every group, and delivers nothing to anybody."""

    extensions = ("groups",)

    async def new_channel(self, prefix: str = "deaf") -> str:
        return f"{prefix}.{uuid4().hex}"

    async def receive(self, channel: str) -> Any:
        await asyncio.Event().wait()

    async def send(self, channel: str, message: Any) -> None:
        """Lose it."""

    async def group_send(self, group: str, message: Any) -> None:
        """Lose it."""

    async def group_add(self, group: str, channel: str) -> None:
        """Forget it."""

    async def group_discard(self, group: str, channel: str) -> None:
        """Forget it."""
