"""What one page follows, what it sees of that, and which versions it has been sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from web.access.grants import NOTHING, Scope
from web.inference.presentation import RequestView
from web.live.messages import Follow
from web.notify import WORKLIST_GROUP, group_of


class Following:
    """Grows with each wish of the page, and is forgotten with its socket."""

    def __init__(self) -> None:
        self.request_ids: set[UUID] = set()
        self.worklist = False
        #: What the reader sees: read with each wish, and with each look at the session.
        self.scope: Scope = NOTHING
        self._sent: dict[str, int] = {}

    @property
    def groups(self) -> list[str]:
        """The groups in which the page hears of what it follows."""
        return _groups(self.request_ids, worklist=self.worklist)

    def with_these(self, wanted: Follow) -> int:
        """How many requests the page would follow with these."""
        return len(self.request_ids.union(wanted.request_ids))

    def add(self, wanted: Follow) -> list[str]:
        """Follow these too; returns the groups to join."""
        self.request_ids.update(wanted.request_ids)
        self.worklist = self.worklist or wanted.worklist
        return _groups(wanted.request_ids, worklist=wanted.worklist)

    def newer(self, views: Iterable[RequestView]) -> list[RequestView]:
        """Those that the page has not been sent in this version; they count as sent now."""
        news = [v for v in views if v.version > self._sent.get(str(v.request_id), 0)]
        self.are_sent(news)
        return news

    def are_sent(self, views: Iterable[RequestView]) -> None:
        """The page is sent all of these."""
        self._sent.update({str(view.request_id): view.version for view in views})

    def missed(self, followed: Mapping[str, int], listed: Mapping[str, int]) -> Collection[str]:
        """Requests that are newer in the database, by its versions of the followed and listed."""
        mine = {str(key): followed.get(str(key), 0) for key in self.request_ids}
        if self.worklist:
            mine.update(listed)
        return [key for key, version in mine.items() if version > self._sent.get(key, 0)]


def _groups(request_ids: Iterable[UUID], *, worklist: bool) -> list[str]:
    followed = [group_of(request_id) for request_id in request_ids]
    return [*followed, WORKLIST_GROUP] if worklist else followed
