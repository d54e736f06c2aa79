"""One press of the button, and the page that stays open afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.integration.lab import StoredStudy


class Page(Protocol):
    """What stays open after a click: a `Witness`, or a seat in an audience."""

    @property
    def last(self) -> dict[str, Any] | None:
        """The newest version that it was told."""

    @property
    def ends(self) -> list[str]:
        """The outcomes that it was told."""

    def stop(self) -> None:
        """Close it."""


@dataclass
class Click:
    """One press of the button, and the page that stays open afterwards."""

    request_id: str
    study: StoredStudy
    witness: Page
    #: When it was pressed, by `time.monotonic`.
    at: float = field(default_factory=time.monotonic)
    #: Whether the row itself tells its outcome, with the stored objects of another request.
    invented: bool = False
