"""A page that stays open and follows one request: an audience of one."""

from __future__ import annotations

from infra.demo.reader import Reader
from tests.faults.audience import Audience, Seat

#: Seconds between a lost socket and the next, for rows that drop a thousand.
_PAUSE = 0.3


class Witness(Seat):
    """What a page that follows one request has been told, version by version."""

    def __init__(self, reader: Reader, request_id: str) -> None:
        self._page = Audience(reader, _PAUSE)
        self._page.follow(request_id)
        super().__init__(self._page, request_id)

    @property
    def sockets(self) -> int:
        """Sockets that have told it something."""
        return self._page.sockets

    @property
    def drops(self) -> int:
        """How many of those were lost."""
        return self._page.drops
