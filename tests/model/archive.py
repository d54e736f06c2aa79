"""An archive as far as identity goes: the first object under a UID stays until it is deleted."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID


@dataclass
class Archive:
    """Objects by the request that they are derived from. A mask is a number, unique by run."""

    #: Which mask the primary object holds.
    primaries: dict[UUID, int] = field(default_factory=dict)
    #: Of which mask the report tells.
    reports: dict[UUID, int] = field(default_factory=dict)
    #: Requests in whose images nothing is found: their primary object is itself the report.
    without_lesion: set[UUID] = field(default_factory=set)
    #: It answers nobody.
    away: bool = False

    def store_primary(self, request_id: UUID, mask: int) -> None:
        """The first write wins."""
        self.primaries.setdefault(request_id, mask)

    def store_report(self, request_id: UUID, mask: int) -> None:
        """The first write wins."""
        self.reports.setdefault(request_id, mask)

    def complete(self, request_id: UUID) -> bool:
        """Whether everything is there that a result consists of."""
        reported = request_id in self.reports or request_id in self.without_lesion
        return request_id in self.primaries and reported

    def holds(self, request_id: UUID) -> bool:
        """Whether anything of the request is there."""
        return request_id in self.primaries or request_id in self.reports

    def remove(self, request_id: UUID) -> None:
        """Delete everything of the request."""
        self.primaries.pop(request_id, None)
        self.reports.pop(request_id, None)
