"""A phase as addresses and scripts name it: a series, or a series and one of its phases."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import ValidationError

from messages.request import PhaseSelector
from web.orthanc.errors import PhaseNotFound


class PhaseName(NamedTuple):
    """A series, or one phase of it."""

    series_id: str
    phase: PhaseSelector | None = None

    def __str__(self) -> str:
        """The series id, and after colons keyword and value of the phase."""
        if self.phase is None:
            return self.series_id
        return f"{self.series_id}:{self.phase.keyword}:{self.phase.value}"


def phase_named(text: str) -> PhaseName:
    """Read what `PhaseName` writes; raises `PhaseNotFound` for what no phase can be called.

    The id of the series is not checked: who asks the archive does that.
    """
    series_id, _, rest = text.partition(":")
    keyword, _, value = rest.partition(":")
    return PhaseName(series_id, selector_of(keyword, value))


def selector_of(keyword: str, value: str) -> PhaseSelector | None:
    """The phase of that keyword and value; None for two empty texts, the whole series.

    Raises `PhaseNotFound` for what no request can carry.
    """
    if not keyword and not value:
        return None
    try:
        return PhaseSelector(keyword=keyword, value=value)
    except ValidationError:
        # pydantic's own text would quote it.
        raise PhaseNotFound("not the name of a phase") from None
