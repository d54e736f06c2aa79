"""A series of a request on its way into the lab, with what the others have left of the room."""

from __future__ import annotations

from consumer.errors import TooLarge
from consumer.memory import MemoryFile


class SeriesMemory(MemoryFile):
    """Takes no more than its `room` in bytes, of the `limit` for all series of a request."""

    def __init__(self, name: str, *, room: int, limit: int) -> None:
        super().__init__(name)
        self._left, self._limit = room, limit

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`. Raises TooLarge, and then holds nothing of it."""
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(f"the series of the request have more than {self._limit} bytes")
        super().write(data)
