"""What the site itself tells one page or one call that waits.

Not through the channel layer: that may lose what it is given, and this is what heals the loss.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

#: Hints that wait for a page that is busy. Each look brings two, and the next look brings them
#: again.
ROOM = 100


class Inbox:
    """What a client says and what the site tells its consumer, one after the other."""

    def __init__(self, receive: Callable[[], Awaitable[Any]]) -> None:
        self._receive = receive
        self._hints: asyncio.Queue[dict[str, Any]] = asyncio.Queue(ROOM)
        #: What the client says next; begun once, however many hints come first.
        self._said: asyncio.Future[Any] | None = None

    def put(self, hint: dict[str, Any]) -> None:
        """Have the hint handled after what is handled now; raises `asyncio.QueueFull`."""
        self._hints.put_nowait(hint)

    async def receive(self) -> Any:
        """Wait for the next message, whoever it is from: the `receive` of a consumer."""
        if self._said is None:
            self._said = asyncio.ensure_future(self._receive())
        hint = asyncio.ensure_future(self._hints.get())
        try:
            await asyncio.wait({self._said, hint}, return_when=asyncio.FIRST_COMPLETED)
            if hint.done():
                return hint.result()
        finally:
            hint.cancel()
        said, self._said = self._said, None
        return said.result()

    async def close(self) -> None:
        """Listen no more."""
        if self._said is not None:
            self._said.cancel()
            await asyncio.gather(self._said, return_exceptions=True)
